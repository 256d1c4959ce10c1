package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// packages makes a deb and an rpm for each architecture.
func (p *project) packages(ctx context.Context, arches []string) error {
	if err := p.assets(ctx); err != nil {
		return err
	}
	section, err := p.packageSection()
	if err != nil {
		return err
	}
	for _, arch := range arches {
		binary, err := p.build(ctx, arch)
		if err != nil {
			return err
		}
		config, err := p.packageConfig(section, arch, binary)
		if err != nil {
			return err
		}
		for format, packager := range map[string]nfpm.Packager{"deb": deb.Default, "rpm": rpm.DefaultRPM} {
			if err := p.pack(config, format, packager); err != nil {
				return fmt.Errorf("packing the %s for %s: %w", format, arch, err)
			}
		}
	}
	return nil
}

// packageSection is what .goreleaser.yaml says of packages, by key, without what
// only goreleaser knows.
func (p *project) packageSection() (map[string]any, error) {
	text, err := os.ReadFile(filepath.Join(p.root, ".goreleaser.yaml"))
	if err != nil {
		return nil, err
	}
	var release struct {
		NFPMs []map[string]any `yaml:"nfpms"`
	}
	if err := yaml.Unmarshal(text, &release); err != nil {
		return nil, fmt.Errorf("reading .goreleaser.yaml: %w", err)
	}
	if len(release.NFPMs) != 1 {
		return nil, errors.New("reading .goreleaser.yaml: want one entry under nfpms")
	}
	section := release.NFPMs[0]
	for _, key := range []string{"id", "ids", "formats", "package_name", "file_name_template", "bindir", "mtime"} {
		delete(section, key)
	}
	return section, nil
}

// packageConfig adds what goreleaser would add by itself: name, version, time and
// the binary.
func (p *project) packageConfig(section map[string]any, arch, binary string) (*nfpm.Config, error) {
	section["name"], section["arch"], section["version"] = "keeper", arch, p.version
	text, err := yaml.Marshal(section)
	if err != nil {
		return nil, err
	}
	literal := func(name string) string { return "$" + name } // nothing is taken from the environment
	config, err := nfpm.ParseWithEnvMapping(bytes.NewReader(text), literal)
	if err != nil {
		return nil, fmt.Errorf("reading nfpms of .goreleaser.yaml: %w", err)
	}
	config.MTime = p.at
	config.Contents = append(config.Contents, &files.Content{
		Source: binary, Destination: "/usr/bin/keeper", FileInfo: &files.ContentFileInfo{Mode: 0o755},
	})
	for _, content := range config.Contents {
		if content.Source != "" && !filepath.IsAbs(content.Source) {
			content.Source = filepath.Join(p.root, content.Source)
		}
	}
	for _, script := range []*string{&config.Scripts.PreInstall, &config.Scripts.PostInstall, &config.Scripts.PreRemove, &config.Scripts.PostRemove} {
		*script = filepath.Join(p.root, *script)
	}
	return &config, nil
}

func (p *project) pack(config *nfpm.Config, format string, packager nfpm.Packager) error {
	info, err := config.Get(format)
	if err != nil {
		return err
	}
	info = nfpm.WithDefaults(info)
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(p.dist, packager.ConventionalFileName(info)))
	if err != nil {
		return err
	}
	return errors.Join(packager.Package(info, out), out.Close())
}
