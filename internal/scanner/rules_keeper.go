package scanner

import (
	"slices"
	"strings"
)

// The ids of the rules that have code of their own.
const (
	ruleBearer      = "bearer-token"
	ruleBasic       = "basic-auth"
	ruleSecretValue = "generic-api-key"
	rulePassword    = "password"
	ruleURL         = "url-userinfo"
	ruleDatabase    = "database-url"
	ruleCurl        = "curl-auth-user"
	rulePrivateKey  = "private-key"
	ruleTelegram    = "telegram-bot-token"
	ruleFacebook    = "facebook-access-token"
	ruleJWT         = "jwt"
	ruleKeeperToken = "keeper-token"
	ruleAuthHeader  = "auth-header"
	ruleUnread      = "unread-content"
)

// laneRules are the rules without a pattern: their shape is code.
var laneRules = keeperOrigin.sign(
	Rule{ID: ruleBearer, Description: "Bearer token in an Authorization header", Type: TypeBearer, Confidence: Medium},
	Rule{ID: ruleBasic, Description: "User and password in Basic authentication", Type: TypeBearer, Confidence: Medium},
	Rule{ID: ruleSecretValue, Description: "Random value under a name that says secret", Type: TypeEntropy, Confidence: Medium},
	Rule{ID: rulePassword, Description: "Value under a name that says password", Type: TypeEntropy, Confidence: Medium},
	Rule{ID: ruleURL, Description: "Password in a URL", Type: TypeAPIKey, Confidence: Medium},
	Rule{ID: ruleDatabase, Description: "Password in a database URL", Type: TypeAPIKey, Confidence: High},
	Rule{ID: ruleCurl, Description: "User and password on curl's command line", Type: TypeAPIKey, Confidence: Medium},
	Rule{ID: rulePrivateKey, Description: "Private key in PEM or OpenPGP armour", Type: TypePrivateKey, Confidence: High},
	Rule{ID: ruleTelegram, Description: "Telegram bot token", Type: TypeAPIKey, Confidence: High},
	Rule{ID: ruleKeeperToken, Description: "Token that keeper issued", Type: TypeBearer, Confidence: High},
	Rule{ID: ruleAuthHeader, Description: "Credential in a header that keeper sets itself", Type: TypeAuthHeader, Confidence: Medium},
	Rule{ID: ruleUnread, Description: "Packed or encoded content that is too long or too deep to be read", Type: TypeEntropy, Confidence: Low},
)

// ownRules are those written here: keeper's own and those of which another set
// told the format.
var ownRules = slices.Concat(keeperRules, kingfisherRules)

// keeperRules are keeper's own: its tokens, the formats that the public set lacks
// or describes too narrowly, and those of it that fit neither of its shapes. The
// formats are those that the vendors document, or that their keys show.
var keeperRules = keeperOrigin.sign(slices.Concat(tokenRules, modelRules, agentRules, cloudRules, dataRules,
	codeRules, identityRules, workRules, mailRules, moneyRules, watchRules)...)

// tokenRules are the formats that belong to no vendor.
var tokenRules = []Rule{
	prefixed("keeper-agent-secret", "Secret of a keeper agent", `keeper_as_[A-Za-z0-9]{43}`, "keeper_as_"),
	{ID: ruleJWT, Description: "JSON Web Token", Type: TypeBearer, Confidence: Medium, Prefixes: []string{"eyJ"},
		Pattern: `eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}`},
	weak(prefixed("jwt-base64", "JSON Web Token in base64", `(?:`+strings.Join(headersInBase64, "|")+`)[A-Za-z0-9+/]{60,}={0,2}`, "ZXlK")),
}

