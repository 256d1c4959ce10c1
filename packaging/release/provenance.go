package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// statement is in-toto's Statement v1 with SLSA's provenance v1, as far as it says
// something of keeper. It is not signed: whoever releases signs SHA256SUMS.
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

const (
	provenanceFile = "provenance.json"
	sumsFile       = "SHA256SUMS"
)

// provenance writes from which commit, by which Go, and to which hashes what stands
// in dist was made, and then the hash of each file of the release, its own among them.
func (p *project) provenance() error {
	made, err := released(p.dist)
	if err != nil {
		return err
	}
	if err := p.writeProvenance(made); err != nil {
		return err
	}
	sum, err := hashOf(filepath.Join(p.dist, provenanceFile))
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, one := range append(made, subject{provenanceFile, map[string]string{"sha256": sum}}) {
		fmt.Fprintf(&sums, "%s  %s\n", one.Digest["sha256"], one.Name)
	}
	return writeFile(filepath.Join(p.dist, sumsFile), []byte(sums.String()))
}

func (p *project) writeProvenance(made []subject) error {
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
	return writeFile(filepath.Join(p.dist, provenanceFile), append(text, '\n'))
}

// released are the files of a release, with their hashes: those that are named after
// keeper. What goreleaser notes for itself lies beside them.
func released(folder string) ([]subject, error) {
	entries, err := os.ReadDir(folder) // in the order of names
	if err != nil {
		return nil, err
	}
	var found []subject
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), "keeper") {
			continue
		}
		sum, err := hashOf(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		found = append(found, subject{Name: e.Name(), Digest: map[string]string{"sha256": sum}})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no file of a release in %s; make one first", folder)
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
