package scanner_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// talk is about secrets in the languages of the world and says none.
var talk = []string{
	"Please enter your password and the token that you received by e-mail.", "The API key is stored in the vault; never paste it here.",
	"Das Kennwort muss mindestens 12 Zeichen lang sein; das Zugriffstoken läuft nach 3600 Sekunden ab.", "Setze die Umgebungsvariable OPENAI_API_KEY, bevor du das Programm startest.",
	"Le mot de passe doit contenir au moins 8 caractères ; la clé d'API se trouve dans les paramètres.", "Введите пароль и токен доступа: они нужны для входа в систему.",
	"パスワードを入力してください。APIキーは環境変数に設定します。", "请输入密码:您的访问令牌将在24小时后过期。密钥不会被保存。", "비밀번호: 8자 이상 입력하세요. 토큰은 1시간 후 만료됩니다.",
	"La contraseña debe tener letras y números; el token caduca pronto.", "Il token di accesso scade dopo 3600 secondi, la password no.", "كلمة المرور يجب أن تكون طويلة", "Hasło: co najmniej 12 znaków, klucz API jest w sejfie.",
	"Authorization: Bearer <token>", "Authorization: Bearer YOUR_ACCESS_TOKEN", "curl -u username:password https://api.example.com", "curl -H 'Authorization: Bearer $TOKEN' https://x.invalid", "curl -u \"$USER:$PASSWORD\" https://x.invalid",
	"export OPENAI_API_KEY='sk-...'", "export API_KEY=your-api-key-here", "password: string", "token: null", "secret: undefined", "hasPassword: true", "passwordRequired=false", "max_tokens: 4096", "password=********", "api_key=xxxxxxxxxxxxxxxxxxxxxxxx",
	"postgres://user:password@localhost:5432/app", "postgres://postgres:postgres@localhost/app", "amqp://guest:guest@localhost:5672", "mongodb://root:example@mongo:27017", "redis://:changeme@redis:6379", "https://user:pass@example.com", "mysql://root:root@127.0.0.1/x",
	"machine api.example.com login joe password changeme", "password123", "The default password is 'password'.", "sshpass -p $PASS ssh host", "docker login -u $USER -p $TOKEN", "mysql -u root -p", "psql \"password=$PGPASSWORD\"",
}

// placeholders are what is written where a secret goes.
var placeholders = []string{
	"xxxxxxxxxxxxxxxxxxxx", "<token>", "<YOUR_API_KEY>", "YOUR_API_KEY", "your-api-key", "your_secret_key_here", "changeme", "change-me-please", "example", "example-token-1234", "${VAR}", "${SECRET_KEY_1}", "{{ var }}", "{{ .Values.auth.password1 }}", "{{secret}}",
	"%VAR%", "%API_KEY_2%", "$(cmd)", "$(cat /run/secrets/token1)", "$TOKEN", "$API_KEY_V2", "process.env.API_KEY_V2", "os.getenv(\"API_KEY_2\")", "os.environ[\"API_KEY1\"]", "config.get('password2')", "ENV['SECRET_KEY_1']", "System.getenv(\"TOKEN_1\")", "********", "••••••••••", "[REDACTED]",
	"***REDACTED***", "sk-...", "sk-xxxxxxxxxxxxxxxxxxxxxxxx", "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "AKIAXXXXXXXXXXXXXXXX", "insert-your-token-here", "replace_me_with_token", "TODO", "null", "None", "undefined", "true", "false", "string", "your-256-bit-secret", "dummy-key-for-tests", "fake_token_1234",
	"test-api-key-123", "not-a-real-key-12345", "my-secret-password", "my_super_secret_key", "placeholder-value-1", "vault:secret/data/app#api_key1", "op://vault/item/field1", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf", "projects/p1/secrets/s1/versions/latest",
	"ref+vault://secret/x#/y1", "!vault |", "file:/run/secrets/db_password1", "/run/secrets/api_key_v2", "@Microsoft.KeyVault(SecretUri=https://x.invalid/secrets/s1)", "secretKeyRef", "(hidden)", "<redacted>", "0000000000000000", "1234567890abcdef", "abcdefghijklmnopqrstuvwxyz", "0123456789abcdef0123456789abcdef", "deadbeefdeadbeefdeadbeefdeadbeef",
}

// secretNames are names of what placeholders stand for.
var secretNames = strings.Fields("password api_key apiKey API_KEY token access_token accessToken secret client_secret clientSecret SECRET_KEY auth_token AUTH_TOKEN private_key privateKey passwd DB_PASSWORD refresh_token webhook_secret encryption_key credentials bearer_token")

// assignments are the ways in which a name gets a value.
var assignments = []string{"%s=%s", "%s = %s", "%s: %s", `"%s": "%s"`, `%s = "%s"`, "%s: '%s'", "--%s %s", "--%s=%s", "<%s>%s</x>", `'%s' => '%s',`, "%s := %s", "| %s | %s |"}

