package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func fileConfig(t *testing.T) (c Config) {
	t.Helper()
	err := yaml.Unmarshal([]byte("addr: 127.0.0.1:1\nlimits:\n  stop: 1s\n  drain: 2s\nscan:\n  jwt: allow\nallowedOrigins: [https://a.example, https://b.example]\nproviderURLs:\n  openai: https://a.example\naudit:\n  retention:\n    maxAge: 48h\n  witnesses:\n    files: [/w]\n"), &c)
	if err != nil {
		t.Fatal(err)
	}
	c.text = []byte("of the file")
	return c
}

func TestSharedSettingsLieOverTheFile(t *testing.T) {
	c := fileConfig(t)
	want := fileConfig(t)
	want.Limits.Stop = 5 * time.Second
	want.Scan = map[string]string{"github-pat": "warn"}
	want.AllowedOrigins = []string{"https://c.example"}
	want.ProviderURLs = map[string]string{"github": "https://g.example"}
	want.Audit.Witnesses.URLs = []string{"https://w.example"}
	text := "limits:\n  stop: 5s\nscan:\n  github-pat: warn\nallowedOrigins: [https://c.example]\nproviderURLs:\n  github: https://g.example\naudit:\n  witnesses:\n    urls: [https://w.example]\n"
	if err := c.share([]byte(text)); err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, %v; want %+v", c, err, want)
	}
	for _, none := range []string{"", "# nothing\n"} {
		if err := c.share([]byte(none)); err != nil || !reflect.DeepEqual(c, want) {
			t.Errorf("%q: got %+v, %v; want what there was", none, c, err)
		}
	}
}

func TestSharedSettingsOfOneMachineAreRefusedByName(t *testing.T) {
	for text, want := range map[string]string{
		"addr: 127.0.0.1:2":                               "shared settings: addr: it is each machine's own",
		"adminAddr: ''":                                   "adminAddr",
		"providerListen: {}":                              "providerListen",
		"data: /d":                                        "data",
		"store: postgres://h/d":                           "store",
		"staleness: 2s":                                   "staleness",
		"tls:\n  ownCA: true":                             "tls",
		"vaultKeyFile: /k":                                "vaultKeyFile",
		"adminTokenFile: /t":                              "adminTokenFile",
		"log:\n  level: debug":                            "log",
		"audit:\n  acknowledge: store":                    "audit.acknowledge",
		"audit:\n  maxUnshipped: 5":                       "audit.maxUnshipped",
		"audit: {witnesses: {files: [/f]}}":               "audit.witnesses.files",
		"limits: &l\n  stop: 5s\n<<: {addr: 127.0.0.1:2}": "addr",
		"limits:\n  bodyBites: 5":                         `shared settings, line 2: unknown key "bodyBites"; did you mean "bodyBytes"`,
		"limits:\n  stop: soon":                           "want durations with their unit",
		"- 1":                                             "shared settings",
		"limits:\n  stop: 5s\n---\naddr: 127.0.0.1:2":     "",
	} {
		c := fileConfig(t)
		err := c.share([]byte(text))
		if want == "" {
			if c.Addr != "127.0.0.1:1" {
				t.Errorf("%q: got addr %s, want the file's", text, c.Addr)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if c.Addr != "127.0.0.1:1" {
			t.Errorf("%q: got addr %s, want the file's", text, c.Addr)
		}
	}
}
