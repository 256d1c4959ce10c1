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
	// A signed head of the audit log is made after so many entries at the latest. Default:
	// `1000`.
	CheckpointEntries int `yaml:"checkpointEntries"`
	// And so long after an entry at the latest. Default: `1s`.
	CheckpointInterval time.Duration `yaml:"checkpointInterval"`
	// Where signed heads are kept, so that whoever owns this machine cannot rewrite the log
	// unseen.
	Witnesses WitnessConfig `yaml:"witnesses"`
	// Where each entry is sent.
	Sinks []SinkConfig `yaml:"sinks"`
	// Which old entries move to files. Default: all stay.
	Retention *RetentionConfig `yaml:"retention"`
	// Where an entry is before its call goes on, if `store` names a database: on this
	// keeper's disk, from where it goes to the database a moment later, or in the database,
	// too. Values: `disk`, `store`. Default: `disk`.
	Acknowledge string `yaml:"acknowledge"`
	// How many bytes of entries may be on this keeper's disk and not in the database yet;
	// then calls are refused. Default: `268435456`.
	MaxUnshipped int64 `yaml:"maxUnshipped"`
}

// WitnessConfig names where signed heads are kept, so that whoever owns this machine
// cannot rewrite the log unseen.
type WitnessConfig struct {
	// Files that each signed head is appended to, as it is made. They belong on another
	// machine's disk.
	Files []string `yaml:"files"`
	// Add-checkpoint addresses of witnesses (C2SP tlog-witness) that each signed head is
	// shown to.
	URLs []string `yaml:"urls"`
}

// SinkConfig is one sink.
type SinkConfig struct {
	// Lower-case letters, digits, dots, dashes and underscores. Under a new name it begins
	// anew. Required.
	Name string `yaml:"name"`
	// `syslog` is RFC 5424, `alert` a message in a shape that Slack takes. Values: `file`,
	// `syslog`, `webhook`, `alert`. Required.
	Type string `yaml:"type"`
	// Of a line. Values: `ndjson`, `ocsf`, `ecs`, `cef`. Default: `ndjson`.
	Format string `yaml:"format"`
	// Where a new one begins: with the first entry, or now. Values: `start`, `now`. Default:
	// `start`; of an alert `now`.
	From string `yaml:"from"`
	// Least risk of entries that it takes. Values: `0`, `1`, `2`. Default: `0`; of an alert
	// without `events` `2`.
	MinRisk int `yaml:"minRisk"`
	// Events that it takes, such as `scan.blocked`. Default: all.
	Events []string `yaml:"events"`
	// Of a file, which is no witness's and not in the data folder. Default: a file needs
	// one.
	Path string `yaml:"path"`
	// A file is rotated before it grows larger. Default: `67108864`.
	MaxBytes int64 `yaml:"maxBytes"`
	// And at multiples of this, in UTC: `24h` is midnight. Default: only by size.
	MaxAge time.Duration `yaml:"maxAge"`
	// How many rotated files are kept. Default: all.
	Keep int `yaml:"keep"`
	// Of a syslog receiver: `tcp://host:port` or `tls://host:port`. Default: syslog needs
	// one.
	Address string `yaml:"address"`
	// Name that its certificate must have. Default: the address's host.
	ServerName string `yaml:"serverName"`
	// Of syslog, by name. Default: `local0`.
	Facility string `yaml:"facility"`
	// Of a webhook or an alert: `https`, or `http` on this machine. Default: they need it or
	// `urlFile`.
	URL string `yaml:"url"`
	// File that holds the address, where it is a secret, as Slack's are. Default: in place
	// of `url`.
	URLFile string `yaml:"urlFile"`
	// File of a bearer token for a webhook.
	TokenFile string `yaml:"tokenFile"`
	// File of a key by which a webhook's bodies are signed: the header `Keeper-Signature:
	// t=<unix>,v1=<hex>` is HMAC-SHA-256 of time, a dot and the body.
	SecretFile string `yaml:"secretFile"`
	// PEM file of the authorities that vouch for the receiver. Default: the system's.
	CAFile string `yaml:"caFile"`
}

// RetentionConfig says which entries leave the store for files that prove themselves.
type RetentionConfig struct {
	// Entries older than this leave, such as `2160h` for 90 days. Default: not by age.
	MaxAge time.Duration `yaml:"maxAge"`
	// The oldest leave while the database uses more than this. Default: not by size.
	MaxBytes int64 `yaml:"maxBytes"`
	// Where the files go. Default: `audit-archive` in the data folder.
	Folder string `yaml:"folder"`
	// How many entries go into one file, a multiple of 256. Default: `65536`.
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
		Acknowledge: c.Acknowledge, MaxUnshipped: c.MaxUnshipped,
	}
	if err := out.CheckShipping(); err != nil {
		return out, err
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
