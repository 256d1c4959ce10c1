package scanner

// identityRules are the keys of those who say who is who.
var identityRules = []Rule{
	named("okta-api-token", "Okta API token", `00[A-Za-z0-9_-]{40}`, "okta", "ssws"),
	named("okta-client-secret", "Okta client secret", `[A-Za-z0-9_-]{64}`, "okta"),
	named("auth0-client-secret", "Auth0 client secret", `[A-Za-z0-9_-]{64}`, "auth0"),
	prefixed("stytch-secret", "Stytch secret", `secret-(?:live|test)-[A-Za-z0-9_-]{36}=?`, "secret-live-", "secret-test-"),
	named("ory-token", "Ory token", `ory_(?:at|rt|ac|st|lo|pat|apikey|wak)_[A-Za-z0-9_-]{30,90}(?:\.[A-Za-z0-9_-]{20,90})?`, "ory_"),
	named("descope-key", "Descope management key", `K[A-Za-z0-9]{50,110}`, "descope"),
	named("keycloak-client-secret", "Keycloak client secret", `[A-Za-z0-9]{32}`, "keycloak"),
	named("onelogin-secret", "OneLogin client secret", `[a-fA-F0-9]{64}`, "onelogin"),
	named("jumpcloud-api-key", "JumpCloud API key", `[a-fA-F0-9]{40}`, "jumpcloud"),
	prefixed("jumpcloud-api-key-form", "JumpCloud API key", `jca_[A-Za-z0-9]{36}`, "jca_"),
	named("duo-secret-key", "Duo secret key", `[A-Za-z0-9]{40}`, "duo_s", "duo_secret", "skey"),
	prefixed("permit-api-key", "Permit.io API key", `permit_key_[A-Za-z0-9]{60,110}`, "permit_key_"),
	prefixed("pangea-token", "Pangea token", `p(?:ts|mt|cl)_[a-z2-7]{32}`, "pts_", "pmt_", "pcl_"),
	named("recaptcha-secret", "reCAPTCHA secret key", `6L[A-Za-z0-9_-]{38}`, "captcha", "recaptcha", "hcaptcha"),
	named("turnstile-secret", "Turnstile or hCaptcha secret", `0x[A-Za-z0-9_-]{22,44}`, "turnstile", "captcha", "recaptcha", "hcaptcha"),
	prefixed("hcaptcha-secret", "hCaptcha secret", `ES_[a-fA-F0-9]{32}`, "ES_"),
	named("totp-seed", "Seed of one-time passwords", `[A-Z2-7]{16,64}`, "totp", "otp_secret", "otp_seed", "mfa_secret", "2fa_secret"),
}
