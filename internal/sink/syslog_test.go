package sink_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/store"
)

// collector is a syslog receiver. Its messages are read with a parser that is not
// keeper's.
type collector struct {
	t        *testing.T
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	messages []*rfc5424.SyslogMessage
	came     chan struct{}
}

// collect starts a receiver; take is what it does with a connection, nil: read all.
func collect(t *testing.T, listener net.Listener, take func(*collector, net.Conn)) *collector {
	t.Helper()
	c := &collector{t: t, listener: listener, came: make(chan struct{})}
	if take == nil {
		take = (*collector).read
	}
	c.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() {
				defer conn.Close()
				take(c, conn)
			})
		}
	})
	t.Cleanup(func() { listener.Close() })
	return c
}

func (c *collector) read(r net.Conn) { c.parse(r) }

func (c *collector) parse(r io.Reader) {
	octetcounting.NewParser(syslog.WithListener(func(result *syslog.Result) {
		c.mu.Lock()
		defer c.mu.Unlock()
		m, ok := result.Message.(*rfc5424.SyslogMessage)
		if !ok || result.Error != nil {
			return // the stream was cut; what is missing shows in the numbers
		}
		c.messages = append(c.messages, m)
		close(c.came)
		c.came = make(chan struct{})
	})).Parse(r)
}

// until waits until the last message is of entry seq, and returns all.
func (c *collector) until(seq int64) []*rfc5424.SyslogMessage {
	c.t.Helper()
	for {
		c.mu.Lock()
		all, came := c.messages, c.came
		c.mu.Unlock()
		if n := len(all); n > 0 && entryOf(c.t, all[n-1]) == seq {
			return all
		}
		<-came
	}
}

func (c *collector) stop() {
	c.listener.Close()
	c.running.Wait()
}

