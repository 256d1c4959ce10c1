package scanner

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
	ruleJWT         = "jwt"
	ruleKeeperToken = "keeper-token"
	ruleAuthHeader  = "auth-header"
)

// laneRules are the rules without a pattern: their shape is code.
var laneRules = []Rule{
	{ID: ruleBearer, Description: "Bearer token in an Authorization header", Type: TypeBearer, Confidence: Medium, Source: keeperSource},
	{ID: ruleBasic, Description: "User and password in Basic authentication", Type: TypeBearer, Confidence: Medium, Source: keeperSource},
	{ID: ruleSecretValue, Description: "Random value under a name that says secret", Type: TypeEntropy, Confidence: Medium, Source: keeperSource},
	{ID: rulePassword, Description: "Value under a name that says password", Type: TypeEntropy, Confidence: Medium, Source: keeperSource},
	{ID: ruleURL, Description: "Password in a URL", Type: TypeAPIKey, Confidence: Medium, Source: keeperSource},
	{ID: ruleDatabase, Description: "Password in a database URL", Type: TypeAPIKey, Confidence: High, Source: keeperSource},
	{ID: ruleCurl, Description: "User and password on curl's command line", Type: TypeAPIKey, Confidence: Medium, Source: keeperSource},
	{ID: rulePrivateKey, Description: "Private key in PEM or OpenPGP armour", Type: TypePrivateKey, Confidence: High, Source: keeperSource},
	{ID: ruleTelegram, Description: "Telegram bot token", Type: TypeAPIKey, Confidence: High, Source: keeperSource},
	{ID: ruleKeeperToken, Description: "Token that keeper issued", Type: TypeBearer, Confidence: High, Source: keeperSource},
	{ID: ruleAuthHeader, Description: "Credential in a header that keeper sets itself", Type: TypeAuthHeader, Confidence: Medium, Source: keeperSource},
}

