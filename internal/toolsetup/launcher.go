package toolsetup

import (
	"fmt"
	"path/filepath"
)

// launcherFile is where a launcher of the program stands: in the folder for
// programs of the user's own, of the XDG base directory specification.
func (s Site) launcherFile(program string) string {
	return filepath.Join(s.Home, ".local", "bin", program)
}

// launcher starts the program in keeper run; inside of one, as it is.
func (s Site) launcher(program string) (Edit, error) {
	file := s.launcherFile(program)
	installed := s.Find(program, file)
	if installed == "" {
		return Edit{}, fmt.Errorf("%s is not installed: there is none on the path", program)
	}
	run := append(append([]string{s.Keeper, "run", "--quiet"}, s.reach()...), "--", installed)
	return Edit{
		Path: file, Root: s.rootOf(filepath.Dir(file)), Mode: 0o755, Kind: kindWhole,
		Block: fmt.Sprintf(`#!/bin/sh
# Written by keeper setup %[1]s, and taken away by keeper setup %[1]s --undo.
case "$HTTPS_PROXY" in
http://keeper:*) exec %[2]s "$@" ;; # it is in keeper run already
esac
exec %[3]s "$@"
`, program, shellQuote(installed), shellLine(run)),
	}, nil
}

// launcherNotes say whether the launcher is what a shell finds.
func (s Site) launcherNotes(program string) []string {
	file := s.launcherFile(program)
	if first := s.Find(program, ""); first != file {
		return []string{fmt.Sprintf("Put %s before %s in PATH: only then is `%s` the launcher that has a token.", filepath.Dir(file), filepath.Dir(first), program)}
	}
	return []string{fmt.Sprintf("%s starts %s with a token of its own, which ends with it.", file, program)}
}
