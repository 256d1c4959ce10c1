package toolsetup

import "path/filepath"

// geminiTool is Google's Gemini CLI. The auth type has to be named: beside a
// base URL it would take one that it then refuses
// (https://github.com/google-gemini/gemini-cli/issues/27550). It has no command
// for a key, so that a launcher gives it one at each start.
func geminiTool() Tool {
	return Tool{
		Name: "gemini", Title: "Gemini CLI", Program: "gemini",
		Scopes:  []string{"gemini:chat"},
		Shadows: []string{"GEMINI_CLI_HOME", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"},
		edits: func(s Site) ([]Edit, error) {
			launcher, err := s.launcher("gemini")
			if err != nil {
				return nil, err
			}
			folder := filepath.Join(s.Home, ".gemini")
			return []Edit{
				{
					Path: filepath.Join(folder, "settings.json"), Root: s.rootOf(folder), Mode: 0o600,
					Kind: kindJSON, Settings: []Setting{{[]string{"security", "auth", "selectedType"}, "gemini-api-key"}},
				},
				{
					Path: filepath.Join(folder, ".env"), Root: s.rootOf(folder), Mode: 0o600,
					Kind: kindEnv, Key: "GOOGLE_GEMINI_BASE_URL", Value: s.provider("gemini"),
					Absent: [][]string{{"GEMINI_API_KEY"}, {"GOOGLE_API_KEY"}},
				},
				launcher,
			}, nil
		},
		notes: func(s Site) []string {
			return append(s.launcherNotes("gemini"),
				"Without the launcher: export GEMINI_API_KEY=\"$("+shellLine(append(s.helper("print"), "--ttl", "12h"))+")\", which is good for 12 hours.")
		},
	}
}
