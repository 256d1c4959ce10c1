package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// sbom has cyclonedx-gomod, whose version go.mod pins, write what a binary is made
// of: each module with its version, hash and licence, and the Go release.
func (p *project) sbom(ctx context.Context, binary, file string) error {
	binary, file = p.fromRoot(binary), p.fromRoot(file)
	args := []string{"tool", "cyclonedx-gomod", "bin", "-json", "-std", "-licenses", "-noserial", "-output", file, binary}
	if _, err := output(ctx, filepath.Join(p.root, "packaging", "release"), []string{"GOFLAGS="}, "go", args...); err != nil {
		return fmt.Errorf("writing the bill of materials: %w", err)
	}
	return nil
}

// fromRoot is a path that may be relative to the root, whatever folder this runs in.
func (p *project) fromRoot(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.root, path)
}