func entryOf(t *testing.T, m *rfc5424.SyslogMessage) int64 {
	t.Helper()
	seq, err := strconv.ParseInt((*m.StructuredData)["keeper@32473"]["entry"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func entriesOf(t *testing.T, messages []*rfc5424.SyslogMessage) (seqs []int64) {
	for _, m := range messages {
		seqs = append(seqs, entryOf(t, m))
	}
	return seqs
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func syslogSpec(address string) sink.Spec {
	return sink.Spec{Name: "s", Type: "syslog", Address: address}
}

func TestSyslogMessagesAreThoseOfRFC5424(t *testing.T) {
	c := collect(t, listen(t, "127.0.0.1:0"), nil)
	b := newBench(3, syslogSpec("tcp://"+c.listener.Addr().String()))
	odd := store.AuditEntry{
		Time: start, Event: "error", Risk: 1, RequestID: "a\"b\\c]d\n\xff", AgentID: "ü\u2028\n", Details: []byte(`{"path":"/]\" \\"}`),
	}
	b.log.add(odd)
	set := b.open(t)
	all := c.until(4)
	closeSet(t, set)
	same(t, "entries", entriesOf(t, all), upTo(4))
	first, third, last := all[0], all[2], all[3]
	same(t, "facility and severity of a normal entry", []uint8{*first.Facility, *first.Severity}, []uint8{16, 6})
	same(t, "severity of a critical entry", *third.Severity, 2)
	same(t, "severity of a warning", *last.Severity, 4)
	same(t, "application, host and message id", []string{*third.Appname, *third.Hostname, *third.MsgID}, []string{"keeper", "host.test", "scan.blocked"})
	same(t, "time", first.Timestamp.UTC(), entry(1).Time.Truncate(time.Microsecond))
	same(t, "request", (*first.StructuredData)["keeper@32473"]["requestId"], entry(1).RequestID)
	same(t, "odd request, unescaped", unescaped((*last.StructuredData)["keeper@32473"]["requestId"]), "a\"b\\c]d \uFFFD")
	var lines []byte
	for _, m := range all {
		lines = append(append(lines, *m.Message...), '\n')
	}
	same(t, "lines", numbers(t, lines), upTo(4))
}

// unescaped is a parameter's value, whether or not the parser has unescaped it.
func unescaped(v string) string {
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\]`, `]`).Replace(v)
}

func TestSyslogFacilityIsTheOperatorsChoice(t *testing.T) {
	c := collect(t, listen(t, "127.0.0.1:0"), nil)
	spec := syslogSpec("tcp://" + c.listener.Addr().String())
	spec.Facility, spec.Format = "audit", formatOf(t, "cef")
	b := newBench(1, spec)
	set := b.open(t)
	m := c.until(1)[0]
	closeSet(t, set)
	same(t, "facility", *m.Facility, 13)
	if !strings.HasPrefix(*m.Message, "CEF:") {
		t.Errorf("message: got %q, want CEF", *m.Message)
	}
}

// identity is a certificate for names, made now, and the file of its authority.
func identity(t *testing.T, names ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := written(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestSyslogGoesOverTLS(t *testing.T) {
	certificate, authority := identity(t, "collector.test")
	listener := tls.NewListener(listen(t, "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{certificate}})
	c := collect(t, listener, nil)
	spec := syslogSpec("tls://" + listener.Addr().String())
	spec.CAFile, spec.ServerName = authority, "collector.test"
	b := newBench(1300, spec)
	closeSet(t, b.open(t))
	c.stop()
	same(t, "entries", entriesOf(t, c.messages), upTo(1300))
	same(t, "cursor", b.shelf.seq("s"), 1300)
}

func TestSyslogIsNotSentToAReceiverThatIsAnother(t *testing.T) {
	certificate, authority := identity(t, "other.test")
	listener := tls.NewListener(listen(t, "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{certificate}})
	c := collect(t, listener, nil)
	known, unknown := syslogSpec("tls://"+listener.Addr().String()), syslogSpec("tls://"+listener.Addr().String())
	unknown.ServerName = "other.test"
	unknown.Name, known.CAFile, known.ServerName = "u", authority, "collector.test"
	plain := syslogSpec("tls://" + collect(t, listen(t, "127.0.0.1:0"), func(_ *collector, conn net.Conn) { conn.Write([]byte("220 hello\r\n")) }).listener.Addr().String())
	plain.Name = "p"
	b := newBench(5, known, unknown, plain)
	closeSet(t, b.open(t))
	c.stop()
	same(t, "messages", len(c.messages), 0)
	for _, problem := range []string{"certificate is for another name", "of an unknown authority", "does not speak TLS"} {
		same(t, "notes of "+problem, count(b.notes.String(), problem), 1)
	}
}

func TestSyslogReceiverThatIsDownAtTheStartGetsAll(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	address := listener.Addr().String()
	listener.Close()
	b := newBench(700, syslogSpec("tcp://"+address)).hasty()
	set := b.open(t)
	b.log.grow(1)
	c := collect(t, listen(t, address), nil)
	same(t, "entries", entriesOf(t, c.until(701)), upTo(701))
	closeSet(t, set)
	same(t, "cursor", b.shelf.seq("s"), 701)
}

// dying reads so many bytes of each connection and then dies: with a reset where
// there is more in its buffers.
func dying(c *collector, bytes int64) func(net.Conn) {
	return func(conn net.Conn) {
		c.parse(io.LimitReader(conn, bytes))
		conn.(*net.TCPConn).SetLinger(0)
	}
}

func TestSyslogReceiverThatDiesInTheMidstGetsTheRestWhenItIsBack(t *testing.T) {
	for name, bytes := range map[string]int64{"at once": 0, "within the first message": 50, "early": 5_000, "late": 120_000} {
		t.Run(name, func(t *testing.T) {
			listener := listen(t, "127.0.0.1:0")
			address := listener.Addr().String()
			first := &collector{t: t, came: make(chan struct{})}
			died := make(chan struct{})
			first.running.Go(func() {
				defer close(died)
				conn, err := listener.Accept()
				listener.Close()
				if err == nil {
					dying(first, bytes)(conn)
					conn.Close()
				}
			})
			b := newBench(1700, syslogSpec("tcp://"+address)).hasty()
			set := b.open(t)
			<-died
			second := collect(t, listen(t, address), nil)
			second.until(1700)
			closeSet(t, set)
			second.stop()
			complete(t, append(entriesOf(t, first.messages), entriesOf(t, second.messages)...), 1700)
			same(t, "cursor", b.shelf.seq("s"), 1700)
		})
	}
}

// The receiver's TCP has acknowledged all, and the cursor has passed it.
func TestWhatASyslogReceiverHadNotReadWhenItDiedIsSentAgain(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	address := listener.Addr().String()
	taken := make(chan net.Conn)
	go func() {
		conn, _ := listener.Accept()
		listener.Close()
		taken <- conn
	}()
	b := newBench(20, syslogSpec("tcp://"+address)).hasty()
	set := b.open(t)
	conn := <-taken
	b.shelf.reaches(t, "s", 20)
	conn.Close() // with unread data: a reset
	c := collect(t, listen(t, address), nil)
	same(t, "entries", entriesOf(t, c.until(20)), upTo(20))
	closeSet(t, set)
}

func TestConnectionThatIsClosedInOrderWhileIdleIsNoOutage(t *testing.T) {
	taken, read := make(chan net.Conn, 2), make(chan struct{}, 2)
	c := collect(t, listen(t, "127.0.0.1:0"), func(c *collector, conn net.Conn) {
		taken <- conn
		c.parse(conn)
		read <- struct{}{}
	})
	b := newBench(20, syslogSpec("tcp://"+c.listener.Addr().String())).hasty()
	set := b.open(t)
	c.until(20)
	b.shelf.reaches(t, "s", 20)
	(<-taken).(*net.TCPConn).CloseWrite()
	<-read // the sink has closed its side, too
	b.log.grow(5)
	all := c.until(25)
	closeSet(t, set)
	same(t, "entries", entriesOf(t, all), upTo(25))
	same(t, "status", set.Status(), []sink.Status{{Name: "s", Type: "syslog", Alive: true, Seq: 25}})
	same(t, "notes", b.notes.String(), "")
}

func TestKilledKeeperSendsAgainWhatItsCursorDoesNotCover(t *testing.T) {
	c := collect(t, listen(t, "127.0.0.1:0"), nil)
	b := newBench(600, syslogSpec("tcp://"+c.listener.Addr().String()))
	b.shelf.fail(errTest) // as if keeper was killed before
	first := b.open(t)
	c.until(600)
	closeSet(t, first)
	b.shelf.fail(nil)
	b.log.grow(1)
	closeSet(t, b.open(t))
	c.stop()
	got := entriesOf(t, c.messages)
	complete(t, got, 601)
	same(t, "messages", len(got), 1201)
}
