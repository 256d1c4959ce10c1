package server_test

import (
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const fuzzedBytes = 8 << 10

// tally counts decisions to forward as they are added to the log.
type tally struct {
	known    map[string]bool // entries, by id
	forwards map[string]int  // by provider
}

func (c *tally) update(t testing.TB, s *theatre) {
	t.Helper()
	status, page := s.Admin(t, http.MethodGet, "/audit?event=proxy.request&limit=300", nil)
	entries, ok := page["entries"].([]any)
	if status != http.StatusOK || !ok {
		t.Fatalf("reading the log: got %d", status)
	}
	for _, one := range entries {
		entry, _ := one.(map[string]any)
		id, _ := entry["id"].(string)
		details, _ := entry["details"].(map[string]any)
		if provider, _ := entry["provider"].(string); !c.known[id] && details["decision"] == "forward" {
			c.forwards[provider]++
		}
		c.known[id] = true
	}
}

// FuzzEveryRequestThatArrivesWasDecided throws bytes at every way in, also as the
// beginning of TLS or HTTP/2. In them « stands for what comes before a path, » for the
// host, § for the line with the token, and ⊥ for a host that nobody may reach.
func FuzzEveryRequestThatArrivesWasDecided(f *testing.F) {
	s := newTheatre(f)
	ways := doors(s)
	raw := ways["tunnel, in clear"]
	raw.open = func(t testing.TB, s *theatre) net.Conn {
		conn, _ := s.client.tunnel(t, "alpha.example:443") // of which the bytes are the handshake
		return conn
	}
	ways["tunnel, raw"] = raw
	names := slices.Sorted(maps.Keys(ways))
	texts := framings()
	for i, name := range slices.Sorted(maps.Keys(texts)) {
		if text := texts[name]; len(text) <= fuzzedBytes {
			f.Add(uint8(i), []byte(text))
		}
	}
	f.Add(uint8(0), []byte("CONNECT »:443 HTTP/1.1\r\nHost: »\r\n§\r\nGET /p HTTP/1.1\r\nHost: »\r\n\r\n"))
	f.Add(uint8(5), []byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"))
	f.Add(uint8(1), []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\x01\x05\x00\x00\x00\x01\x82\x84\x86\x41\x00"))
	counted := &tally{map[string]bool{}, map[string]int{}}
	f.Fuzz(func(t *testing.T, way uint8, text []byte) {
		if len(text) > fuzzedBytes {
			return
		}
		d := ways[names[int(way)%len(names)]]
		plain := strings.NewReplacer("«", d.front, "»", d.host, "§", d.token, "⊥", s.trap.at)
		throw(t, d.open(t, s), plain.Replace(string(text))+last)
		counted.update(t, s)
		for name, host := range map[string]*recorder{"alpha": s.alpha, "beta": s.beta} {
			seen := host.seen()
			if len(seen) > counted.forwards[name] {
				t.Fatalf("%s got %d requests, of which %d were decided; the last: %v", name, len(seen), counted.forwards[name], seen[len(seen)-1].target)
			}
			for _, one := range seen {
				if one.credential != "Bearer "+s.keys[host] {
					t.Fatalf("%s got another credential than its own", name)
				}
			}
			for _, wrong := range host.complaints() {
				t.Fatalf("%s got %s", name, wrong)
			}
		}
		if len(s.trap.seen()) > 0 || len(s.trap.complaints()) > 0 {
			t.Fatal("the trap was reached")
		}
	})
}

// throw sends text, says that nothing more will come, and reads what comes back.
func throw(t testing.TB, conn net.Conn, text string) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, text) // it may be refused before it is read whole
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, conn)
}
