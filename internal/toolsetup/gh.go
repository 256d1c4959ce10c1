package toolsetup

// ghTool is GitHub's gh. It asks no command for a token, and speaks to no base
// URL with a path; it heeds HTTPS_PROXY. So a launcher starts it in keeper run,
// which sets that, a token for the time that it runs, and whom to trust.
func ghTool() Tool {
	return Tool{
		Name: "gh", Title: "GitHub CLI", Program: "gh",
		Scopes: []string{"github:read"},
		edits: func(s Site) ([]Edit, error) {
			launcher, err := s.launcher("gh")
			if err != nil {
				return nil, err
			}
			return []Edit{launcher}, nil
		},
		notes: func(s Site) []string {
			return append(s.launcherNotes("gh"), "git is set up apart, with `keeper setup git`.")
		},
	}
}
