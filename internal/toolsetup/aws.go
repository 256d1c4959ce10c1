package toolsetup

import (
	"fmt"
	"path/filepath"
	"strings"
)

// awsTool is the AWS command line and the SDKs that read its files:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html and
// .../feature-process-credentials.html. It signs with a key that is none; the
// token travels as the session token.
func awsTool() Tool {
	return Tool{
		Name: "aws", Title: "AWS CLI and SDKs", Program: "aws",
		Scopes:       []string{"aws-bedrock:*", "aws-s3:read"},
		Shadows:      []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"},
		TrustShadows: []string{"AWS_CA_BUNDLE"},
		edits: func(s Site) ([]Edit, error) {
			if strings.ContainsAny(s.Keeper+s.CA, `"\`) {
				return nil, fmt.Errorf("%s: AWS's tools run no command with quotes or backslashes in it", s.Keeper)
			}
			path := filepath.Join(s.Home, ".aws", "config")
			if named := s.Env["AWS_CONFIG_FILE"]; filepath.IsAbs(named) {
				path = filepath.Clean(named)
			}
			return []Edit{{
				Path: path, Root: s.rootOf(filepath.Dir(path)), Mode: 0o600,
				Kind: kindINI, Sections: []string{"profile keeper", "services keeper"}, Block: awsProfile(s),
			}}, nil
		},
		notes: func(Site) []string {
			return []string{"Use it with `aws --profile keeper …`, or export AWS_PROFILE=keeper. Bedrock's runtime and S3 go through keeper; the profile has no key for anything else."}
		},
	}
}

func awsProfile(s Site) string {
	region := "us-east-1"
	for _, named := range []string{s.Env["AWS_DEFAULT_REGION"], s.Env["AWS_REGION"]} {
		if named != "" && !strings.ContainsFunc(named, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
			region = named
		}
	}
	authority := ""
	if s.CA != "" {
		authority = "ca_bundle = " + s.CA + "\n"
	}
	return fmt.Sprintf(`[profile keeper]
region = %s
services = keeper
s3 =
  addressing_style = path
credential_process = %s
request_checksum_calculation = when_required
response_checksum_validation = when_required
%s
[services keeper]
bedrock_runtime =
  endpoint_url = %s
s3 =
  endpoint_url = %s
`, region, processLine(s.helper("aws")), authority, s.provider("aws-bedrock"), s.provider("aws-s3"))
}

// processLine returns the words as credential_process splits them: at spaces,
// but for what is in double quotes.
func processLine(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		if strings.ContainsAny(word, " \t'") {
			quoted[i] = `"` + word + `"`
		}
	}
	return strings.Join(quoted, " ")
}
