package postgres_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// between stands between keeper and the server, and may keep what keeper sends.
type between struct {
	listener net.Listener
	server   string

	mu      sync.Mutex // guards all below
	trigger []byte     // what is kept, with all that follows on its connection; nil: nothing
	forward bool       // nothing is kept, but the answer to it is lost
	kept    []func()   // each sends what was kept, at last
	from    []byte     // what is altered in answers; nil: nothing
	to      []byte
}

// through returns the address of the database at address by way of a between.
func through(t *testing.T, address string) (*between, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &between{listener: l, server: u.Host}
	go b.serve()
	u.Host = l.Addr().String()
	u.RawQuery = "sslmode=disable"
	return b, u.String()
}

func (b *between) serve() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", b.server)
		if err != nil {
			client.Close()
			continue
		}
		var mute atomic.Bool
		go b.carry(client, server, &mute)
		go b.answer(client, server, &mute)
	}
}

// answer takes what the server sends to the client, until it is lost.
func (b *between) answer(client, server net.Conn, mute *atomic.Bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			client.Close()
			return
		}
		if mute.Load() {
			continue
		}
		if _, err := client.Write(b.altered(buf[:n])); err != nil {
			return
		}
	}
}

// carry takes what the client sends to the server.
func (b *between) carry(client, server net.Conn, mute *atomic.Bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			server.Close()
			return
		}
		if b.keep(buf[:n], server, mute) {
			return
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (b *between) keep(sent []byte, server net.Conn, mute *atomic.Bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trigger == nil || !bytes.Contains(sent, b.trigger) {
		return false
	}
	b.trigger = nil
	if b.forward {
		mute.Store(true)
		return false
	}
	sent = bytes.Clone(sent)
	b.kept = append(b.kept, func() { _, _ = server.Write(sent) })
	return true // and the connection to the server stays, as one does whose client is cut off
}

func (b *between) set(trigger string, forward bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trigger, b.forward = []byte(trigger), forward
}

// alter has one text stand in answers where another is, which is as long.
func (b *between) alter(from, to []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from, b.to = from, to
}

func (b *between) altered(answer []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.from == nil {
		return answer
	}
	return bytes.ReplaceAll(answer, b.from, b.to)
}

func (b *between) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, send := range b.kept {
		send()
	}
}

func TestACommitWhoseAnswerIsLostIsFoundByTheNextRead(t *testing.T) {
	b, address := through(t, newDatabase(t))
	db := openAt(t, address)
	if err := db.AppendAudit(t.Context(), sampleEntries(1, 1)); err != nil {
		t.Fatal(err)
	}
	b.set("COMMIT\x00", true)
	if err := db.AppendAudit(t.Context(), sampleEntries(2, 3)); err == nil {
		t.Fatal("a commit without an answer: got no error, want one")
	}
	got, err := db.AuditAfter(t.Context(), 0, 10)
	if err != nil || len(got) != 4 {
		t.Fatalf("got %d entries, %v; want all 4", len(got), err)
	}
	if err := db.AppendAudit(t.Context(), sampleEntries(5, 1)); err != nil {
		t.Errorf("what follows: %v", err)
	}
}

func TestACommitThatComesLateChangesNothingThatWasRead(t *testing.T) {
	b, address := through(t, newDatabase(t))
	db := openAt(t, address)
	if err := db.AppendAudit(t.Context(), sampleEntries(1, 1)); err != nil {
		t.Fatal(err)
	}
	b.set("COMMIT\x00", false)
	if err := db.AppendAudit(t.Context(), sampleEntries(2, 1)); err == nil {
		t.Fatal("a commit that does not arrive: got no error, want one")
	}
	var before []store.AuditEntry
	for began := time.Now(); ; {
		var err error
		if before, err = db.AuditAfter(t.Context(), 0, 10); err == nil {
			break // until then it is open, and nothing is said
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("still undecided after a minute: %v", err)
		}
	}
	other := sampleEntry(int64(len(before)) + 1)
	other.AgentID = "other"
	if err := db.AppendAudit(t.Context(), []store.AuditEntry{other}); err != nil {
		t.Fatalf("appending after it was decided: %v", err)
	}
	b.release()
	after, err := db.AuditAfter(t.Context(), 0, 10)
	if err != nil || len(after) != len(before)+1 || after[len(after)-1].AgentID != "other" {
		t.Errorf("after the late commit: got %d entries, %v; want the %d of before and the one behind them", len(after), err, len(before))
	}
}

func TestAStalledServerCountsAsLost(t *testing.T) {
	b, address := through(t, newDatabase(t))
	db := openAt(t, address)
	b.set("INSERT INTO keeper.heartbeat", false)
	if err := db.Ping(t.Context()); err == nil {
		t.Error("Ping of a server that does not answer: got no error, want one")
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("Ping once it answers on another connection: %v", err)
	}
}