// ownRules are keeper's own: its tokens, the formats that the public set lacks
// or describes too narrowly, and those of it that fit neither of its shapes.
var ownRules = []Rule{
	prefixed("keeper-agent-secret", "Secret of a keeper agent", `keeper_as_[A-Za-z0-9]{43}`, "keeper_as_"),
	{ID: ruleJWT, Description: "JSON Web Token", Type: TypeBearer, Confidence: Medium, Prefixes: []string{"eyJ"},
		Pattern: `eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}`, Source: keeperSource},
	weak(prefixed("jwt-base64", "JSON Web Token in base64", `ZXlK(?:aGJHY2lPaU|MGVYQWlPaUp|cmFXUWlP)[A-Za-z0-9+/]{60,}={0,2}`, "ZXlKaGJHY2lPaU", "ZXlKMGVYQWlPaUp", "ZXlKcmFXUWlP")),

	// AI providers.
	prefixed("openai-project-key", "OpenAI project key", `sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,200}`, "sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"),
	prefixed("openai-api-key", "OpenAI API key", `sk-[a-zA-Z0-9]{20}T3BlbkFJ[a-zA-Z0-9]{20}`, "sk-"),
	prefixed("anthropic-api-key", "Anthropic API key", `sk-ant-(?:api|oat|ort|sid)\d\d-[A-Za-z0-9_-]{40,140}`, "sk-ant-api", "sk-ant-oat", "sk-ant-ort", "sk-ant-sid"),
	prefixed("openrouter-api-key", "OpenRouter API key", `sk-or-v1-[a-f0-9]{64}`, "sk-or-v1-"),
	prefixed("deepseek-api-key", "DeepSeek API key, or one of that shape", `sk-[a-f0-9]{32}`, "sk-"),
	dense(prefixed("sk-api-key", "API key in the shape that OpenAI made common", `sk-[A-Za-z0-9]{48}`, "sk-")),
	dense(prefixed("litellm-key", "LiteLLM virtual key", `sk-[A-Za-z0-9]{20,24}`, "sk-")),
	prefixed("groq-api-key", "Groq API key", `gsk_[A-Za-z0-9]{52}`, "gsk_"),
	prefixed("xai-api-key", "xAI API key", `xai-[A-Za-z0-9]{70,90}`, "xai-"),
	prefixed("huggingface-access-token", "Hugging Face access token", `hf_[A-Za-z0-9]{34,40}`, "hf_"),
	prefixed("replicate-api-token", "Replicate API token", `r8_[A-Za-z0-9]{37,40}`, "r8_"),
	prefixed("fireworks-api-key", "Fireworks API key", `fw_[A-Za-z0-9]{20,40}`, "fw_"),
	prefixed("together-api-key", "Together API key", `tgp_v1_[A-Za-z0-9_-]{43}`, "tgp_v1_"),
	prefixed("nvidia-api-key", "NVIDIA API key", `nvapi-[A-Za-z0-9_-]{60,70}`, "nvapi-"),
	prefixed("cerebras-api-key", "Cerebras API key", `csk-[a-z0-9]{48}`, "csk-"),
	prefixed("elevenlabs-api-key", "ElevenLabs API key", `sk_[a-f0-9]{48}`, "sk_"),
	prefixed("langsmith-api-key", "LangSmith API key", `lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}`, "lsv2_pt_", "lsv2_sk_"),
	prefixed("langfuse-secret-key", "Langfuse secret key", `sk-lf-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}`, "sk-lf-"),
	prefixed("pinecone-api-key", "Pinecone API key", `pcsk_[A-Za-z0-9]{5,6}_[A-Za-z0-9]{60,66}`, "pcsk_"),
	dense(prefixed("voyage-api-key", "Voyage API key", `pa-[A-Za-z0-9_-]{43}`, "pa-")),
	prefixed("jina-api-key", "Jina API key", `jina_[a-f0-9]{32}[A-Za-z0-9_-]{28}`, "jina_"),
	prefixed("tavily-api-key", "Tavily API key", `tvly-(?:dev-|prod-)?[A-Za-z0-9]{32}`, "tvly-"),
	prefixed("firecrawl-api-key", "Firecrawl API key", `fc-[a-f0-9]{32}`, "fc-"),
	prefixed("e2b-api-key", "E2B API key", `e2b_[a-f0-9]{40}`, "e2b_"),
	prefixed("browserbase-api-key", "Browserbase API key", `bb_(?:live|test)_[A-Za-z0-9_-]{27}`, "bb_live_", "bb_test_"),
	prefixed("runpod-api-key", "RunPod API key", `rpa_[A-Z0-9]{40}[a-z0-9]{6}`, "rpa_"),
	prefixed("anyscale-api-key", "Anyscale key", `esecret_[a-zA-Z0-9]{24,32}`, "esecret_"),
	prefixed("perplexity-key", "Perplexity API key", `pplx-[A-Za-z0-9]{40,64}`, "pplx-"),

	// Clouds and platforms.
	prefixed("gcp-oauth-token", "Google OAuth access token", `ya29\.[A-Za-z0-9_-]{30,}`, "ya29."),
	prefixed("gcp-oauth-client-secret", "Google OAuth client secret", `GOCSPX-[A-Za-z0-9_-]{28}`, "GOCSPX-"),
	named("aws-secret-access-key", "AWS secret access key", High, `[A-Za-z0-9/+]{40}`,
		"aws_secret", "aws-secret", "awssecret", "secret_access_key", "secretaccesskey", "secret-access-key"),
	named("aws-session-token", "AWS session token", Medium, `[A-Za-z0-9/+][A-Za-z0-9/+=]{99,}`, "aws_session_token", "sessiontoken", "session_token", "security_token", "security-token"),
	named("azure-storage-key", "Azure storage account key", High, `[A-Za-z0-9+/]{86}==`, "accountkey", "account_key", "storage_key", "sharedaccesskey"),
	{ID: "azure-ad-client-secret", Description: "Microsoft Entra client secret", Type: TypeAPIKey, Confidence: High, Prefixes: digitsBefore("Q~"),
		Back: 3, Pattern: `[a-zA-Z0-9_~.]{3}\dQ~[a-zA-Z0-9_~.-]{31,34}`, Entropy: 3, Source: keeperSource},
	prefixed("cloudflare-user-token", "Cloudflare API token", `cf(?:ut|at)_[A-Za-z0-9_-]{40,60}`, "cfut_", "cfat_"),
	prefixed("vercel-token", "Vercel token", `vc[piark]_[A-Za-z0-9_-]{24,64}`, "vcp_", "vci_", "vca_", "vcr_", "vck_"),
	prefixed("supabase-access-token", "Supabase access token", `sbp_(?:v0_)?[a-f0-9]{40}`, "sbp_"),
	prefixed("supabase-secret-key", "Supabase secret key", `sb_secret_[A-Za-z0-9_-]{22,50}`, "sb_secret_"),
	prefixed("neon-api-key", "Neon API key", `napi_[a-z0-9]{60,70}`, "napi_"),
	prefixed("netlify-token", "Netlify token", `nfp_[A-Za-z0-9]{36,40}`, "nfp_"),
	prefixed("render-api-key", "Render API key", `rnd_[A-Za-z0-9]{28,40}`, "rnd_"),
	prefixed("docker-token", "Docker Hub token", `dckr_(?:pat|oat)_[A-Za-z0-9_-]{27,40}`, "dckr_pat_", "dckr_oat_"),
	prefixed("tailscale-key", "Tailscale key", `tskey-[a-z]+-[A-Za-z0-9]{8,20}-[A-Za-z0-9]{20,40}`, "tskey-"),
	prefixed("doppler-token", "Doppler token", `dp\.(?:ct|sa|scim|audit|st(?:\.[a-z0-9_-]{2,35})?)\.[A-Za-z0-9]{40,44}`, "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit.", "dp.st."),
	{ID: "hashicorp-tf-api-token", Description: "Terraform Cloud API token", Type: TypeAPIKey, Confidence: High, Prefixes: []string{".atlasv1."},
		Back: 14, Pattern: `[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}`, Entropy: 3.5, Source: keeperSource},
	prefixed("vault-service-token", "HashiCorp Vault service token", `hvs\.[\w-]{24,120}`, "hvs."),
	{ID: "vault-legacy-token", Description: "HashiCorp Vault token in its old form", Type: TypeAPIKey, Confidence: Low, // as many a method's name
		Prefixes: []string{"s."}, Pattern: `s\.[A-Za-z0-9]{24}`, Entropy: 3.5, Source: keeperSource},

	// Code and delivery.
	prefixed("gitlab-token", "GitLab token", `gl(?:pat|oas|dt|rt|ft)-[A-Za-z0-9_.-]{20,300}`, "glpat-", "gloas-", "gldt-", "glrt-", "glft-"),
	prefixed("atlassian-api-token", "Atlassian API token", `AT(?:ATT|CTT)3[A-Za-z0-9_=-]{60,250}`, "ATATT3", "ATCTT3"),
	named("atlassian-api-token-by-name", "Atlassian API token", Medium, `[a-zA-Z0-9]{20}[a-f0-9]{4}`, "atlassian", "confluence", "jira"),
	prefixed("bitbucket-app-password", "Bitbucket app password", `ATBB[A-Za-z0-9]{24,32}`, "ATBB"),
	{ID: "sourcegraph-access-token", Description: "Sourcegraph access token", Type: TypeAPIKey, Confidence: High, Prefixes: []string{"sgp_"},
		Pattern: `sgp_(?:(?:[a-fA-F0-9]{16}|local)_)?[a-fA-F0-9]{40}`, Entropy: 3, Source: keeperSource},
	named("sourcegraph-token-by-name", "Sourcegraph access token", Medium, `[a-fA-F0-9]{40}`, "sourcegraph"),
	prefixed("sonar-token", "Sonar token", `sq[upa]_[a-f0-9]{40}`, "squ_", "sqp_", "sqa_"),
	prefixed("circleci-token", "CircleCI token", `CCIPAT_[A-Za-z0-9]{22}_[a-f0-9]{40}`, "CCIPAT_"),
	prefixed("buildkite-token", "Buildkite token", `bk(?:ua|aj)_[A-Za-z0-9]{40}`, "bkua_", "bkaj_"),
	prefixed("figma-token", "Figma token", `figd_[A-Za-z0-9_-]{38,44}`, "figd_"),
	prefixed("contentful-token", "Contentful token", `CFPAT-[A-Za-z0-9_-]{43}`, "CFPAT-"),
	prefixed("posthog-key", "PostHog personal key", `phx_[A-Za-z0-9]{43,48}`, "phx_"),
	prefixed("dbt-token", "dbt token", `dbt[cus]_[A-Za-z0-9_=-]{40,60}`, "dbtc_", "dbtu_", "dbts_"),
	prefixed("axiom-token", "Axiom token", `xa[ap]t-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}`, "xaat-", "xapt-"),
	weak(prefixed("launchdarkly-key", "LaunchDarkly key", `(?:sdk|api)-[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[a-f0-9]{4}-[a-f0-9]{12}`, "sdk-", "api-")),

	// Work and money.
	{ID: "slack-webhook-url", Description: "Slack webhook URL", Type: TypeAPIKey, Confidence: High, Prefixes: []string{"hooks.slack.com/"},
		Pattern: `hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{43,56}`, Source: keeperSource},
	prefixed("slack-session-token", "Slack session token", `xox[cd]-[A-Za-z0-9/+=-]{10}[A-Za-z0-9%/+=-]{10,300}`, "xoxc-", "xoxd-"),
	{ID: "microsoft-teams-webhook", Description: "Microsoft Teams webhook URL", Type: TypeAPIKey, Confidence: High, Prefixes: []string{"webhook.office.com/"},
		Pattern: `webhook\.office\.com/webhookb2/[a-z0-9]{8}-(?:[a-z0-9]{4}-){3}[a-z0-9]{12}@[a-z0-9]{8}-(?:[a-z0-9]{4}-){3}[a-z0-9]{12}/IncomingWebhook/[a-z0-9]{32}/[a-z0-9]{8}-(?:[a-z0-9]{4}-){3}[a-z0-9]{12}`, Source: keeperSource},
	prefixed("notion-integration-secret", "Notion integration secret", `secret_[A-Za-z0-9]{43}`, "secret_"),
	prefixed("linear-oauth-token", "Linear OAuth token", `lin_oauth_[a-f0-9]{64}`, "lin_oauth_"),
	prefixed("hubspot-private-app-token", "HubSpot private app token", `pat-(?:na1|na2|eu1)-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}`, "pat-na1-", "pat-na2-", "pat-eu1-"),
	prefixed("stripe-webhook-secret", "Stripe webhook secret", `whsec_[A-Za-z0-9+/=]{32,64}`, "whsec_"),
	prefixed("resend-api-key", "Resend API key", `re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}`, "re_"),
	prefixed("square-access-token", "Square access token", `(?:EAAA[\w-]{60}|sq0atp-[\w-]{22,60})`, "EAAA", "sq0atp-"),
	{ID: "square-token-short", Description: "What may be a Square access token", Type: TypeAPIKey, Confidence: Low, Prefixes: []string{"EAAA"},
		Pattern: `EAAA[\w-]{22,59}`, Entropy: 3, Source: keeperSource},
	prefixed("razorpay-key", "Razorpay key", `rzp_(?:live|test)_[A-Za-z0-9]{14,24}`, "rzp_live_", "rzp_test_"),
	{ID: "twilio-api-key", Description: "Twilio API key", Type: TypeAPIKey, Confidence: High, Prefixes: []string{"SK"}, Pattern: `SK[0-9a-fA-F]{32}`, Entropy: 3, Source: keeperSource},
	named("twilio-auth-token", "Twilio auth token", Medium, `[a-f0-9]{32}`, "twilio"),
	prefixed("discord-bot-token", "Discord bot token", `(?:[MN][DTjz]|O[DT])[A-Za-z0-9_-]{22,26}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}`, "MD", "MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"),
	{ID: "facebook-access-token", Description: "Facebook app access token", Type: TypeAPIKey, Confidence: Medium, Names: []string{"facebook"},
		Pattern: `\d{15,16}(?:\||%)[0-9A-Za-z_-]{27,40}`, Entropy: 3, Source: keeperSource},
	{ID: "freemius-secret-key", Description: "Freemius secret key", Type: TypeAPIKey, Confidence: Medium, Names: []string{"secret_key"},
		Pattern: `sk_[A-Za-z0-9!@#$%^&*_.-]{29}`, Source: keeperSource},
	{ID: "maxmind-license-key", Description: "MaxMind license key", Type: TypeAPIKey, Confidence: High, Prefixes: []string{"mmk"},
		Back: 37, Pattern: `[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk`, Entropy: 4, Source: keeperSource},
	prefixed("new-relic-user-key", "New Relic user key", `NRAK-[A-Z0-9]{27}`, "NRAK-"),
	prefixed("new-relic-insights-key", "New Relic insert key", `NRII-[A-Za-z0-9_-]{32}`, "NRII-"),
	prefixed("defined-networking-token", "Defined Networking API token", `dnkey-[A-Za-z0-9=_-]{26}-[A-Za-z0-9=_-]{52}`, "dnkey-"),
	prefixed("typeform-token", "Typeform token", `tfp_[A-Za-z0-9_.=-]{59}`, "tfp_"),
	prefixed("mapbox-secret-token", "Mapbox secret token", `sk\.eyJ[A-Za-z0-9_-]{40,120}\.[A-Za-z0-9_-]{20,24}`, "sk.eyJ"),

	// Providers whose keys have no prefix, by their names.
	named("mistral-api-key", "Mistral API key", Medium, `[A-Za-z0-9]{32}`, "mistral"),
	named("cohere-key", "Cohere API key", Medium, `[A-Za-z0-9]{40}`, "cohere", "co_api_key"),
	named("together-key", "Together API key", Medium, `[a-f0-9]{64}`, "together"),
	named("azure-openai-key", "Azure OpenAI key", Medium, `(?:[a-f0-9]{32}|[A-Za-z0-9]{84})`, "azure_openai", "azure-openai", "azureopenai", "azure_api"),
	named("deepgram-api-key", "Deepgram API key", Medium, `[a-f0-9]{40}`, "deepgram"),
	named("assemblyai-api-key", "AssemblyAI API key", Medium, `[a-f0-9]{32}`, "assemblyai", "assembly_ai"),
	named("wandb-api-key", "Weights & Biases API key", Medium, `[a-f0-9]{40}`, "wandb"),
	named("datadog-key", "Datadog key", Medium, `[a-f0-9]{32}(?:[a-f0-9]{8})?`, "datadog", "dd_api", "dd_app", "dd-api", "dd-app"),
	named("pagerduty-key", "PagerDuty key", Medium, `[A-Za-z0-9+_-]{20}`, "pagerduty"),
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

func prefixed(id, description, pattern string, prefixes ...string) Rule {
	return Rule{ID: id, Description: description, Type: TypeAPIKey, Confidence: High, Prefixes: prefixes,
		Pattern: pattern, Entropy: 2.8, Source: keeperSource}
}

func named(id, description string, c Confidence, pattern string, names ...string) Rule {
	return Rule{ID: id, Description: description, Type: TypeAPIKey, Confidence: c, Names: names,
		Pattern: pattern, Entropy: 2.8, Source: keeperSource}
}

func weak(r Rule) Rule {
	r.Confidence = Medium
	r.Entropy = 3.5
	return r
}

// dense asks for more randomness, where the prefix is short.
func dense(r Rule) Rule {
	r.Entropy = 3.6
	return r
}

// digitsBefore lists the ten strings of a digit and tail.
func digitsBefore(tail string) (list []string) {
	for d := '0'; d <= '9'; d++ {
		list = append(list, string(d)+tail)
	}
	return list
}
