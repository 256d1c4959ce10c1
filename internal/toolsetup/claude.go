package toolsetup

import "path/filepath"

// claudeTool is Claude Code: https://code.claude.com/docs/en/llm-gateway-connect.
// It sends what apiKeyHelper prints in x-api-key and in Authorization, and asks
// again after the time below and at each 401.
func claudeTool() Tool {
	return Tool{
		Name: "claude", Title: "Claude Code", Program: "claude",
		Scopes:  []string{"anthropic:chat"},
		Shadows: []string{"CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"},
		edits: func(s Site) ([]Edit, error) {
			set := []Setting{
				{[]string{"env", "ANTHROPIC_BASE_URL"}, s.provider("anthropic")},
				{[]string{"env", "CLAUDE_CODE_API_KEY_HELPER_TTL_MS"}, "300000"},
				// Empty, these hide those of the environment, which would be sent in
				// the helper's stead: a real key, or the password of a keeper run.
				{[]string{"env", "ANTHROPIC_API_KEY"}, ""},
				{[]string{"env", "ANTHROPIC_AUTH_TOKEN"}, ""},
				{[]string{"apiKeyHelper"}, shellLine(s.helper("print"))},
			}
			if s.CA != "" {
				set = append(set, Setting{[]string{"env", "NODE_EXTRA_CA_CERTS"}, s.CA})
			}
			folder := s.folder("CLAUDE_CONFIG_DIR", ".claude")
			return []Edit{{
				Path: filepath.Join(folder, "settings.json"), Root: s.rootOf(folder), Mode: 0o600,
				Kind: kindJSON, Settings: set,
				Absent: [][]string{{"env", "ANTHROPIC_API_KEY"}, {"env", "ANTHROPIC_AUTH_TOKEN"}},
			}}, nil
		},
		notes: func(Site) []string {
			return []string{"Claude Code calls keeper from its next start on. /status there names apiKeyHelper and the base URL."}
		},
	}
}
