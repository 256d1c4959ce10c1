package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// settings are what the operator decided, by name, without a secret. Only their
// digests are written down.
func (c Config) settings() map[string]any {
	type sinkSetting struct {
		Name, Type, Format, From, Path, Address, URLFile string
		MinRisk                                          int
		Events                                           []string
	}
	var sinks []sinkSetting
	for _, s := range c.Audit.Sinks {
		sinks = append(sinks, sinkSetting{s.Name, s.Type, string(s.Format), s.From, s.Path, s.Address, s.URLFile, s.MinRisk, s.Events})
	}
	all := map[string]any{
		"addr": c.Addr, "adminAddr": c.AdminAddr, "tls": c.TLS, "forward": c.Forward,
		"registration": c.Registration, "defaultScopes": c.DefaultScopes.Strings(),
		"providers": c.Providers, "providerURLs": c.ProviderURLs, "providerListen": c.ProviderListen,
		"limits":      []int64{c.MaxBodyBytes, int64(c.ResponseHeaderTimeout), int64(c.StopTimeout), int64(c.AuthFailuresPerSecond), c.MaxMessageBytes, int64(c.IdlePing), int64(c.DrainDelay)},
		"traces":      []any{c.Traces.Endpoint, c.Traces.CAFile, c.Traces.Service, c.Traces.Sampler, c.Traces.Ratio, c.Traces.Headers != nil},
		"accessLog":   c.AccessLog,
		"scan":        c.ScanActions,
		"scanRules":   c.ScanRules,
		"trust":       c.Trust,
		"quotas":      c.Quotas,
		"dashboard":   c.Dashboard,
		"origins":     c.AllowedOrigins,
		"checkpoints": []int64{int64(c.Audit.CheckpointEntries), int64(c.Audit.CheckpointInterval)},
		"witnesses":   [][]string{c.Audit.WitnessFiles, c.Audit.WitnessURLs},
		"sinks":       sinks, "retention": c.Audit.Retention,
		"logLevel": c.LogLevel.String(), "logFormat": c.LogFormat, "data": c.DataDir, "vaultKeyFile": c.VaultKeyFrom,
		"secrets": c.Secrets, "sources": []any{c.Sources.OpenBao, c.Sources.Exec},
	}
	if c.Store != "" {
		all["store"] = c.place().String()
		all["staleness"] = int64(c.Staleness)
		all["acknowledge"] = []any{c.Audit.Acknowledge, c.Audit.MaxUnshipped}
	}
	return all
}

// recordSettings writes down that settings are others than at the last start, and
// returns the digest of them all.
func (s *Server) recordSettings(ctx context.Context) (digest string, err error) {
	before, err := s.settingsBefore(ctx)
	if err != nil {
		return "", fmt.Errorf("recording the settings: %w", err)
	}
	var all []audit.Setting
	var together strings.Builder
	changed := false
	digests, err := s.now().config.digests()
	if err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		one := audit.Setting{Name: name, Before: before[name], After: digests[name]}
		changed = changed || one.Before != one.After
		all = append(all, one)
		fmt.Fprintln(&together, name, one.After)
	}
	digest = digestOf([]byte(together.String()))
	if !changed {
		return digest, nil
	}
	return digest, s.log.Record(ctx, audit.ConfigChanged{Settings: all, First: len(before) == 0})
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// settingsBefore are the digests of the settings that were recorded last.
func (s *Server) settingsBefore(ctx context.Context) (map[string]string, error) {
	before := map[string]string{}
	var newest store.AuditEntry
	for _, event := range []string{"config.changed", "config.reloaded"} {
		page, err := s.log.Entries(ctx, store.AuditFilter{Event: event, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(page.Entries) > 0 && page.Entries[0].Seq > newest.Seq {
			newest = page.Entries[0]
		}
	}
	if newest.Seq == 0 {
		return before, nil
	}
	var last audit.ConfigChanged // of which the other has the fields, too
	if err := json.Unmarshal(newest.Details, &last); err != nil {
		return nil, err
	}
	for _, one := range last.Settings {
		before[one.Name] = one.After
	}
	return before, nil
}
