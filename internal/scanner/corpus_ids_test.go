package scanner_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
)

// sampler makes a text without a secret.
type sampler func(r *rand.Rand) string

const (
	lowers    = "abcdefghijklmnopqrstuvwxyz"
	crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	nanoid    = alnum + "_-"
)

func std(r *rand.Rand, n int) string { return base64.StdEncoding.EncodeToString(randomBytes(r, n)) }
func rawURL(r *rand.Rand, n int) string {
	return base64.RawURLEncoding.EncodeToString(randomBytes(r, n))
}
func hexText(r *rand.Rand, n int) string {
	return hex.EncodeToString(randomBytes(r, n))
}

func oneOf(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

// identifiers are ids that services give what they make.
var identifiers = map[string]sampler{
	"uuid":     uuidOf,
	"ulid":     func(r *rand.Rand) string { return "01" + pick(r, crockford, 24) },
	"nanoid":   func(r *rand.Rand) string { return pick(r, nanoid, 21) },
	"objectid": func(r *rand.Rand) string { return hexText(r, 12) },
	"ksuid":    func(r *rand.Rand) string { return pick(r, alnum, 27) },
	"cuid":     func(r *rand.Rand) string { return "c" + pick(r, lowers+digits, 24) },
	"snowflake": func(r *rand.Rand) string {
		return "1" + pick(r, digits, 18)
	},
	"model": func(r *rand.Rand) string {
		return oneOf(r, "chatcmpl-", "msg_01", "call_", "toolu_01", "req_01", "resp_", "rs_", "fc_", "run_", "thread_", "asst_", "file-", "batch_", "gen-", "step_", "vs_", "ftjob-", "item_", "sess_", "cmpl-", "embd-", "modr-", "conv_", "ws_", "org-", "proj_") + pick(r, alnum, 20+r.IntN(20))
	},
	"money": func(r *rand.Rand) string {
		return oneOf(r, "cus_", "pi_", "evt_", "ch_", "in_", "sub_", "price_", "prod_", "acct_", "pm_", "seti_", "txn_", "po_", "cs_", "ii_", "si_", "req_") + pick(r, alnum, 14+r.IntN(12))
	},
	"bare": func(r *rand.Rand) string { return pick(r, alnum, 8+r.IntN(60)) },
	"arn": func(r *rand.Rand) string {
		return "arn:aws:" + oneOf(r, "iam", "lambda", "s3", "kms") + ":eu-west-1:" + pick(r, digits, 12) + ":" + oneOf(r, "role/", "function:", "key/") + uuidOf(r)
	},
	"etag":   func(r *rand.Rand) string { return `W/\"` + hexText(r, 16) + `\"` },
	"nodeid": func(r *rand.Rand) string { return "MDQ6VXNlcjE" + pick(r, alnum, 12) + "=" },
	"sha":    func(r *rand.Rand) string { return hexText(r, 20) },
	"hash":   func(r *rand.Rand) string { return oneOf(r, "sha256:", "sha512-", "md5:", "sha1:") + hexText(r, 32) },
	"base64": func(r *rand.Rand) string { return std(r, 16+r.IntN(200)) },
	"amzid2": func(r *rand.Rand) string { return std(r, 57) },
}

// idNames are members whose values are ids, cursors, digests and seals.
var idNames = strings.Fields(`id object_id request_id requestId x-request-id response_id previous_response_id trace_id traceId span_id parent_id session_id
	conversation_id thread_id run_id message_id tool_call_id call_id item_id file_id user_id account_id organization tenant_id client_id app_id key_id kid jti sub
	sha sha256 digest checksum etag hash commit revision integrity fingerprint system_fingerprint node_id cursor next_cursor end_cursor endCursor startCursor
	after before pageToken nextPageToken next_page_token page_token continuation continuationToken continuation_token syncToken sync_token nextSyncToken
	prompt_cache_key promptCacheKey cache_key cacheKey idempotency_key idempotencyKey Idempotency-Key primary_key partition_key sort_key public_key publicKey
	signature thoughtSignature thought_signature encrypted_content obfuscation redacted_thinking data blob payload nonce csrf_token csrfToken xsrf_token
	clientToken client_token ClientRequestToken resumeToken scrollId scroll_id pit_id version_id VersionId ETag resource_version uid correlation_id
	key keys name value content text tokens token_count token_type max_tokens tokenizer token_ids stop_token eos_token bos_token pad_token next_token
	x-amz-id-2 x-amzn-trace-id cf-ray x-cloud-trace-context x-vercel-id fly-request-id x-github-request-id access_key_id accessKeyId apiKeyId secretName secret_name
	secret_arn secretArn password_hash passwordHash password_id credential_id credentialId authority author authors author_id oauth_client_id nextToken NextToken PageToken`)

// idCorpus are texts of ids under all names.
var idCorpus = map[string]sampler{
	"ids in JSON": func(r *rand.Rand) string {
		return fmt.Sprintf(`{%q:%q,"n":%d,%q:"%s"}`, oneOf(r, idNames...), anyID(r), r.IntN(1e6), oneOf(r, idNames...), anyID(r))
	},
	"ids in nested JSON": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"arguments":"{\"%s\":\"%s\",\"n\":1}"}`, oneOf(r, idNames...), anyID(r))
	},
	"ids in YAML": func(r *rand.Rand) string {
		return fmt.Sprintf("- %s: %s\n  note: %s", oneOf(r, idNames...), anyID(r), prose(r, 4))
	},
	"ids in queries": func(r *rand.Rand) string {
		return fmt.Sprintf("GET /v1/items?%s=%s&limit=20", oneOf(r, idNames...), pick(r, alnum, 40))
	},
	"ids in headers": func(r *rand.Rand) string {
		return fmt.Sprintf("x-request-id: %s\r\nx-%s: %s", uuidOf(r), oneOf(r, "trace", "cache", "served-by", "ray"), anyID(r))
	},
	"ids in logs": func(r *rand.Rand) string {
		return fmt.Sprintf("2026-01-%02dT10:11:12.%03dZ INFO handler %s=%s %s", 1+r.IntN(28), r.IntN(1000), oneOf(r, "req", "trace_id", "span", "session", "user"), anyID(r), prose(r, 5))
	},
	"ids in prose": func(r *rand.Rand) string { return prose(r, 6) + " item " + anyID(r) + " " + prose(r, 6) },
	"ids in calls": func(r *rand.Rand) string {
		return fmt.Sprintf("lookup(%q, %q)", oneOf(r, "user", "trace", "item", "page", "key"), anyID(r))
	},
	"ids in tables": func(r *rand.Rand) string {
		return fmt.Sprintf("| %s | %s |\n%s,%s,%d", oneOf(r, "id", "commit", "page token", "sha"), anyID(r), "row", anyID(r), r.IntN(99))
	},
	"ids in XML": func(r *rand.Rand) string {
		return fmt.Sprintf("<RequestId>%s</RequestId><NextToken>%s</NextToken><Key>%s</Key>", uuidOf(r), std(r, 40), anyID(r))
	},
	"ids in paths": func(r *rand.Rand) string {
		return fmt.Sprintf("https://x.invalid/v1/%s/%s?page=%d", oneOf(r, "runs", "files", "keys"), anyID(r), r.IntN(9))
	},
	"trace contexts": func(r *rand.Rand) string {
		return fmt.Sprintf("traceparent: 00-%s-%s-01\ntracestate: rojo=%s", hexText(r, 16), hexText(r, 8), hexText(r, 8))
	},
	"events": func(r *rand.Rand) string {
		return fmt.Sprintf(`data: {"id":"chatcmpl-%s","object":"chat.completion.chunk","system_fingerprint":"fp_%s","choices":[{"index":0,"delta":{"content":%q}}],"obfuscation":%q}`, pick(r, alnum, 29), hexText(r, 5), prose(r, 3), pick(r, nanoid, 12))
	},
	"thinking": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"type":"thinking","thinking":%q,"signature":%q}`, prose(r, 20), std(r, 300+r.IntN(900)))
	},
	"reasoning": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"type":"reasoning","id":"rs_%s","summary":[],"encrypted_content":"gAAAAAB%s"}`, hexText(r, 25), rawURL(r, 600+r.IntN(1500)))
	},
	"thought signatures": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"parts":[{"text":"x","thoughtSignature":%q}]}`, std(r, 200+r.IntN(900)))
	},
	"usage": func(r *rand.Rand) string {
		return fmt.Sprintf(`"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"cached_tokens":0},"max_tokens":%d,"stop_token":null,"token_type":"bearer"`, r.IntN(9999), r.IntN(9999), r.IntN(99999), 4096)
	},
	"logprobs": func(r *rand.Rand) string {
		word := oneOf(r, words...)
		return fmt.Sprintf(`{"token":%q,"logprob":-%f,"bytes":[%d,%d],"top_logprobs":[{"token":" %s","logprob":-%f}]}`, word, r.Float64(), r.IntN(255), r.IntN(255), oneOf(r, words...), r.Float64()*9)
	},
	"embedding in base64": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"object":"embedding","index":0,"embedding":%q}`, std(r, 600))
	},
	"image": func(r *rand.Rand) string {
		return "data:image/" + oneOf(r, "png", "jpeg", "webp") + ";base64," + std(r, 900)
	},
	"audio": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"type":"input_audio","input_audio":{"data":%q,"format":"wav"}}`, std(r, 900))
	},
	"document": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0xLj%s"}}`, std(r, 900))
	},
	"mail": func(r *rand.Rand) string {
		var b strings.Builder
		b.WriteString("Content-Type: image/png; name=\"a.png\"\r\nContent-Transfer-Encoding: base64\r\nMessage-ID: <" + pick(r, alnum, 30) + "@mail.invalid>\r\n\r\n")
		for range 12 {
			b.WriteString(std(r, 57) + "\r\n")
		}
		return b.String()
	},
}

var identifierKinds = func() (list []string) {
	for kind := range identifiers {
		list = append(list, kind)
	}
	return list
}()

func anyID(r *rand.Rand) string { return identifiers[identifierKinds[r.IntN(len(identifierKinds))]](r) }
