package toolsetup

import (
	"errors"
	"path/filepath"
)

// gitTool is git: https://git-scm.com/docs/git-config (url.<base>.insteadOf) and
// https://git-scm.com/docs/gitcredentials. The empty helper before keeper's keeps
// git from handing keeper's tokens to helpers that store them.
func gitTool() Tool {
	return Tool{
		Name: "git", Title: "git", Program: "git",
		Scopes:       []string{"github:read"},
		TrustShadows: []string{"GIT_SSL_CAINFO"},
		edits: func(s Site) ([]Edit, error) {
			if s.Find("git", "") == "" {
				return nil, errors.New("git is not installed, and its configuration is written by git itself")
			}
			values := []GitValue{
				{"url." + s.provider("github") + "/.insteadOf", "https://github.com/"},
				{"credential." + s.URL + ".helper", ""},
				{"credential." + s.URL + ".helper", "!" + shellLine(s.helper("git"))},
			}
			if s.CA != "" {
				values = append(values, GitValue{"http." + s.URL + "/.sslCAInfo", s.CA})
			}
			path := s.gitFile()
			return []Edit{{Path: path, Root: s.rootOf(filepath.Dir(path)), Mode: 0o644, Kind: kindGit, Git: values}}, nil
		},
		notes: func(Site) []string {
			return []string{"git fetches and pushes https://github.com/ repositories through keeper; those that are named by ssh it does not."}
		},
	}
}

// gitFile is the file that `git config --global` writes.
func (s Site) gitFile() string {
	if named := s.Env["GIT_CONFIG_GLOBAL"]; filepath.IsAbs(named) {
		return filepath.Clean(named)
	}
	own := filepath.Join(s.Home, ".gitconfig")
	shared := filepath.Join(s.folder("XDG_CONFIG_HOME", ".config"), "git", "config")
	if !exists(own) && exists(shared) {
		return shared
	}
	return own
}
