package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nonroot is the user and group of the image, by the number that images without
// root have by custom.
const nonroot = 65532

// image makes an OCI image for several architectures from nothing: a folder in
// OCI's layout, and the same as an archive that `docker load` and `podman load` take.
func (p *project) image(ctx context.Context, arches []string, push string) error {
	if _, err := p.buildHost(ctx); err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range arches {
		binary, err := p.build(ctx, arch)
		if err != nil {
			return err
		}
		one, err := p.imageOf(binary, arch)
		if err != nil {
			return fmt.Errorf("making the image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	index = mutate.Annotations(index, p.labels()).(v1.ImageIndex)
	if err := p.writeLayout(index); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	if push == "" {
		return nil
	}
	at, err := name.ParseReference(push)
	if err != nil {
		return err
	}
	return remote.WriteIndex(at, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

// writeLayout writes the image into dist, in place of what was there.
func (p *project) writeLayout(index v1.ImageIndex) error {
	folder := filepath.Join(p.dist, "image")
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	oci, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	named := map[string]string{"org.opencontainers.image.ref.name": p.version, "io.containerd.image.name": "ghcr.io/superinstance/keeper:" + p.version}
	if err := oci.AppendIndex(index, layout.WithAnnotations(named)); err != nil {
		return err
	}
	archive, err := folderEntries(folder, p.at)
	if err != nil {
		return err
	}
	packed, err := tarOf(archive)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dist, "keeper_"+p.version+"_image.tar"), packed, 0o644)
}

// imageOf is the image for one architecture: a layer that seldom changes, and one
// with the binary.
func (p *project) imageOf(binary, arch string) (v1.Image, error) {
	base, err := p.baseEntries()
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	top := []entry{p.folder("usr", 0o755, 0), p.folder("usr/bin", 0o755, 0), {name: "usr/bin/keeper", mode: 0o755, content: program, at: p.at}}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, layer := range []struct {
		entries []entry
		made    string
	}{{base, "certificates, users, configuration"}, {top, "keeper " + p.version}} {
		packed, err := tarOf(layer.entries)
		if err != nil {
			return nil, err
		}
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }
		blob, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		history := v1.History{Created: v1.Time{Time: p.at}, CreatedBy: layer.made}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: blob, History: history, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: p.at}
	config.Config = p.imageConfig()
	return mutate.ConfigFile(image, config)
}

// imageConfig is how the image is run.
func (p *project) imageConfig() v1.Config {
	return v1.Config{
		User:         fmt.Sprintf("%d:%d", nonroot, nonroot),
		Entrypoint:   []string{"/usr/bin/keeper"},
		Cmd:          []string{"serve", "--config", "/etc/keeper/keeper.yaml"},
		Env:          []string{"PATH=/usr/bin", "KEEPER_DATA=/data", "KEEPER_URL=https://127.0.0.1:8701"},
		WorkingDir:   "/",
		Volumes:      map[string]struct{}{"/data": {}},
		ExposedPorts: map[string]struct{}{"8700/tcp": {}, "8701/tcp": {}},
		StopSignal:   "SIGTERM",
		Labels:       p.labels(),
		Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD", "/usr/bin/keeper", "status"}, Interval: 30 * time.Second, Timeout: 5 * time.Second, StartPeriod: 20 * time.Second, Retries: 3,
		},
	}
}

// labels are OCI's own, which registries and scanners show.
func (p *project) labels() map[string]string {
	const of = "org.opencontainers.image."
	return map[string]string{
		of + "title": "keeper", of + "description": "Holds API keys so that agents need none", of + "licenses": "MIT",
		of + "url": "https://github.com/superinstance/keeper", of + "source": "https://github.com/superinstance/keeper",
		of + "documentation": "https://github.com/superinstance/keeper/blob/main/docs/install.md",
		of + "version":       p.version, of + "revision": p.commit, of + "created": p.at.Format(time.RFC3339), of + "vendor": "The keeper authors",
	}
}

// baseEntries is all of the image but the binary.
func (p *project) baseEntries() ([]entry, error) {
	config, err := os.ReadFile(filepath.Join(p.root, "packaging", "image", "keeper.yaml"))
	if err != nil {
		return nil, err
	}
	licence, err := os.ReadFile(filepath.Join(p.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	file := func(name string, content []byte) entry {
		return entry{name: name, mode: 0o644, content: content, at: p.at}
	}
	return []entry{
		p.folder("data", 0o700, nonroot),
		p.folder("etc", 0o755, 0),
		file("etc/group", fmt.Appendf(nil, "root:x:0:\nkeeper:x:%d:\n", nonroot)),
		p.folder("etc/keeper", 0o755, 0),
		file("etc/keeper/keeper.yaml", config),
		file("etc/passwd", fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\nkeeper:x:%d:%d:keeper:/data:/sbin/nologin\n", nonroot, nonroot)),
		p.folder("etc/ssl", 0o755, 0), p.folder("etc/ssl/certs", 0o755, 0),
		file("etc/ssl/certs/ca-certificates.crt", certificates()),
		p.folder("licenses", 0o755, 0),
		file("licenses/keeper", licence),
		p.folder("tmp", 0o1777, 0),
	}, nil
}

// certificates are Mozilla's roots, as the Go project packs them: those that are
// trusted only in part are left out, since a PEM file cannot say in which.
func certificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	return out.Bytes()
}

func (p *project) folder(name string, mode int64, owner int) entry {
	return entry{name: name + "/", mode: mode, owner: owner, at: p.at}
}

// entry is a file of an archive, or a folder where its name ends in a slash.
type entry struct {
	name    string
	mode    int64
	owner   int
	content []byte
	at      time.Time
}

// tarOf packs entries so that the same ones give the same bytes.
func tarOf(entries []entry) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, e := range entries {
		kind := byte(tar.TypeReg)
		if e.name[len(e.name)-1] == '/' {
			kind = tar.TypeDir
		}
		header := &tar.Header{Typeflag: kind, Name: e.name, Mode: e.mode, Uid: e.owner, Gid: e.owner, Size: int64(len(e.content)), ModTime: e.at, Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return packed.Bytes(), err
}

// folderEntries is what a folder holds, in the order of names.
func folderEntries(folder string, at time.Time) ([]entry, error) {
	var found []entry
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			found = append(found, entry{name: name + "/", mode: 0o755, at: at})
			return nil
		}
		content, err := os.ReadFile(path)
		found = append(found, entry{name: name, mode: 0o644, content: content, at: at})
		return err
	})
	return found, err
}
