package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// completions are the files of completions by shell, as shells look for them.
var completions = map[string]string{"bash": "keeper.bash", "zsh": "_keeper", "fish": "keeper.fish"}

// assets makes the man pages and the completions that packages and archives hold.
func (p *project) assets(ctx context.Context) error {
	keeper, err := p.buildHost(ctx)
	if err != nil {
		return err
	}
	out := filepath.Join(p.root, "packaging", "out")
	for _, old := range []string{"man", "completions"} {
		if err := os.RemoveAll(filepath.Join(out, old)); err != nil {
			return err
		}
	}
	if err := p.manPages(ctx, keeper, filepath.Join(out, "man")); err != nil {
		return err
	}
	for shell, file := range completions {
		text, err := output(ctx, p.root, nil, keeper, "completion", shell)
		if err != nil {
			return fmt.Errorf("asking keeper for the completion of %s: %w", shell, err)
		}
		if err := writeFile(filepath.Join(out, "completions", file), text); err != nil {
			return err
		}
	}
	return nil
}

// manPages has keeper write its man pages, and compresses them as Debian wants it:
// without a name and a time.
func (p *project) manPages(ctx context.Context, keeper, folder string) error {
	plain, err := os.MkdirTemp("", "keeper-man")
	if err != nil {
		return err
	}
	defer os.RemoveAll(plain)
	env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", p.at.Unix())}
	if _, err := output(ctx, p.root, env, keeper, "man", plain); err != nil {
		return fmt.Errorf("asking keeper for its man pages: %w", err)
	}
	pages, err := filepath.Glob(filepath.Join(plain, "*.1"))
	if err != nil || len(pages) == 0 {
		return fmt.Errorf("asking keeper for its man pages: there are none (%v)", err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		packed, err := gzipped(text)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(folder, filepath.Base(page)+".gz"), packed); err != nil {
			return err
		}
	}
	return nil
}

func gzipped(text []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return packed.Bytes(), err
}

func writeFile(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}
