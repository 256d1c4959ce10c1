package scanner_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
)

func plainWord(r *rand.Rand) string {
	return strings.ToLower(oneOf(r, "parser", "colour", "server", "vector", "stream", "button", "widget", "router", "logger", "queue"))
}

// fileCorpus are lines of lock files, certificates, manifests and code.
var fileCorpus = map[string]sampler{
	"npm lock": func(r *rand.Rand) string {
		return fmt.Sprintf(`    "node_modules/%s": {"version": "%d.2.1", "resolved": "https://registry.invalid/%s/-/%s-1.2.1.tgz", "integrity": "sha512-%s", "license": "MIT"}`, plainWord(r), r.IntN(9), plainWord(r), plainWord(r), std(r, 64))
	},
	"yarn lock": func(r *rand.Rand) string {
		return fmt.Sprintf("\"%s@npm:^1.0.0\":\n  version: 1.%d.0\n  resolution: \"%s@npm:1.0.0\"\n  checksum: 10c0/%s\n  resolved \"https://registry.invalid/%s.tgz#%s\"\n  integrity sha512-%s", plainWord(r), r.IntN(9), plainWord(r), hexText(r, 64), plainWord(r), hexText(r, 20), std(r, 64))
	},
	"pnpm lock": func(r *rand.Rand) string {
		return fmt.Sprintf("  /%s@1.0.%d:\n    resolution: {integrity: sha512-%s}\n    engines: {node: '>=14'}", plainWord(r), r.IntN(9), std(r, 64))
	},
	"cargo lock": func(r *rand.Rand) string {
		return fmt.Sprintf("[[package]]\nname = %q\nversion = \"0.%d.1\"\nsource = \"registry+https://github.invalid/index\"\nchecksum = %q", plainWord(r), r.IntN(9), hexText(r, 32))
	},
	"poetry lock": func(r *rand.Rand) string {
		return fmt.Sprintf("    {file = \"%s-1.0-py3-none-any.whl\", hash = \"sha256:%s\"},", plainWord(r), hexText(r, 32))
	},
	"pip hashes": func(r *rand.Rand) string {
		return fmt.Sprintf("%s==1.%d.0 --hash=sha256:%s \\\n    --hash=sha256:%s", plainWord(r), r.IntN(9), hexText(r, 32), hexText(r, 32))
	},
	"gemfile lock": func(r *rand.Rand) string {
		return fmt.Sprintf("  remote: https://github.invalid/%s.git\n  revision: %s\n  %s (1.2.%d) sha256=%s", plainWord(r), hexText(r, 20), plainWord(r), r.IntN(9), hexText(r, 32))
	},
	"composer lock": func(r *rand.Rand) string {
		return fmt.Sprintf(`"dist":{"type":"zip","url":"https://api.github.invalid/repos/a/zipball/%s","reference":"%s","shasum":""},"content-hash":"%s"`, hexText(r, 20), hexText(r, 20), hexText(r, 16))
	},
	"go.sum": func(r *rand.Rand) string {
		return fmt.Sprintf("example.com/%s v1.%d.0/go.mod h1:%s\nexample.com/%s v0.0.0-2026010%d-%s h1:%s", plainWord(r), r.IntN(9), std(r, 32), plainWord(r), r.IntN(9), hexText(r, 6), std(r, 32))
	},
	"flake lock": func(r *rand.Rand) string {
		return fmt.Sprintf(`"locked":{"lastModified":1712%s,"narHash":"sha256-%s","owner":"NixOS","repo":"nixpkgs","rev":"%s","type":"github"}`, pick(r, digits, 6), std(r, 32), hexText(r, 20))
	},
	"images": func(r *rand.Rand) string {
		return fmt.Sprintf("FROM golang:1.26@sha256:%s AS build\nRUN --mount=type=secret,id=npm_token npm ci\nENV NODE_ENV=production PORT=8080\nARG VERSION=1.%d", hexText(r, 32), r.IntN(9))
	},
	"certificates": func(r *rand.Rand) string {
		label := oneOf(r, "CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE REQUEST", "PGP PUBLIC KEY BLOCK", "PGP SIGNATURE", "SSH SIGNATURE", "X509 CRL", "PKCS7", "DH PARAMETERS")
		return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: randomBytes(r, 300+r.IntN(900))}))
	},
	"programs in base64": func(r *rand.Rand) string {
		code := randomBytes(r, 3000)
		for i := range code {
			if n := r.IntN(10); n < 5 {
				code[i] = 0
			} else if n < 7 {
				code[i] &= 0x1f
			}
		}
		return strings.Join(slices.Collect(chunks(base64.StdEncoding.EncodeToString(code), 76)), oneOf(r, "\n", "\r\n", `\n`))
	},
	"certificates in JSON": func(r *rand.Rand) string {
		text := string(pem.EncodeToMemory(&pem.Block{Type: oneOf(r, "CERTIFICATE", "PUBLIC KEY"), Bytes: randomBytes(r, 600)}))
		return fmt.Sprintf(`{"client_x509_cert":%q,"publicKey":%q}`, text, text)
	},
	"certificates in YAML": func(r *rand.Rand) string {
		return "    certificate-authority-data: " + std(r, 700) + "\n    client-certificate-data: " + std(r, 700)
	},
	"ssh keys": func(r *rand.Rand) string {
		return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + pick(r, alnum+"+/", 43) + " joe@" + plainWord(r) + "\nssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC" + pick(r, alnum+"+/", 500) + "= ci"
	},
	"known hosts": func(r *rand.Rand) string {
		return "github.invalid,140.82.121.4 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAAB" + pick(r, alnum+"+/", 90) + "=\n|1|" + std(r, 20) + "|" + std(r, 20) + " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + pick(r, alnum, 43)
	},
	"fingerprints": func(r *rand.Rand) string {
		return "SHA256:" + strings.TrimRight(std(r, 32), "=") + " joe@host (ED25519)\n" + colons(r, 20) + "\nMD5:" + colons(r, 16)
	},
	"JWKS": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":%q,"n":%q,"e":"AQAB","x5t":%q,"x5c":[%q]},{"kty":"EC","crv":"P-256","x":%q,"y":%q}]}`, rawURL(r, 20), rawURL(r, 256), rawURL(r, 20), std(r, 600), rawURL(r, 32), rawURL(r, 32))
	},
	"PuTTY public": func(r *rand.Rand) string {
		return "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"rsa-key\"\n" + std(r, 48) + "\n" + std(r, 48) + "\n---- END SSH2 PUBLIC KEY ----"
	},
	"source map": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"version":3,"sources":["webpack:///./src/%s.ts"],"names":["token","apiKey"],"mappings":"AAAA,SAAS,%s;AACA,%s"}`, plainWord(r), pick(r, "ABCDEGIKMOQSU", 40), pick(r, "ABCDEGIKMOQSU", 60))
	},
	"chunks": func(r *rand.Rand) string {
		return fmt.Sprintf(`<script src="/static/js/%s.%s.chunk.js" integrity="sha384-%s" crossorigin="anonymous" nonce="%s"></script><div class="css-%s-%s">`, plainWord(r), hexText(r, 4), std(r, 48), std(r, 16), pick(r, lowers+digits, 6), plainWord(r))
	},
	"forms": func(r *rand.Rand) string {
		return fmt.Sprintf(`<input type="hidden" name="csrf_token" value="%s"><meta name="csrf-token" content="%s"><input type="password" name="password" autocomplete="current-password" placeholder="Password">`, pick(r, alnum, 43), rawURL(r, 32))
	},
	"cookies": func(r *rand.Rand) string {
		return fmt.Sprintf("Set-Cookie: _ga=GA1.1.%s.%s; __cf_bm=%s; theme=dark; _cfuvid=%s-%s; consent=%s", pick(r, digits, 9), pick(r, digits, 10), rawURL(r, 32), rawURL(r, 24), pick(r, digits, 13), uuidOf(r))
	},
	"git log": func(r *rand.Rand) string {
		return fmt.Sprintf("commit %s (HEAD -> main, origin/main)\nMerge: %s %s\nAuthor: A. Developer <dev@example.com>\n\n    %s\n\ndiff --git a/x.go b/x.go\nindex %s..%s 100644\n@@ -1,%d +1,9 @@\n-\ttoken := old\n+\ttoken := next", hexText(r, 20), hexText(r, 4), hexText(r, 4), prose(r, 6), hexText(r, 4), hexText(r, 4), r.IntN(9))
	},
	"nginx log": func(r *rand.Rand) string {
		return fmt.Sprintf(`10.0.%d.7 - - [12/Jan/2026:10:11:12 +0000] "GET /v1/items?cursor=%s HTTP/1.1" 200 %d "-" "Mozilla/5.0 (X11; Linux x86_64)" rid=%s`, r.IntN(255), rawURL(r, 30), r.IntN(9999), hexText(r, 16))
	},
	"kubernetes log": func(r *rand.Rand) string {
		return fmt.Sprintf("I0112 10:11:12.%06d 1 controller.go:%d] pod=%q replicaset=%q uid=%q image=\"r.invalid/app@sha256:%s\"", r.IntN(999999), r.IntN(999), "api-"+pick(r, "bcdfghjklmnpqrstvwxz2456789", 10)+"-"+pick(r, "bcdfghjklmnpqrstvwxz2456789", 5), "api-"+pick(r, "bcdfghjklmnpqrstvwxz2456789", 10), uuidOf(r), hexText(r, 32))
	},
	"deployment": func(r *rand.Rand) string {
		return fmt.Sprintf("kind: Deployment\nmetadata:\n  labels:\n    pod-template-hash: %s\n  annotations:\n    checksum/secret: %s\nspec:\n  containers:\n  - env:\n    - name: DB_PASSWORD\n      valueFrom:\n        secretKeyRef:\n          name: db-credentials-%s\n          key: password\n    - name: API_KEY_FILE\n      value: /run/secrets/api_key_v2", pick(r, "bcdf2456789", 10), hexText(r, 32), pick(r, lowers+digits, 5))
	},
	"terraform": func(r *rand.Rand) string {
		return fmt.Sprintf("resource \"aws_db_instance\" \"main\" {\n  identifier = \"db-%s\"\n  password   = var.db_password2\n  kms_key_id = \"arn:aws:kms:eu-west-1:%s:key/%s\"\n  tags = { Secret = data.aws_secretsmanager_secret.main1.arn }\n}\nsubnet_id = \"subnet-%s\"", pick(r, lowers, 5), pick(r, digits, 12), uuidOf(r), hexText(r, 9))
	},
	"actions": func(r *rand.Rand) string {
		return fmt.Sprintf("      - uses: actions/checkout@%s\n        with:\n          token: ${{ secrets.GITHUB_TOKEN }}\n          password: ${{ secrets.%s_PASSWORD_%d }}\n        env:\n          API_KEY: ${{ secrets.API_KEY2 }}", hexText(r, 20), strings.ToUpper(plainWord(r)), r.IntN(9))
	},
	"stack trace": func(r *rand.Rand) string {
		return fmt.Sprintf("goroutine %d [running]:\nmain.(*Server).authToken(0xc000%s, {0xc000%s, 0x20})\n\t/app/token.go:%d +0x%s\nat com.acme.auth.PasswordEncoder2.matches(PasswordEncoder2.java:%d) ~[auth-1.2.jar!/:1.2]", r.IntN(999), hexText(r, 3), hexText(r, 3), r.IntN(999), hexText(r, 1), r.IntN(999))
	},
	"hex dump": func(r *rand.Rand) string {
		return fmt.Sprintf("%08x  %s  |%s|\n0000%04x: %s %s %s %s", r.IntN(1<<20), spaced(r, 16), pick(r, alnum+"....", 16), r.IntN(9999), hexText(r, 2), hexText(r, 2), hexText(r, 2), hexText(r, 2))
	},
	"SQL": func(r *rand.Rand) string {
		return fmt.Sprintf("INSERT INTO users (id, email, password_hash, token_count) VALUES ('%s', 'a@example.com', NULL, %d);\nSELECT password, api_key FROM accounts WHERE id = '%s' AND token IS NOT NULL;", uuidOf(r), r.IntN(999), hexText(r, 12))
	},
	"CSV": func(r *rand.Rand) string {
		return fmt.Sprintf("id,name,password_set,token_count,sha\n%s,%s,true,%d,%s", uuidOf(r), plainWord(r), r.IntN(99), hexText(r, 20))
	},
	"ANSI art": func(r *rand.Rand) string {
		return fmt.Sprintf("\x1b[38;5;%dm████▓▒░\x1b[0m 🚀 %s ✅\n╔══════╗\n║ %-4d ║\n╚══════╝", r.IntN(255), prose(r, 4), r.IntN(99))
	},
	"addresses": func(r *rand.Rand) string {
		return fmt.Sprintf("2606:2800:220:1:248:%s:25c8:1946 fe80::%s%%eth0 00:1b:%s:%s:%s:%s localhost:5432:5432", hexText(r, 2), hexText(r, 2), hexText(r, 1), hexText(r, 1), hexText(r, 1), hexText(r, 1))
	},
}

func colons(r *rand.Rand, n int) string {
	return strings.TrimSuffix(strings.ReplaceAll(spaced(r, n), " ", ":"), ":")
}

func spaced(r *rand.Rand, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(hexText(r, 1))
	}
	return b.String()
}

// chunks cuts s into parts of n bytes.
func chunks(s string, n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(s) > n {
			if !yield(s[:n]) {
				return
			}
			s = s[n:]
		}
		yield(s)
	}
}
