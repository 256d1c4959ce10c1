package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// statement is in-toto's Statement v1 with SLSA's provenance v1, as far as it says
// something of keeper. It is not signed: whoever releases signs it, or SHA256SUMS.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters"`
		ResolvedDependencies []dependency      `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder map[string]string `json:"builder"`
	} `json:"runDetails"`
}

type dependency struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

const repository = "https://github.com/superinstance/keeper"

// provenance writes from which commit, by which Go, and to which hashes what stands
// in dist was made.
func (p *project) provenance(file string) error {
	made, err := subjects(p.dist, file)
	if err != nil {
		return err
	}
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1", Subject: made}
	definition := &s.Predicate.BuildDefinition
	definition.BuildType = repository + "/blob/main/docs/install.md#verify"
	definition.ExternalParameters = map[string]string{"repository": repository, "commit": p.commit}
	definition.InternalParameters = map[string]string{"go": runtime.Version(), "CGO_ENABLED": "0", "flags": "-trimpath -buildvcs=true -ldflags '-s -w'"}
	definition.ResolvedDependencies = []dependency{{URI: "git+" + repository, Digest: map[string]string{"gitCommit": p.commit}}}
	s.Predicate.RunDetails.Builder = map[string]string{"id": repository + "/blob/main/packaging/release"}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// subjects are the files that lie in a folder itself, with their hashes, but for one.
func subjects(folder, except string) ([]subject, error) {
	entries, err := os.ReadDir(folder) // in the order of names
	if err != nil {
		return nil, err
	}
	var found []subject
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if !e.Type().IsRegular() || path == except {
			continue
		}
		sum, err := hashOf(path)
		if err != nil {
			return nil, err
		}
		found = append(found, subject{Name: e.Name(), Digest: map[string]string{"sha256": sum}})
	}
	return found, nil
}

func hashOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
