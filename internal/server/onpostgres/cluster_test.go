package onpostgres_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

// patience is how long is waited for what one keeper learns of another.
const patience = time.Minute

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

// several starts keepers that share a database and the vault's key.
func several(t *testing.T, address string, n int, also ...func(*server.Config)) []*keepertest.Keeper {
	t.Helper()
	raw := make([]byte, 32)
	rand.Read(raw)
	key := "base64:" + base64.StdEncoding.EncodeToString(raw)
	provider := keepertest.NewProvider(t)
	all := make([]*keepertest.Keeper, n)
	for i := range all {
		all[i] = keepertest.Start(t, on(address), keepertest.At(provider), keepertest.Configured(func(c *server.Config) {
			c.VaultKey = secret.New([]byte(key))
			for _, change := range also {
				change(c)
			}
		}))
	}
	return all
}

// seen is what a keeper tells of those on the database: itself, and the others.
func seen(t *testing.T, k *keepertest.Keeper) (whole, self map[string]any, others []map[string]any) {
	t.Helper()
	status, whole := k.Admin(t, http.MethodGet, "/cluster", nil)
	if status != http.StatusOK {
		t.Fatalf("GET /cluster: got %d %v, want 200", status, whole)
	}
	keepers, _ := whole["keepers"].([]any)
	for _, one := range keepers {
		if one := one.(map[string]any); one["id"] == whole["self"] {
			self = one
		} else {
			others = append(others, one)
		}
	}
	return whole, self, others
}

func rotate(t *testing.T, k *keepertest.Keeper, purpose string, want int) map[string]any {
	t.Helper()
	status, answer := k.Admin(t, http.MethodPost, "/keys/rotate", map[string]any{"purpose": purpose})
	if status != want {
		t.Errorf("rotating the key %s: got %d %v, want %d", purpose, status, answer, want)
	}
	return answer
}

func TestKeepersKnowOneAnotherAndForgetWhoIsGone(t *testing.T) {
	address := newDatabase(t)
	both := several(t, address, 2)
	a, b := both[0], both[1]
	eventually(t, "each keeper has taken over what the other changed", func() bool {
		_, self, others := seen(t, a)
		return len(others) == 1 && self["behind"] == 0.0 && others[0]["behind"] == 0.0
	})
	whole, self, others := seen(t, a)
	other := others[0]
	if whole["shared"] != true || whole["pooled"] != false || whole["stalenessSeconds"] != 5.0 || self["state"] != "serving" || other["state"] != "serving" || other["version"] != "test" {
		t.Errorf("GET /cluster: got %v, want two that serve", whole)
	}
	if ago, _ := whole["polledSecondsAgo"].(float64); ago < 0 || ago > patience.Seconds() {
		t.Errorf("the last poll was %v s ago, want a moment", whole["polledSecondsAgo"])
	}
	eventually(t, "one keeper leads", func() bool {
		_, self, others := seen(t, b)
		return self["leads"] != others[0]["leads"]
	})
	if whole, _, _ := seen(t, b); whole["self"] != other["id"] {
		t.Errorf("b says that it is %v, and a that b is %v", whole["self"], other["id"])
	}
	gone := fmt.Sprint(other["id"])
	if status, answer := a.Admin(t, http.MethodDelete, "/cluster/"+gone, nil); status != http.StatusConflict || answer["code"] != "keepers_in_the_way" {
		t.Errorf("forgetting a keeper that lives: got %d %v, want 409", status, answer)
	}
	if status, _ := a.Admin(t, http.MethodDelete, "/cluster/"+strings.Repeat("0", 32), nil); status != http.StatusNotFound {
		t.Errorf("forgetting nobody: got %d, want 404", status)
	}
	if status, _ := a.Manage(t, http.MethodDelete, "/cluster/"+gone, a.Token(t, "writer", "keeper:write"), nil); status != http.StatusForbidden {
		t.Errorf("forgetting with keeper:write alone: got %d, want 403", status)
	}
	b.Stop(t)
	if _, _, others := seen(t, a); others[0]["state"] != "stopped" {
		t.Errorf("after its stop: got %v, want it stopped", others[0])
	}
	postgrestest.Exec(t, address, "UPDATE keeper.members SET state = 'serving', waiting = 3, seen_at = 0 WHERE id = '"+gone+"'") // as if it had been killed
	if _, _, others := seen(t, a); others[0]["state"] != "lost" || others[0]["waiting"] != 3.0 {
		t.Errorf("long after it was killed: got %v, want it lost, with 3 entries", others[0])
	}
	status, answer := a.Admin(t, http.MethodDelete, "/cluster/"+gone, nil)
	if status != http.StatusOK || answer["entriesLost"] != 3.0 || !strings.Contains(fmt.Sprint(answer["message"]), "lacks: 3") {
		t.Errorf("forgetting it: got %d %v, want 200 that says that 3 entries are lost", status, answer)
	}
	if _, _, others := seen(t, a); len(others) != 0 {
		t.Errorf("after that: got %v, want nobody else", others)
	}
	if e := a.AwaitAudit(t, "event=keeper.forgotten", 1); len(e) != 1 || e[0].Risk != 2 || e[0].Details["id"] != gone || e[0].Details["entries"] != 3.0 {
		t.Errorf("entries keeper.forgotten: got %v, want one of risk 2 that names it and 3 entries", e)
	}
}

