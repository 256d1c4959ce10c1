package scanner

// mailRules are the keys of mail, telephony and notifications.
var mailRules = []Rule{
	prefixed("sendgrid-key", "SendGrid API key", `SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{40,64}`, "SG."),
	prefixed("resend-api-key", "Resend API key", `re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}`, "re_"),
	named("mailgun-key", "Mailgun API key", `key-[a-fA-F0-9]{32}`, "mailgun", "mg_api", "mg_key"),
	prefixed("mailchimp-transactional-key", "Mailchimp Transactional key", `md-[A-Za-z0-9_-]{22}`, "md-"),
	named("mailchimp-key", "Mailchimp API key", `[a-fA-F0-9]{32}-us\d{1,2}`, "mailchimp", "mandrill", "mc_api"),
	named("mailjet-secret", "Mailjet key or secret", `[a-fA-F0-9]{32}`, "mailjet", "mj_apikey"),
	prefixed("mailersend-token", "MailerSend token", `mlsn\.[a-fA-F0-9]{64}`, "mlsn."),
	named("sparkpost-api-key", "SparkPost API key", `[a-fA-F0-9]{40}`, "sparkpost"),
	named("postmark-token", "Postmark token", uuidForm, "postmark", "x-postmark-server-token"),
	prefixed("brevo-smtp-key", "Brevo SMTP key", `xsmtpsib-[a-fA-F0-9]{64}-[A-Za-z0-9]{16}`, "xsmtpsib-"),
	prefixed("klaviyo-private-key", "Klaviyo private key", `pk_[a-fA-F0-9]{34}`, "pk_"),
	named("customerio-key", "Customer.io key", `[a-fA-F0-9]{20,32}`, "customerio", "customer_io", "cio_api"),
	prefixed("onesignal-key", "OneSignal API key", `os_v2_(?:app|org)_[a-z2-7]{90,110}`, "os_v2_app_", "os_v2_org_"),
	named("onesignal-legacy-key", "OneSignal REST API key", `[A-Za-z0-9]{48}`, "onesignal"),
	prefixed("kit-api-key", "Kit API key", `kit_[a-fA-F0-9]{32}`, "kit_"),

	{ID: "twilio-api-key", Description: "Twilio API key", Type: TypeAPIKey, Confidence: High, Prefixes: []string{"SK"}, Pattern: `SK[0-9a-fA-F]{32}`, Entropy: leastEntropy},
	named("twilio-auth-token", "Twilio auth token or secret", `(?:[a-fA-F0-9]{32}|[A-Za-z0-9]{32})`, "twilio"),
	named("vonage-secret", "Vonage secret", `[A-Za-z0-9]{16}`, "vonage", "nexmo"),
	named("plivo-token", "Plivo token", `[A-Za-z0-9]{40}`, "plivo"),
	named("sinch-secret", "Sinch or MessageBird key", `[A-Za-z0-9+/=]{25,40}`, "sinch", "messagebird"),
	named("infobip-api-key", "Infobip API key", `[a-fA-F0-9]{32}-`+uuidForm, "infobip"),
	dense(prefixed("pushbullet-token", "Pushbullet token", `o\.[A-Za-z0-9]{32}`, "o.")),
	named("pushover-token", "Pushover token", `[a-z0-9]{30}`, "pushover"),
	named("pusher-secret", "Pusher secret", `[a-fA-F0-9]{20}`, "pusher"),
	named("ably-api-key", "Ably API key", `[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{6}:[A-Za-z0-9_-]{43}`, "ably"),
	prefixed("pubnub-secret", "PubNub secret key", `sec-c-[A-Za-z0-9=]{40,60}`, "sec-c-"),
	named("stream-secret", "Stream or Agora secret", `(?:[a-z0-9]{64}|[a-fA-F0-9]{32})`, "getstream", "agora", "stream_secret"),
	named("daily-api-key", "Daily API key", `[a-fA-F0-9]{64}`, "daily_api", "dailyco"),
}
