package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/superinstance/keeper/internal/isolate"
)

// keyStores are where programs keep keys in a home folder. What is an agent's own,
// such as ~/.claude and ~/.codex, is not among them.
var keyStores = []string{
	".ssh", ".gnupg", ".password-store", ".aws", ".azure", ".config/gcloud", ".kube", ".docker", ".config/gh", ".config/op",
	".netrc", ".git-credentials", ".config/git/credentials", ".config/hub", ".pgpass", ".pypirc", ".vault-token", ".terraform.d/credentials.tfrc.json",
}

// systemPaths are where containers get keys, and where root reaches the kernel's
// insides and the system's first process without a capability.
var systemPaths = []string{"/run/secrets", "/var/run/secrets", "/run/initctl", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware"}

// isolation is what the command may see and change.
func (a *app) isolation(f runFlags) (isolate.Config, error) {
	folder, err := os.Getwd()
	if err != nil {
		return isolate.Config{}, fmt.Errorf("--isolate: finding the working folder: %w", err)
	}
	if folder, err = filepath.EvalSymlinks(folder); err != nil {
		return isolate.Config{}, fmt.Errorf("--isolate: finding the working folder: %w", err)
	}
	own, err := a.ownFiles(f)
	if err != nil {
		return isolate.Config{}, err
	}
	hidden, err := absolute(slices.Concat(own, f.hide))
	if err != nil {
		return isolate.Config{}, err
	}
	shown, err := absolute(f.show)
	if err != nil {
		return isolate.Config{}, err
	}
	for _, path := range slices.Concat(a.atHome(keyStores...), systemPaths) {
		if !slices.Contains(shown, path) {
			hidden = append(hidden, path)
		}
	}
	writable, err := absolute(slices.Concat([]string{folder, os.TempDir(), "/tmp", "/var/tmp"}, a.atHome("."), f.writing))
	if err != nil {
		return isolate.Config{}, err
	}
	c := isolate.Config{Hidden: hidden, Writable: writable, Folder: folder}
	var files [3]*os.File
	for i, stream := range []any{a.in, a.out, a.err} {
		file, ok := stream.(*os.File)
		if !ok {
			return isolate.Config{}, errors.New("--isolate: the standard streams are no files")
		}
		files[i] = file
	}
	c.Stdin, c.Stdout, c.Stderr = files[0], files[1], files[2]
	return c, nil
}

// ownFiles are keeper's: wherever its data, its keys and its tokens may be, and the
// secrets that it takes from files.
func (a *app) ownFiles(f runFlags) ([]string, error) {
	c, err := loadConfig(f.config)
	if err != nil {
		return nil, err
	}
	files, _ := c.keyPlaces()
	files = append(files,
		f.config, devFolder, a.stateFolder(), a.dataFlag, c.Data, a.env["KEEPER_DATA"], filepath.Dir(a.clientFile("admin.token")),
		a.env["KEEPER_ADMIN_TOKEN_FILE"], a.configFolder(), a.cacheFolder(),
	)
	return slices.DeleteFunc(files, func(path string) bool { return path == "" }), nil
}

// atHome returns paths in the home folder; none where it is not known.
func (a *app) atHome(names ...string) []string {
	home := a.env["HOME"]
	if !filepath.IsAbs(home) {
		return nil
	}
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(home, name)
	}
	return paths
}

func absolute(paths []string) ([]string, error) {
	all := make([]string, len(paths))
	for i, path := range paths {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("--isolate: %w", err)
		}
		all[i] = full
	}
	return all, nil
}
