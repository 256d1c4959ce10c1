package toolsetup

import "path/filepath"

// cursorTool is the editor Cursor. What its agent runs, it runs in a terminal,
// and that is what a file can point at keeper; its calls of models go to Cursor's
// own servers, which call the base URL that is set by clicks themselves:
// https://forum.cursor.com/t/160995.
func cursorTool() Tool {
	return Tool{
		Name: "cursor", Title: "Cursor", Program: "cursor",
		edits: func(s Site) ([]Edit, error) {
			system := "linux"
			if s.OS == "darwin" {
				system = "osx"
			}
			profile := map[string]any{"path": s.Keeper, "args": append(append([]string{"run", "--quiet"}, s.reach()...), "--", s.shell())}
			return []Edit{{
				Path: filepath.Join(s.cursorFolder(), "User", "settings.json"), Root: s.rootOf(s.cursorFolder()), Mode: 0o600,
				Kind: kindJSON, Settings: []Setting{
					{[]string{"terminal.integrated.profiles." + system, "keeper"}, profile},
					{[]string{"terminal.integrated.defaultProfile." + system}, "keeper"},
					{[]string{"terminal.integrated.automationProfile." + system}, profile},
				},
			}}, nil
		},
		notes: func(s Site) []string {
			return []string{
				"New terminals of Cursor, its agent's among them, run in `keeper run`, with a token of their own. Reload the window.",
				"Cursor's own calls of models go to Cursor's servers, and no file changes that. With a key of yours: Settings > Models > API Keys > Override OpenAI Base URL, by clicks, and only where Cursor's servers can reach keeper, which they cannot on loopback.",
				"cursor-agent in a terminal: start it as `keeper run -- cursor-agent`.",
			}
		},
	}
}

// cursorFolder is where Cursor keeps what belongs to the user, as VS Code does:
// https://code.visualstudio.com/docs/configure/settings#_settings-file-locations.
func (s Site) cursorFolder() string {
	if s.OS == "darwin" {
		return filepath.Join(s.Home, "Library", "Application Support", "Cursor")
	}
	return filepath.Join(s.folder("XDG_CONFIG_HOME", ".config"), "Cursor")
}

func (s Site) shell() string {
	if shell := s.Env["SHELL"]; filepath.IsAbs(shell) {
		return shell
	}
	return "/bin/sh"
}
