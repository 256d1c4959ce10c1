package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/sink"
)

// AuditConfig is what becomes of the audit log. Durations are written 30s, 24h.
type AuditConfig struct {
	// CheckpointEntries and CheckpointInterval say after how many entries, and how
	// long after an entry, the log's head is signed: 1000 and 1s by default.
	CheckpointEntries  int           `yaml:"checkpointEntries"`
	CheckpointInterval time.Duration `yaml:"checkpointInterval"`
	// Witnesses are shown each signed head.
	Witnesses WitnessConfig `yaml:"witnesses"`
	// Sinks are sent each entry.
	Sinks []SinkConfig `yaml:"sinks"`
	// Retention moves old entries to files; by default all stay.
	Retention *RetentionConfig `yaml:"retention"`
}

// WitnessConfig names where signed heads are kept, so that whoever owns this machine
// cannot rewrite the log unseen.
type WitnessConfig struct {
	// Files are appended to. They belong on another machine's disk.
	Files []string `yaml:"files"`
	// URLs are add-checkpoint addresses of C2SP's tlog-witness.
	URLs []string `yaml:"urls"`
}

// SinkConfig is one sink.
type SinkConfig struct {
	Name       string        `yaml:"name"`
	Type       string        `yaml:"type"`
	Format     string        `yaml:"format"`
	From       string        `yaml:"from"`
	MinRisk    int           `yaml:"minRisk"`
	Events     []string      `yaml:"events"`
	Path       string        `yaml:"path"`
	MaxBytes   int64         `yaml:"maxBytes"`
	MaxAge     time.Duration `yaml:"maxAge"`
	Keep       int           `yaml:"keep"`
	Address    string        `yaml:"address"`
	ServerName string        `yaml:"serverName"`
	Facility   string        `yaml:"facility"`
	URL        string        `yaml:"url"`
	URLFile    string        `yaml:"urlFile"`
	TokenFile  string        `yaml:"tokenFile"`
	SecretFile string        `yaml:"secretFile"`
	CAFile     string        `yaml:"caFile"`
}

// RetentionConfig says which entries leave the store for files that prove themselves.
type RetentionConfig struct {
	// MaxAge and MaxBytes: older entries leave, and the oldest while the store uses
	// more. One of them must be given.
	MaxAge   time.Duration `yaml:"maxAge"`
	MaxBytes int64         `yaml:"maxBytes"`
	// Folder is where the files go, audit-archive in the data folder by default.
	Folder string `yaml:"folder"`
	// SegmentEntries go into one file, 65536 by default; a multiple of 256.
	SegmentEntries int64 `yaml:"segmentEntries"`
}

func (c AuditConfig) check() error {
	if c.CheckpointEntries < 0 || c.CheckpointInterval < 0 {
		return errors.New("audit: checkpointEntries and checkpointInterval are not below zero; leave them out for the default")
	}
	return nil
}

func (c AuditConfig) server() (server.Audit, error) {
	out := server.Audit{
		CheckpointEntries: c.CheckpointEntries, CheckpointInterval: c.CheckpointInterval,
		WitnessFiles: c.Witnesses.Files, WitnessURLs: c.Witnesses.URLs,
	}
	if r := c.Retention; r != nil {
		out.Retention = &server.Retention{MaxAge: r.MaxAge, MaxBytes: r.MaxBytes, Folder: r.Folder, SegmentEntries: r.SegmentEntries}
	}
	for i, s := range c.Sinks {
		format := export.Format("")
		if s.Format != "" {
			var err error
			if format, err = export.ParseFormat(s.Format); err != nil {
				return out, fmt.Errorf("audit.sinks[%d].format: %w", i, err)
			}
		}
		out.Sinks = append(out.Sinks, sink.Spec{
			Name: s.Name, Type: s.Type, Format: format, From: s.From, MinRisk: s.MinRisk, Events: s.Events,
			Path: s.Path, MaxBytes: s.MaxBytes, MaxAge: s.MaxAge, Keep: s.Keep,
			Address: s.Address, ServerName: s.ServerName, Facility: s.Facility,
			URL: secret.New([]byte(s.URL)), URLFile: s.URLFile, TokenFile: s.TokenFile, SecretFile: s.SecretFile, CAFile: s.CAFile,
		})
	}
	return out, nil
}
