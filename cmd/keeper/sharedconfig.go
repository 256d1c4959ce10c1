package main

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// sharedName is what shared settings are called where a file would be by its name.
const sharedName = "shared settings"

// ownKeys are those of the configuration that are one machine's, and not shared.
var ownKeys = []string{
	"addr", "adminAddr", "providerListen", "data", "store", "staleness", "tls", "vaultKeyFile", "adminTokenFile", "log",
	"audit.acknowledge", "audit.maxUnshipped", "audit.witnesses.files",
}

// share lays the text of shared settings over c: a list or a mapping by names in it takes
// the place of the one there. It refuses keys that are one machine's own.
func (c *Config) share(text []byte) error {
	var alone Config // so that what is named is right by itself
	if err := yaml.UnmarshalWithOptions(text, &alone, yaml.Strict()); err != nil {
		return misread(sharedName, err)
	}
	var named map[string]any
	if err := yaml.Unmarshal(text, &named); err != nil {
		return misread(sharedName, err)
	}
	if len(named) == 0 {
		return nil // or the library would empty c
	}
	for _, key := range ownKeys {
		if names(named, strings.Split(key, ".")) {
			return fmt.Errorf("%s: %s: it is each machine's own; set it in the file of each keeper", sharedName, key)
		}
	}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return misread(sharedName, err)
	}
	return nil
}

// names reports whether a mapping has a key on the path.
func names(in map[string]any, path []string) bool {
	value, ok := in[path[0]]
	if !ok || len(path) == 1 {
		return ok
	}
	below, _ := value.(map[string]any)
	return names(below, path[1:])
}