// headersInBase64 are the beginnings of JSON Web Tokens that have been encoded
// once more, by the member that their header begins with (RFC 7515 and 7516).
var headersInBase64 = []string{
	"ZXlKaGJHY2lP", "ZXlKMGVYQWlP", "ZXlKcmFXUWlP", "ZXlKbGJtTWlP", "ZXlKamRIa2lP", "ZXlKcWEzVWlP", "ZXlKcWQyc2lP", "ZXlKNE5YUWlP",
	"ZXlKNE5XTWlP", "ZXlKNE5YVWlP", "ZXlKbGNHc2lP", "ZXlKaGNIVWlP", "ZXlKaGNIWWlP", "ZXlKamNtbDBJa", "ZXlKMlpYSnphVzl1SWp", "ZXlKMlpYSWlP",
	"ZXlKcGMzTWlP", "ZXlKemRXSWlP", "ZXlKaGRXUWlP", "ZXlKaU5qUWlP", "ZXlKdWIyNWpaU0k2", "ZXlKcGRpSTZ", "ZXlKMFlXY2lP", "ZXlKd01uTWlP",
	"ZXlKd01tTWlP", "ZXlKNmFYQWlP", "ZXlKcmRIa2lP", "ZXlKMWMyVWlP", "ZXlKMWNtd2lP",
	"ZXlKclpYbGZiM0J6", "ZXlKemRuUWlP", "ZXlKd2NIUWlP", "ZXlKNE5YUWpVekkxTmlJNk",
}

// standardKeys are the credentials that RFC 6749, 6750 and 7617 print as examples,
// as publishedKeys has its own.
var standardKeys = []uint64{
	0x00cf4c781dc37003, 0x53f5da0aaa93d64c,
	0x584b27d64ebc1b33, 0x6c96130f130ab0d6,
	0xa35b81a7d7927b70, 0xad62d48d8b069026,
	0xb8e148545b13c78b, 0xca7459e2b26776de,
	0xcf4d418ed3de92d7, 0xe9974c507d2a8021,
}

// The forms that many vendors share: a UUID, and what a vendor writes alike.
const (
	uuidForm = `[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12}`
	anyUUID  = `[a-z0-9]{8}-[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{12}`
)

// leastEntropy is what the rules ask for by themselves: any random key has more,
// and a repeated filler has less.
const leastEntropy = 2.8

func prefixed(id, description, pattern string, prefixes ...string) Rule {
	return Rule{ID: id, Description: description, Type: TypeAPIKey, Confidence: High, Prefixes: prefixes,
		Pattern: pattern, Entropy: leastEntropy}
}

// named is a rule for keys that nothing tells but the name they go by.
func named(id, description, pattern string, names ...string) Rule {
	return Rule{ID: id, Description: description, Type: TypeAPIKey, Confidence: Medium, Names: names,
		Pattern: pattern, Entropy: leastEntropy}
}

// sure is for names that belong to one kind of key, of a form that nothing else has.
func sure(r Rule) Rule {
	r.Confidence = High
	return r
}

// weak is for prefixes that ordinary data may have.
func weak(r Rule) Rule {
	r.Confidence = Medium
	r.Entropy = 3.5
	return r
}

// medium is for prefixes that are distinctive together with the length alone.
func medium(r Rule) Rule {
	r.Confidence = Medium
	return r
}

// beyondHex is for short prefixes whose keys mix letters of both cases: digests and
// ids of one case after such a prefix have less entropy.
func beyondHex(r Rule) Rule {
	r.Confidence = Medium
	r.Entropy = 4.17
	return r
}

// dense asks for more randomness, where the prefix is short.
func dense(r Rule) Rule {
	r.Entropy = 3.6
	return r
}

// hint is for what is public by design, or cannot be told from it.
func hint(r Rule) Rule {
	r.Confidence = Low
	return r
}

// back is for secrets of which n bytes stand left of what they are found by.
func back(n int, r Rule) Rule {
	r.Back = n
	return r
}

// gitHub is for GitHub's own tokens.
func gitHub(r Rule) Rule {
	r.Type = TypeGitHub
	return r
}

// digitsBefore lists the ten strings of a digit and tail.
func digitsBefore(tail string) (list []string) {
	for d := '0'; d <= '9'; d++ {
		list = append(list, string(d)+tail)
	}
	return list
}
