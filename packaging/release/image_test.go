package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// assembled makes the image of this machine's architecture, and reads it from where
// it was written, with the digest of its index.
func assembled(t *testing.T) (v1.Image, v1.Hash) {
	t.Helper()
	p, err := openProject(t.Context(), "../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.image(t.Context(), []string{runtime.GOARCH}, ""); err != nil {
		t.Fatal(err)
	}
	outer, err := layout.ImageIndexFromPath(filepath.Join(p.dist, "image"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	digest := manifest.Manifests[0].Digest
	inner, err := outer.ImageIndex(digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(inner); err != nil {
		t.Errorf("the index: %v", err)
	}
	if manifest, err = inner.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	if got := manifest.Manifests[0].Platform; got.OS != "linux" || got.Architecture != runtime.GOARCH {
		t.Errorf("platform: got %v, want linux/%s", got, runtime.GOARCH)
	}
	image, err := inner.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image, digest
}

// unpacked is each file of the image's layers with its mode and owner, and its bytes.
func unpacked(t *testing.T, image v1.Image) (said map[string]string, contents map[string][]byte) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	said, contents = map[string]string{}, map[string][]byte{}
	for _, layer := range layers {
		packed, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		for r := tar.NewReader(packed); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if said[header.Name] != "" {
				t.Errorf("got %s in two layers", header.Name)
			}
			said[header.Name] = fmt.Sprintf("%04o %d:%d", header.Mode, header.Uid, header.Gid)
			if contents[header.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return said, contents
}

func TestImageHoldsKeeperAndNothingMore(t *testing.T) {
	image, _ := assembled(t)
	said, contents := unpacked(t, image)
	want := map[string]string{
		"data/": "0700 65532:65532", "tmp/": "1777 0:0", "usr/bin/keeper": "0755 0:0",
		"etc/": "0755 0:0", "etc/keeper/": "0755 0:0", "etc/ssl/": "0755 0:0", "etc/ssl/certs/": "0755 0:0", "licenses/": "0755 0:0", "usr/": "0755 0:0", "usr/bin/": "0755 0:0",
		"etc/group": "0644 0:0", "etc/passwd": "0644 0:0", "etc/keeper/keeper.yaml": "0644 0:0", "etc/ssl/certs/ca-certificates.crt": "0644 0:0", "licenses/keeper": "0644 0:0",
	}
	if !maps.Equal(said, want) {
		t.Errorf("files: got %v, want %v", said, want)
	}
	if n := bytes.Count(contents["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")); n < 100 {
		t.Errorf("certificates: got %d, want the public web's", n)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := file.Config
	if c.User != "65532:65532" || !slices.Equal(append(c.Entrypoint, c.Cmd...), []string{"/usr/bin/keeper", "serve", "--config", "/etc/keeper/keeper.yaml"}) {
		t.Errorf("got user %s and command %v %v", c.User, c.Entrypoint, c.Cmd)
	}
	for _, label := range []string{"version", "revision", "source", "licenses"} {
		if c.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("label %s: got none", label)
		}
	}
}

func TestImageIsTheSameWheneverItIsMade(t *testing.T) {
	_, first := assembled(t)
	_, second := assembled(t)
	if first != second {
		t.Errorf("digests of two images of one commit: got %s and %s, want one", first, second)
	}
}

// spread writes an image's files below a folder, each with its mode and owner.
func spread(t *testing.T, image v1.Image, root string) {
	t.Helper()
	said, contents := unpacked(t, image)
	for _, name := range slices.Sorted(maps.Keys(said)) { // a folder before what is in it
		var mode uint32
		var uid, gid int
		if _, err := fmt.Sscanf(said[name], "%o %d:%d", &mode, &uid, &gid); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, name)
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, contents[name], 0o644)
		}
		permissions := os.FileMode(mode & 0o777)
		if mode&0o1000 != 0 {
			permissions |= os.ModeSticky
		}
		if err := errors.Join(err, os.Chown(path, uid, gid), os.Chmod(path, permissions)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImageServesWithoutRootOnARootItCannotWrite(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("only root can lay out files as other users'; run this as root")
	}
	image, _ := assembled(t)
	root, err := os.MkdirTemp("", "keeper-image") // not below t.TempDir, which others cannot enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	spread(t, image, root)
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, mountpoint := range []string{"proc", "dev"} { // runtimes make them
		if err := os.Mkdir(filepath.Join(root, mountpoint), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	inside := contained(t, root, file.Config)
	within(t, "keeper status in the container", func() error { return inside("/usr/bin/keeper", "status") })
	if err := inside("/usr/bin/keeper", "agent", "add", "bot", "--scopes", "openai:chat"); err != nil {
		t.Error(err)
	}
	if err := inside("/usr/bin/keeper", "ca"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "data", "keeper.db")); err != nil {
		t.Errorf("the volume: %v", err)
	}
}

// contained starts an image's command as a container runtime would: its user, its
// environment, namespaces of its own, the root read-only but for /data. It returns
// what runs another command in there.
func contained(t *testing.T, root string, c v1.Config) func(args ...string) error {
	t.Helper()
	info, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--reuid=65532", "--regid=65532", "--clear-groups", "--inh-caps=-all", "--no-new-privs", "bwrap", "--info-fd", "3",
		"--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--ro-bind", root, "/", "--bind", filepath.Join(root, "data"), "/data", "--proc", "/proc", "--dev", "/dev", "--"}
	var said bytes.Buffer
	cmd := exec.Command("setpriv", slices.Concat(args, c.Entrypoint, c.Cmd)...)
	cmd.Env, cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = append(slices.Clone(c.Env), "PATH="+os.Getenv("PATH")), []*os.File{told}, &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the container said:\n%s", said.String())
		}
	})
	var child struct {
		PID int `json:"child-pid"`
	}
	if err := json.NewDecoder(info).Decode(&child); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) error {
		enter := []string{"--target", fmt.Sprint(child.PID), "--mount", "--net", "--setuid=65532", "--setgid=65532", "--"}
		cmd := exec.CommandContext(t.Context(), "nsenter", append(enter, args...)...)
		cmd.Env = append(slices.Clone(c.Env), "PATH="+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
		return nil
	}
}

// within tries again until something holds, half a minute at most.
func within(t *testing.T, what string, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
