package scanner

// kingfisherOrigin is that of the rules whose formats were learnt from the rule
// set of MongoDB's Kingfisher (github.com/mongodb/kingfisher, Apache License 2.0,
// crates/kingfisher-rules/data/rules at the commit that is the version). The
// patterns and the words are keeper's own.
var kingfisherOrigin = origin{"kingfisher", "701508d529c6", "Apache-2.0"}

// kingfisherRules are keys whose formats their vendors hardly describe.
var kingfisherRules = kingfisherOrigin.sign(
	prefixed("arcjet-key", "Arcjet key", `ajkey_[a-z0-9]{26}`, "ajkey_"),
	prefixed("blockprotocol-api-key", "Block Protocol API key", `b10ck5\.[A-Za-z0-9]{32}\.[A-Za-z0-9]{36}`, "b10ck5."),
	prefixed("builder-private-key", "Builder.io private key", `bpk-[a-fA-F0-9]{32}`, "bpk-"),
	prefixed("canva-client-secret", "Canva client secret", `cnvca[A-Za-z0-9_-]{51}`, "cnvca"),
	prefixed("crossmint-api-key", "Crossmint API key", `_?[cs]k_(?:staging|production)_[A-Za-z0-9]{24,200}`,
		"ck_s", "ck_p", "sk_s", "sk_p", "_ck_s", "_ck_p", "_sk_s", "_sk_p"),
	dense(prefixed("composio-api-key", "Composio API key", `[ac]k_[A-Za-z0-9_-]{20}`, "ak_", "ck_")),
	prefixed("courier-auth-token", "Courier token", `[pd]k_(?:prod|test)_[A-Za-z0-9]{24,28}`, "pk_prod_", "pk_test_", "dk_prod_", "dk_test_"),
	named("databricks-oauth-client-secret", "Databricks OAuth client secret", `dose[A-Za-z0-9_.-]{32}`, "databricks", "dbx_"),
	prefixed("salesforce-refresh-token", "Salesforce refresh token", `5Aep[A-Za-z0-9._]{60,200}`, "5Aep"),
	prefixed("telnyx-api-key", "Telnyx API key", `KEY[A-Za-z0-9_-]{55}`, "KEY"),
	named("vercel-legacy-token", "Vercel token in its old form", `[A-Za-z0-9]{24}`, "vercel", "now_token"),
	named("netlify-legacy-token", "Netlify token in its old form", `(?:[a-fA-F0-9]{60,64}|[A-Za-z0-9_-]{43,45})`, "netlify"),
	named("azure-openai-account-key", "Azure OpenAI or AI Services key", `[A-Za-z0-9]{52}JQQJ[A-Za-z0-9]{28}`, "openai_api", "openai_key", "azure"),
)
