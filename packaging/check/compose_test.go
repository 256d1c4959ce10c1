package check_test

import (
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// service is keeper as Compose reads it: by the schema, strictly, with all names
// resolved.
func service(t *testing.T) (*types.Project, types.ServiceConfig) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../compose.yaml"}, cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project, project.Services["keeper"]
}

func TestComposeGivesKeeperNoMoreThanItNeeds(t *testing.T) {
	_, s := service(t)
	if !s.ReadOnly || s.Privileged || s.User != "65532:65532" {
		t.Errorf("got read_only %t, privileged %t, user %q; want true, false, 65532:65532", s.ReadOnly, s.Privileged, s.User)
	}
	if !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) != 0 {
		t.Errorf("capabilities: got drop %v and add %v, want drop ALL", s.CapDrop, s.CapAdd)
	}
	if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("security_opt: got %v, want no-new-privileges", s.SecurityOpt)
	}
	for name := range s.Environment {
		if name == "KEEPER_VAULT_KEY" || name == "KEEPER_ADMIN_TOKEN" {
			t.Errorf("environment: got %s, want it in a file", name)
		}
	}
}

func TestComposeKeepsTheAdminListenerFromAgents(t *testing.T) {
	project, s := service(t)
	operators := project.Networks["operators"]
	if !operators.Internal {
		t.Error("network operators: got one that leads outside, want an internal one")
	}
	at := s.Networks["operators"].Ipv4Address
	if got := s.Environment["KEEPER_ADMIN_ADDR"]; got == nil || *got != at+":8701" {
		t.Errorf("KEEPER_ADMIN_ADDR: got %v, want the address on operators alone, %s:8701", got, at)
	}
	for _, port := range s.Ports {
		if port.Target != 8700 || port.HostIP != "127.0.0.1" {
			t.Errorf("ports: got %s:%s to %d, want 8700 on loopback alone", port.HostIP, port.Published, port.Target)
		}
	}
	if got := s.HealthCheck.Test; !slices.Equal(got, types.HealthCheckTest{"CMD", "/usr/bin/keeper", "status"}) {
		t.Errorf("healthcheck: got %v, want keeper status", got)
	}
}
