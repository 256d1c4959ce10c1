package sink_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/sink"
)

func formatOf(t *testing.T, name string) export.Format {
	t.Helper()
	f, err := export.ParseFormat(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func written(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "written")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func plain(url string) secret.Value { return secret.New([]byte(url)) }

func TestErrorNamesTheFieldThatIsWrong(t *testing.T) {
	const hook = "https://receiver.test/in"
	empty := written(t, " \n")
	for field, s := range map[string]sink.Spec{
		"name":                {Name: "A b", Type: "file", Path: "p"},
		"type":                {Name: "a", Type: "kafka"},
		"from":                {Name: "a", Type: "file", Path: "p", From: "yesterday"},
		"minRisk":             {Name: "a", Type: "file", Path: "p", MinRisk: 3},
		"events[1]":           {Name: "a", Type: "file", Path: "p", Events: []string{"error", "scan.*"}},
		"format":              {Name: "a", Type: "file", Path: "p", Format: export.CSV},
		"format: must":        {Name: "a", Type: "webhook", URL: plain(hook), Format: export.JSON},
		"format: is not for":  {Name: "a", Type: "alert", URL: plain(hook), Format: export.ECS},
		"path":                {Name: "a", Type: "file"},
		"maxBytes":            {Name: "a", Type: "file", Path: "p", MaxBytes: 100},
		"maxAge":              {Name: "a", Type: "file", Path: "p", MaxAge: time.Second},
		"keep":                {Name: "a", Type: "file", Path: "p", Keep: -1},
		"path: is not for":    {Name: "a", Type: "webhook", URL: plain(hook), Path: "p"},
		"address":             {Name: "a", Type: "syslog", Address: "udp://host:514"},
		"address: must":       {Name: "a", Type: "syslog", Address: "tcp://host"},
		"facility":            {Name: "a", Type: "syslog", Address: "tcp://host:514", Facility: "local9"},
		"caFile: is for":      {Name: "a", Type: "syslog", Address: "tcp://host:514", CAFile: "f"},
		"serverName: is for":  {Name: "a", Type: "syslog", Address: "tcp://host:514", ServerName: "n"},
		"caFile: cannot":      {Name: "a", Type: "syslog", Address: "tls://host:6514", CAFile: "/not/there"},
		"caFile: /":           {Name: "a", Type: "webhook", URL: plain(hook), CAFile: written(t, "no PEM")},
		"url: must be set":    {Name: "a", Type: "webhook"},
		"url: must begin":     {Name: "a", Type: "webhook", URL: plain("http://192.168.1.1/in")},
		"url: is no":          {Name: "a", Type: "alert", URL: plain("https://\x00")},
		"urlFile: url is set": {Name: "a", Type: "alert", URL: plain(hook), URLFile: "f"},
		"urlFile: must begin": {Name: "a", Type: "alert", URLFile: written(t, "ftp://receiver.test/")},
		"urlFile: /":          {Name: "a", Type: "alert", URLFile: empty},
		"tokenFile: has":      {Name: "a", Type: "webhook", URL: plain(hook), TokenFile: written(t, "two words")},
		"tokenFile: is not":   {Name: "a", Type: "alert", URL: plain(hook), TokenFile: "f"},
		"secretFile":          {Name: "a", Type: "webhook", URL: plain(hook), SecretFile: written(t, "short")},
	} {
		b := newBench(0, fileSpec(filepath.Join(t.TempDir(), "log")), s)
		_, err := sink.Open(t.Context(), b.config)
		if err == nil || !strings.HasPrefix(err.Error(), "audit.sinks[1]."+field) {
			t.Errorf("%+v: got %v, want an error of audit.sinks[1].%s", s, err, field)
		}
	}
}

func TestNoTwoSinksShareANameOrAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for field, s := range map[string]sink.Spec{
		"name": {Name: "f", Type: "file", Path: path + "2"},
		"path": {Name: "g", Type: "file", Path: filepath.Dir(path) + "/./log"},
	} {
		b := newBench(0, fileSpec(path), s)
		_, err := sink.Open(t.Context(), b.config)
		if err == nil || !strings.HasPrefix(err.Error(), "audit.sinks[1]."+field) {
			t.Errorf("got %v, want an error of audit.sinks[1].%s", err, field)
		}
	}
}

func TestSetWithoutALogDoesNotOpen(t *testing.T) {
	if _, err := sink.Open(t.Context(), sink.Config{}); err == nil {
		t.Error("got no error, want one")
	}
}
