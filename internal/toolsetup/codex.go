package toolsetup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// codexTool is OpenAI's Codex: model_providers of
// https://developers.openai.com/codex/config-reference. Its command for a key
// exists since version 0.118.
func codexTool() Tool {
	return Tool{
		Name: "codex", Title: "OpenAI Codex", Program: "codex",
		Scopes: []string{"openai:chat"},
		edits: func(s Site) ([]Edit, error) {
			folder := s.folder("CODEX_HOME", ".codex")
			return []Edit{{
				Path: filepath.Join(folder, "config.toml"), Root: s.rootOf(folder), Mode: 0o600,
				Kind: kindTOML, Key: "model_provider", Value: `"keeper"`,
				Table: []string{"model_providers", "keeper"}, Block: codexProvider(s),
			}}, nil
		},
		notes: func(s Site) []string {
			notes := []string{"Codex calls keeper from its next start on."}
			if s.CA != "" {
				notes = append(notes, "Codex takes its authorities from the environment alone: export SSL_CERT_FILE with a bundle in which "+s.CA+" is, or start it with keeper run.")
			}
			return notes
		},
	}
}

func codexProvider(s Site) string {
	command := s.helper("print")
	args := make([]string, 0, len(command))
	for _, arg := range command[1:] {
		args = append(args, tomlString(arg))
	}
	return fmt.Sprintf(`[model_providers.keeper]
name = "keeper"
base_url = %s
wire_api = "responses"

[model_providers.keeper.auth]
command = %s
args = [%s]
timeout_ms = 10000
refresh_interval_ms = 300000
`, tomlString(s.provider("openai")+"/v1"), tomlString(command[0]), strings.Join(args, ", "))
}

// tomlString returns text as a basic string of TOML, whose escapes are JSON's.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			b.WriteString(`\u` + fmt.Sprintf("%04s", strconv.FormatInt(int64(r), 16)))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
