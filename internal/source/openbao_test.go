package source_test

import (
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/source"
	"github.com/superinstance/keeper/internal/source/sourcetest"
)

// A real server is asked the same by the module in sourcetest/vaulttest.
func TestOpenBaoByItsInterface(t *testing.T) {
	sourcetest.Run(t, sourcetest.Fake(t))
}

func TestConfigurationOfOpenBaoNamesTheMend(t *testing.T) {
	const at = "https://bao.example:8200"
	appRole := &source.AppRole{RoleID: "r", SecretID: "env:S"}
	for want, c := range map[string]source.OpenBao{
		"address: want https://host:port":                          {Address: "bao.example:8200", Token: "env:S"},
		"address: want https://host:port ":                         {Address: "https://user:pass@bao.example", Token: "env:S"},
		"address: over http keeper's token":                        {Address: "http://bao.example:8200", Token: "env:S"},
		"token: want exactly one of token, appRole and kubernetes": {Address: at},
		"token: want exactly one of token":                         {Address: at, Token: "env:S", AppRole: appRole},
		"token: want env:NAME or file:PATH, never the secret":      {Address: at, Token: newValue()},
		"token: the variable NONE is not set":                      {Address: at, Token: "env:NONE"},
		"appRole.roleId: it is missing":                            {Address: at, AppRole: &source.AppRole{SecretID: "env:S"}},
		"appRole.secretId: want env:NAME or file:PATH":             {Address: at, AppRole: &source.AppRole{RoleID: "r"}},
		"appRole.mount, kubernetes.mount: want the name":           {Address: at, AppRole: &source.AppRole{RoleID: "r", SecretID: "env:S", Mount: "../sys"}},
		"kubernetes.role: it is missing":                           {Address: at, Kubernetes: &source.Kubernetes{}},
		"caFile: /none is no readable PEM file":                    {Address: at, Token: "env:S", CAFile: "/none"},
	} {
		logger, _ := newLog()
		_, err := source.Open(t.Context(), source.Config{OpenBao: &c, Env: map[string]secret.Value{"S": secret.New([]byte("s"))}, Logger: logger})
		if want = "sources.openbao." + strings.TrimSpace(want); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, from := range []string{"openbao:", "openbao:kv/../sys/raw#k", "openbao:kv//x#k", "openbao:kv/data/x?version=1#k", "openbao:kv/data/x#{a", "openbao:kv/data/x#a b", "openbao:kv/data/x#{}"} {
		logger, _ := newLog()
		_, err := source.Open(t.Context(), source.Config{
			Secrets: []source.Spec{{Provider: "p", From: from, Slot: newSlot()}}, Logger: logger,
			OpenBao: &source.OpenBao{Address: at, Token: "env:S"}, Env: map[string]secret.Value{"S": secret.New([]byte("s"))},
		})
		if err == nil || !strings.HasPrefix(err.Error(), "secrets[0].from: want ") {
			t.Errorf("%s: got %v, want an error that says what it must be", from, err)
		}
	}
}

func TestFieldsOfOtherTypesBecomeText(t *testing.T) {
	data := map[string]any{"number": 7.0, "yes": true, "inner": map[string]any{"a": "b"}, "text": "t"}
	for fields, want := range map[string]string{
		"number": "7", "yes": "true", "inner": `{"a":"b"}`, "{text}-{number}": "t-7", "": `{"inner":{"a":"b"},"number":7,"text":"t","yes":true}`,
	} {
		if got, err := source.FillTemplate(fields, data); err != nil || got != want {
			t.Errorf("#%s: got %q, %v, want %q", fields, got, err, want)
		}
	}
	for fields, want := range map[string]string{"none": `no field "none"`, "{text}{none}": `no field "none"`} {
		if _, err := source.FillTemplate(fields, data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("#%s: got %v, want %q", fields, err, want)
		}
	}
}