func TestTheVaultsKeyIsRotatedByAKeeperThatRunsAlone(t *testing.T) {
	both := several(t, newDatabase(t), 2)
	body := map[string]any{"purpose": "vault", "newVaultKey": rand.Text()}
	_, self, _ := seen(t, both[1])
	status, answer := both[0].Admin(t, http.MethodPost, "/keys/rotate", body)
	if status != http.StatusConflict || !strings.Contains(fmt.Sprint(answer["error"]), fmt.Sprint(self["name"])) {
		t.Errorf("with another keeper: got %d %v, want 409 that names %v", status, answer, self["name"])
	}
	both[1].Stop(t)
	if status, answer := both[0].Admin(t, http.MethodPost, "/keys/rotate", body); status != http.StatusOK {
		t.Errorf("alone: got %d %v, want 200", status, answer)
	}
}

func TestATokenOfTheNextKeyIsGoodAtEachKeeperAtOnce(t *testing.T) {
	both := several(t, newDatabase(t), 2)
	for i := range 4 {
		here, there := both[i%2], both[(i+1)%2]
		rotate(t, here, "signing", http.StatusOK)
		calls(t, there, fmt.Sprintf("a token by key %d at the other keeper", i), here.Token(t, fmt.Sprint("agent", i), "openai:chat"), http.StatusOK)
	}
}

func TestTheSigningKeyIsNotRotatedUntilAllKnowTheNext(t *testing.T) {
	address := newDatabase(t)
	both := several(t, address, 2)
	_, self, _ := seen(t, both[1])
	both[1].Stop(t)
	postgrestest.Exec(t, address, fmt.Sprintf("UPDATE keeper.members SET state = 'serving', applied = 0, seen_at = seen_at + 3600000000000 WHERE id = '%s'", self["id"])) // one that hangs
	answer := rotate(t, both[0], "signing", http.StatusConflict)
	if !strings.Contains(fmt.Sprint(answer["error"]), fmt.Sprint(self["name"])) {
		t.Errorf("with a keeper that does not follow: got %v, want its name %v", answer, self["name"])
	}
	postgrestest.Exec(t, address, fmt.Sprintf("UPDATE keeper.members SET applied = 1000000 WHERE id = '%s'", self["id"]))
	rotate(t, both[0], "signing", http.StatusOK)
}

func TestKeepersSignTheLogByTheKeyThatOneOfThemChanged(t *testing.T) {
	address := newDatabase(t)
	both := several(t, address, 2)
	for i := range 3 {
		here, there := both[i%2], both[(i+1)%2]
		rotate(t, here, "audit", http.StatusOK)
		there.Token(t, fmt.Sprint("agent", i), "openai:chat") // which is recorded
		_, key := here.Admin(t, http.MethodGet, "/audit/checkpoint", nil)
		eventually(t, "the other keeper says the same key", func() bool {
			_, other := there.Admin(t, http.MethodGet, "/audit/checkpoint", nil)
			return other["publicKey"] != nil && other["publicKey"] == key["publicKey"]
		})
	}
	if n := len(both[0].AwaitAudit(t, "event=audit.rekeyed", 3)); n != 3 {
		t.Errorf("entries audit.rekeyed: got %d, want 3", n)
	}
	for _, k := range slices.Backward(both) {
		k.Stop(t)
	}
	sound(t, address)
	again := both[0]
	again.Restart(t) // which holds the log against its keys
	calls(t, again, "a call after a restart", again.Token(t, "late", "openai:chat"), http.StatusOK)
}

func TestKeepersThatRotateAtOnceLeaveOneCurrentKeyAndOneNext(t *testing.T) {
	both := several(t, newDatabase(t), 2)
	var rotated atomic.Int64
	var done sync.WaitGroup
	for _, k := range both {
		done.Go(func() {
			for range 8 {
				switch status, answer := k.Admin(t, http.MethodPost, "/keys/rotate", map[string]any{"purpose": "signing"}); status {
				case http.StatusOK:
					rotated.Add(1)
				case http.StatusConflict, http.StatusServiceUnavailable: // the other one was first
				default:
					t.Errorf("rotating: got %d %v", status, answer)
				}
			}
		})
	}
	done.Wait()
	if rotated.Load() == 0 {
		t.Error("no rotation succeeded")
	}
	_, answer := both[0].Admin(t, http.MethodGet, "/keys", nil)
	states := map[any]int{}
	for _, one := range answer["keys"].([]any) {
		if one := one.(map[string]any); one["purpose"] == "signing" {
			states[one["state"]]++
		}
	}
	if states["current"] != 1 || states["next"] != 1 {
		t.Errorf("signing keys: got %v, want one current and one next", states)
	}
	for i, k := range both {
		calls(t, both[1-i], "a token of the other keeper's", k.Token(t, fmt.Sprint("agent", i), "openai:chat"), http.StatusOK)
	}
}

func TestDoctorTellsOfTheKeepersOnTheDatabase(t *testing.T) {
	c := newCommands(t)
	inStore := []string{"KEEPER_STORE=" + c.store}
	stop := c.serve(inStore...)
	says(t, "doctor", c.run(0, inStore, "doctor"), "1 keeper lives on the database; this folder's, ", "is known to it")
	says(t, "cluster", c.run(0, nil, "cluster"), "answers, leads", "after 5 s without it refuses all calls")
	pooled := []string{"KEEPER_STORE=" + postgrestest.Pooled(t, c.store, 4)}
	says(t, "doctor behind a pooler", c.run(0, pooled, "doctor"), "behind a pooler: changes are found by polling, every 200 ms; nothing else is lost")
	stop(true)
}