// codeValues are what code assigns to names that say secret.
var codeValues = []string{
	"getToken2(request)", "generateToken(32)", "input('Password: ')", "getpass.getpass()", "self.password1", "req.body.password", "await bcrypt.hash(password, 10)", "crypto.randomBytes(32).toString('hex')", "new Uint8Array(32)", "uuid.v4()", "user.passwordHash2", "options.apiKey2 || defaults.apiKey",
	"Optional[str] = None", "z.string().min(8)", "Field(..., min_length=8)", "fmt.Sprintf(\"%s-%d\", a, b)", "localStorage.getItem('token1')", "req.headers['x-api-key']", "useState<string | null>(null)", "ref.current?.value1", "jwt.sign(payload1, secretKey)", "base64.b64encode(os.urandom(32))", "this.configService.get<string>('JWT_SECRET')",
	"settings.SECRET_KEY_V2", "cfg.Section2.Password", "args.Token1", "secretsmanager.Secret_fromSecretArn1", "token2", "tokens[i+1]", "lexer.nextToken2()", "Token.IDENTIFIER_2", "parser.tokenStart1", "TokenKind.CloseBrace2", "ts.SyntaxKind.StringKeyword2", "kCFStreamSSLKey1", "kSecAttrAccessible2",
}

// wordCorpus are texts that speak of secrets and hold none.
var wordCorpus = map[string]sampler{
	"talk": func(r *rand.Rand) string { return oneOf(r, talk...) + "\n" + prose(r, 8) + "\n" + oneOf(r, talk...) },
	"talk in JSON": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"role":"user","content":%q}`, oneOf(r, talk...)+"\n\n"+oneOf(r, talk...))
	},
	"placeholders": func(r *rand.Rand) string {
		return fmt.Sprintf(oneOf(r, assignments...), oneOf(r, secretNames...), oneOf(r, placeholders...))
	},
	"code": func(r *rand.Rand) string {
		return fmt.Sprintf("  %s%s%s%s\n", oneOf(r, "", "const ", "let ", "self.", "this.", "String "), oneOf(r, secretNames...), oneOf(r, " = ", ": ", " := ", "="), oneOf(r, codeValues...))
	},
	"calls": func(r *rand.Rand) string {
		return fmt.Sprintf("%s(%s, %s)\n%s(%q, %s)", oneOf(r, "login", "setPassword", "authenticate", "verify"), oneOf(r, "user1", "username", "req.body.user"), oneOf(r, "password1", "user.password2", "req.body.password"), oneOf(r, "setToken", "os.Setenv", "define"), oneOf(r, secretNames...), oneOf(r, codeValues...))
	},
	"schema": func(r *rand.Rand) string {
		name := oneOf(r, secretNames...)
		return fmt.Sprintf(`{"name":"sign_in_%d","description":"Signs in with a password or an api_key.","parameters":{"type":"object","properties":{%q:{"type":"string","format":"password","description":"The %s, e.g. 'your-%s'","examples":["<%s>"],"minLength":8,"pattern":"^[A-Za-z0-9_-]{20,}$"},"token":{"type":"string","enum":["access_token_v2","refresh_token_v2"]},"auth":{"type":"string","default":"oauth2_client_credentials"}},"required":[%q,"token"]}}`, r.IntN(99), name, name, name, name, name)
	},
	"OpenAPI": func(r *rand.Rand) string {
		return fmt.Sprintf("securitySchemes:\n  api_key:\n    type: apiKey\n    name: X-API-Key-V%d\n    in: header\n  oauth2:\n    flows:\n      clientCredentials:\n        tokenUrl: https://auth.invalid/oauth2/v2.0/token\n        scopes:\n          read:tokens1: Reads tokens\ntoken_endpoint_auth_method: client_secret_post", r.IntN(9))
	},
	"markdown": func(r *rand.Rand) string {
		return fmt.Sprintf("## Authentication\n\nPass your key as `Authorization: Bearer $%s`. The `%s` option (string, required) is described [here](#token-v%d).\n\n| Option | Description |\n|---|---|\n| `password` | Password for user1 |\n| `token` | Access_token_v2 of the user |\n", strings.ToUpper(plainWord(r)), oneOf(r, secretNames...), r.IntN(9))
	},
	"minified": minifiedLine,
	"types": func(r *rand.Rand) string {
		return fmt.Sprintf("interface Auth%d { password: Uint8Array; token?: AccessTokenV2; apiKey: SecretString2 }\nfunc f(token Token2, password Password1) (secret Secret3, err error)\nprivate readonly token: InjectionToken<string2>", r.IntN(99))
	},
	"errors": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"error":{"message":"Incorrect API key provided: sk-proj-****%s. You can find your API key in the dashboard.","type":"invalid_request_error","code":"invalid_api_key"},"error_description":"AADSTS%s: the token has expired","status":%d}`, strings.Repeat("*", 20), pick(r, digits, 5), 401)
	},
	"i18n": func(r *rand.Rand) string {
		return fmt.Sprintf(`{"password.label%d":"Password","passwordMismatchError2":"Passwords do not match","token_expired_v1":"Your token has expired.","apiKeyPlaceholder":"Enter your API key","secretQuestion1":"What is your first pet's name?"}`, r.IntN(99))
	},
}
