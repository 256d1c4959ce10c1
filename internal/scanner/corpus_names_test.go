package scanner_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// vendorIDs are names that hold a vendor's and name no secret, and words of which a
// vendor's name is a part.
var vendorIDs = strings.Fields(`herokuId herokuBuild HEROKU_APP slackMessageHash datadogTrace sentryRelease linearIssue discordHash zendeskTicketRef
	coherenceScore airtableRecordId AIRTABLE_BASE BetaBrowserZoomToolUseBlock zoomLevel herokuTokenHash cohereKeyId slackWebhookUrl LinearGradient
	bilinearFilter algoliaObjectID twilioMessageSid gitterRoom mapboxTile travisBuild nonlinear_map kraken-order asanaTask zoom_meeting jiraIssue`)

// vendorNames hold a vendor's and name a secret.
var vendorNames = strings.Fields(`heroku_api_key HEROKU_TOKEN herokuKey heroku-secret HerokuApiKey myHerokuKey API_KEY_HEROKU heroku.auth.token herokuapikey
	"heroku_oauth_token" HEROKU_KEY`)

// looseIDs are ids that begin as some vendor's keys do.
var looseIDs = map[string]sampler{
	"cache keys": func(r *rand.Rand) string { return oneOf(r, "cache-key-", "build-key-", "key-") + pick(r, hexes, 32) },
	"tasks": func(r *rand.Rand) string {
		return oneOf(r, "task_test_", "task_live_", "disk_prod_", "task_staging_", "desk_org_", "week_live_") + pick(r, alnum, 24)
	},
	"named hashes": func(r *rand.Rand) string { return oneOf(r, "my-secret-", "secret-") + pick(r, hexes, 40) },
	"calendars":    func(r *rand.Rand) string { return "cal_" + pick(r, hexes, 32) },
	"hashed keys":  func(r *rand.Rand) string { return oneOf(r, "key_", "pat_") + pick(r, hexes, 64) },
	"rounds":       func(r *rand.Rand) string { return "rnd_" + pick(r, hexes, 32) },
	"sessions":     func(r *rand.Rand) string { return "sess-" + pick(r, hexes, 40) },
}

// nameCorpus are texts whose names come near to those of secrets.
var nameCorpus = func() map[string]sampler {
	corpus := map[string]sampler{
		"ids of vendors": func(r *rand.Rand) string {
			value := oneOf(r, uuidOf(r), pick(r, hexes, 32), pick(r, hexes, 40), pick(r, hexes, 64), pick(r, lowers+digits, 17), pick(r, alnum, 40), pick(r, alnum, 32))
			return fmt.Sprintf(oneOf(r, `{"%s": "%s"}`, `%s = "%s"`, "%s: %s\n", "const %s = '%s';"), oneOf(r, vendorIDs...), value)
		},
		"page links": func(r *rand.Rand) string {
			return fmt.Sprintf(`{"@odata.nextLink":"https://graph.invalid/v1.0/users?%s=%s"}`, oneOf(r, "$skiptoken", "%24skiptoken", "skiptoken", "$deltatoken", "skipToken"), pick(r, nanoid, 60))
		},
		"page tokens": func(r *rand.Rand) string {
			return fmt.Sprintf(oneOf(r, `{"%s":"%s"}`, "%s=%s", "%s: %s"), oneOf(r, "skipToken", "skip_token", "deltaToken", "deltatoken", "pageToken", "sync_token", "continuationToken"), pick(r, nanoid, 48))
		},
		"form fields": func(r *rand.Rand) string {
			return fmt.Sprintf(oneOf(r, `<input type="hidden" name="%s" value="%s">`, "%s=%s&x=1", `{"%s":"%s"}`),
				oneOf(r, "csrfmiddlewaretoken", "authenticity_token", "__RequestVerificationToken", "_csrf_token", "csrf-token"), pick(r, alnum, 64))
		},
		"encodings": func(r *rand.Rand) string {
			return fmt.Sprintf("The %s is %s %s.", oneOf(r, "token", "password", "secret", "access token"),
				oneOf(r, "base64url-encoded", "SHA256-hashed", "HMAC-SHA256-signed", "PBKDF2-derived", "Base64-encoded", "AES256-encrypted", "url-encoded"), oneOf(r, "JSON", "text", "with a salt"))
		},
		"prompts": func(r *rand.Rand) string {
			return fmt.Sprintf("spawn noecho='^Password: '%s%s%d/Askpass%d.so", oneOf(r, " ", "\n", " /usr/lib/"), plainWord(r), r.IntN(9), r.IntN(99))
		},
		"lists of functions": func(*rand.Rand) string {
			return "openssl_get_privatekey openssl_pkey_get_private_key openssl_x509_checkpurpose private_key openssl_x509_checkpurpose openssl_x509_parse"
		},
	}
	for kind, id := range looseIDs {
		corpus[kind] = func(r *rand.Rand) string {
			return fmt.Sprintf(oneOf(r, `{"id":"%s"}`, "item %s done", "cache_key: %s\n", "%s"), id(r))
		}
	}
	return corpus
}()

func TestTextsWithNamesLikeThoseOfSecretsPass(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for kind, sample := range nameCorpus {
		for seed := range uint64(samplesOfAKind) {
			text := []byte(sample(newRand(seed)))
			if i := slices.IndexFunc(s.Scan(text, "text"), scanner.Finding.Redacts); i >= 0 {
				t.Errorf("%s: got %s, want nothing that redacts: %.160q", kind, s.Scan(text, "text")[i].Rule, text)
				break
			}
		}
	}
}

func TestVendorsSecretsAreFoundByTheirNames(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, name := range vendorNames {
		for seed := range uint64(8) {
			l := line{strings.Trim(name, `"`) + ` = "`, uuidOf(newRand(seed)), "\"\n"}
			f := covered(s.Scan([]byte(l.text()), "text"), len(l.before), len(l.before)+len(l.secret))
			if f == nil || !f.Redacts() {
				t.Errorf("%s: not redacted", name)
				break
			}
		}
	}
}

func TestKeysWithShortPrefixesAreRedactedAndBlockNothing(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for prefix, n := range map[string]int{"pat_": 64, "rnd_": 32, "fw_": 24, "sess-": 40} {
		for seed := range uint64(20) {
			l := line{"the key is ", prefix + pick(newRand(seed), alnum, n), " as it seems"}
			f := covered(s.Scan([]byte(l.text()), "text"), len(l.before), len(l.before)+len(l.secret))
			if f == nil || !f.Redacts() || f.Blocks() {
				t.Errorf("%s: got %v, want a finding that redacts and does not block", prefix, f)
				break
			}
		}
	}
}

func TestStripeKeysAreFoundWhateverSignStandsBeforeThem(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, before := range []string{"", " ", "_", "key_", "-", "STRIPE-", ".", `\n`, "%0A", "*"} {
		l := line{"x " + before, "sk_live_" + pick(newRand(1), alnum, 24), " y"}
		f := covered(s.Scan([]byte(l.text()), "text"), len(l.before), len(l.before)+len(l.secret))
		if f == nil || !f.Blocks() {
			t.Errorf("after %q: got %v, want a finding that blocks", before, f)
		}
	}
}
