package server_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// TestConnectLeadsNowhereElse asks for tunnels by targets that may be read in more than
// one way, and calls through those that open.
func TestConnectLeadsNowhereElse(t *testing.T) {
	s := newTheatre(t)
	_, admin, _ := strings.Cut(s.Server().AdminURL(), "://")
	_, own, _ := strings.Cut(s.URL(), "://")
	port := s.trap.at[strings.LastIndex(s.trap.at, ":"):]
	basic := base64.StdEncoding.EncodeToString([]byte("keeper:" + s.token))
	targets := []string{
		s.trap.at, "localhost" + port, "2130706433" + port, "0x7f000001" + port, "0177.0.0.1" + port, "127.1" + port, "0" + port, "[::1]" + port,
		"[::ffff:127.0.0.1]" + port, "[fe80::1%25lo]" + port, "[fe80::1%lo]" + port, "[::]" + port, "localhost.localdomain" + port, "127.0.0.1.nip.io" + port,
		own, admin, "localhost:80", "127.0.0.1:80", "127.0.0.1:443", "[::1]:443", "2130706433:443", "0x7f000001:443",
		"alpha.example.:443", "ALPHA.example:443", "аlpha.example:443", "xn--lpha-53d.example:443", "alpha.example:0443", "alpha.example:65979", "alpha.example:0", "alpha.example:-1",
		"alpha.example:443:443", "alpha.example", "alpha.example:", ":443", "alpha.example:https", "alpha.example:44٣", "alpha.example:443/p", "alpha.example:443?x", "alpha.example:443#x",
		"alpha.example@beta.example:443", "alpha.example%00.evil.example:443", "alpha.example%2eevil.example:443", "alpha.example\\.evil.example:443", "http://alpha.example:443", "//alpha.example:443", "/alpha.example:443", "*",
		"beta.example.evil.example:443", "evilbeta.example:443", strings.Repeat("a.", 200) + "example:443", strings.Repeat("a", 300) + ".example:443", "alpha_example:443", "-alpha.example:443",
	}
	for _, target := range targets {
		for _, head := range []string{"Host: " + target, "Host: beta.example:443", "Host: x\r\nContent-Length: 4", "Host: x\r\nTransfer-Encoding: chunked"} {
			conn := dialTo(t, s.URL())
			request := "CONNECT " + target + " HTTP/1.1\r\n" + head + "\r\nProxy-Authorization: Basic " + basic + "\r\n\r\n"
			s.Capture("an answer", []byte(say(t, conn, request+"GET /p HTTP/1.1\r\nHost: "+target+"\r\nConnection: close\r\n\r\n")))
		}
	}
	s.check(t)
	for _, one := range s.beta.seen() {
		t.Errorf("beta got %s %s, for which nobody asked", one.method, one.target)
	}
	for _, e := range s.Audit(t, "event=proxy.request") {
		if e.Details["decision"] == "forward" {
			t.Errorf("decided for: %v", e.Details)
		}
	}
}

// TestConnectBearsNoBody: what stands behind CONNECT is the tunnel's.
func TestConnectBearsNoBody(t *testing.T) {
	s := newTheatre(t)
	for name, length := range map[string]string{"a length": "Content-Length: 4", "chunks": "Transfer-Encoding: chunked", "no length at all": "Content-Length: 0"} {
		answer := say(t, dialTo(t, s.URL()), "CONNECT alpha.example:80 HTTP/1.1\r\nHost: alpha.example:80\r\n"+length+"\r\nProxy-Authorization: Bearer "+s.token+
			"\r\n\r\nGET /p HTTP/1.1\r\nHost: alpha.example\r\nConnection: close\r\n\r\n")
		if refused := strings.HasPrefix(answer, "HTTP/1.1 400 "); refused != (name != "no length at all") || refused && strings.Count(answer, "HTTP/1.1") != 1 {
			t.Errorf("%s: got %.200q", name, answer)
		}
	}
	s.check(t)
}

// TestTLSInTunnelsIsForTheirHostAlone varies what a client says in its handshake.
func TestTLSInTunnelsIsForTheirHostAlone(t *testing.T) {
	s := newTheatre(t)
	sessions := tls.NewLRUClientSessionCache(8)
	call := func(target, sni, host string, change func(*tls.Config)) string {
		conn, resp := s.client.tunnel(t, target)
		if resp.StatusCode != 200 {
			return resp.Status
		}
		config := &tls.Config{ServerName: sni, InsecureSkipVerify: true, ClientSessionCache: sessions}
		if change != nil {
			change(config)
		}
		secured := tls.Client(conn, config)
		if err := secured.Handshake(); err != nil {
			return err.Error()
		}
		return say(t, secured, "GET /p HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	}
	for name, one := range map[string]struct {
		target, sni, host string
		change            func(*tls.Config)
		want              string
	}{
		"as it should be":     {"alpha.example:443", "alpha.example", "alpha.example", nil, "HTTP/1.1 200"},
		"resumed":             {"alpha.example:443", "alpha.example", "alpha.example", nil, "HTTP/1.1 200"},
		"upper case":          {"ALPHA.Example:443", "Alpha.Example", "alpha.EXAMPLE", nil, "HTTP/1.1 200"},
		"another SNI":         {"beta.example:443", "alpha.example", "beta.example", nil, "HTTP/1.1 421"},
		"another Host":        {"beta.example:443", "beta.example", "alpha.example", nil, "HTTP/1.1 421"},
		"SNI and Host":        {"beta.example:443", "alpha.example", "alpha.example", nil, "HTTP/1.1 421"},
		"no SNI":              {"alpha.example:443", "", "alpha.example", nil, "HTTP/1.1 200"},
		"an address for SNI":  {"alpha.example:443", "127.0.0.1", "alpha.example", nil, "HTTP/1.1 200"}, // clients do not send it
		"a huge SNI":          {"alpha.example:443", strings.Repeat("a", 60000), "alpha.example", nil, "HTTP/1.1 421"},
		"an unknown protocol": {"alpha.example:443", "alpha.example", "alpha.example", func(c *tls.Config) { c.NextProtos = []string{"spdy/9"} }, "no application protocol"},
		"TLS 1.1":             {"alpha.example:443", "alpha.example", "alpha.example", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "protocol version"},
		"TLS at port 80":      {"alpha.example:80", "alpha.example", "alpha.example", nil, "HTTP/1.1 421"},
	} {
		if got := call(one.target, one.sni, one.host, one.change); !strings.Contains(got, one.want) {
			t.Errorf("%s: got %.200q, want %s", name, got, one.want)
		}
	}
	// A ticket of one host's, at the tunnel of another. A handshake that failed has
	// thrown the last one away.
	if got := call("alpha.example:443", "alpha.example", "alpha.example", nil); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Fatalf("once more: got %.200q, want 200", got)
	}
	ticket, ok := sessions.Get("alpha.example")
	if !ok {
		t.Fatal("got no session ticket of alpha.example")
	}
	sessions.Put("beta.example", ticket)
	if got := call("beta.example:443", "beta.example", "alpha.example", nil); !strings.HasPrefix(got, "HTTP/1.1 421") {
		t.Errorf("a ticket of alpha's in beta's tunnel, for alpha: got %.200q, want 421", got)
	}
	if got := s.beta.seen(); len(got) > 0 {
		t.Errorf("beta got %v, want nothing", got)
	}
	conn, _ := s.client.tunnel(t, "alpha.example:443")
	if got := say(t, conn, "GET /p HTTP/1.1\r\nHost: alpha.example\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 421") {
		t.Errorf("in clear to port 443: got %.200q, want 421", got)
	}
	s.check(t)
}

// TestHostsThatAreSecretsAreInNoLog puts keys where names of hosts are expected.
func TestHostsThatAreSecretsAreInNoLog(t *testing.T) {
	s := newTheatre(t)
	pieces := keepertest.NewPieces()
	for i := range 6 {
		key := strings.ToLower(fake.NewKey([]string{"generic", "openai", "anthropic", "github", "mistral", "stripe"}[i]))
		key = strings.Map(func(r rune) rune {
			if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", r) {
				return r
			}
			return -1
		}, key)
		pieces.Plant(fmt.Sprint("key ", i), key)
		half := len(key) / 2
		cut := min(len(key), 60)
		basic := func(user string) string { return base64.StdEncoding.EncodeToString([]byte(user + ":" + s.token)) }
		for _, host := range []string{key[:cut], key[:cut] + ".example.com", key[:half] + "." + key[half:], "www." + key[:half] + "." + key[half:] + ".example", key[:20] + ":443", strings.ToUpper(key[:cut])} {
			for _, request := range []string{
				"CONNECT " + host + ":443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + basic("keeper") + "\r\n\r\nGET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n",
				"CONNECT " + host + ":80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + basic("keeper") + "\r\n\r\nGET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n",
				"CONNECT " + host + ":99 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + basic("keeper") + "\r\nConnection: close\r\n\r\n",
				"CONNECT " + host + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
				"GET http://" + host + "/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + basic("keeper") + "\r\nConnection: close\r\n\r\n",
				"GET http://alpha.example/ HTTP/1.1\r\nHost: " + host + "\r\nProxy-Authorization: Basic " + basic("alpha@"+key) + "\r\nConnection: close\r\n\r\n",
				"GET http://" + key + "@alpha.example/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + basic(key) + "\r\nConnection: close\r\n\r\n",
				"GET http://alpha.example/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + basic(key+"@x+alpha@"+key[half:]) + "\r\nConnection: close\r\n\r\n",
			} {
				say(t, dialTo(t, s.URL()), request)
			}
			conn, resp := s.client.tunnel(t, "alpha.example:443")
			if resp.StatusCode == 200 {
				_ = tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{key}}).Handshake()
			}
		}
	}
	for _, e := range s.Audit(t, "") {
		if found := pieces.In([]byte(fmt.Sprint(e))); found != nil {
			t.Errorf("an entry holds pieces of %q: %v", found, e)
		}
	}
	if found := pieces.In([]byte(s.Log())); found != nil {
		t.Errorf("the log holds pieces of %q", found)
	}
	s.check(t)
}

// TestHeaderNamesThatAreSecretsAreInNoLog sends keys as names, of which HTTP changes the case.
func TestHeaderNamesThatAreSecretsAreInNoLog(t *testing.T) {
	k, pieces := keepertest.Start(t), keepertest.NewPieces()
	token := k.Token(t, "besieger", "openai:chat")
	for i := range 60 {
		key := fake.NewKey([]string{"gemini", "generic", "groq"}[i%3])
		pieces.Plant(fmt.Sprint("key ", i), key)
		k.Call(t, "POST", "openai", "/v1/chat/completions", token, `{}`, strings.ReplaceAll(key, "_", "-"), fake.NewKey("github"))
	}
	for _, e := range k.Audit(t, "") {
		if found := pieces.In([]byte(fmt.Sprint(e))); found != nil {
			t.Errorf("an entry holds pieces of %q: %v", found, e)
		}
	}
}

// TestUnknownHostsAreNamed has ordinary hosts refused: their operator must know which.
func TestUnknownHostsAreNamed(t *testing.T) {
	s := newTheatre(t)
	for _, host := range []string{
		"ec2-54-12-101-7.us-west-2.compute.amazonaws.com", "us-east1-docker.pkg.dev", "api2.cursor.sh", "k8s-prod-01.internal:8443",
		"10.20.30.40:8080", "[fd00::1]:8080", "xn--bcher-kva.example", "registry-1.docker.io", "objectstorage2024.example", "o450123456.ingest.sentry.io",
	} {
		got := say(t, dialTo(t, s.URL()), "GET http://"+host+"/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("keeper:"+s.token))+"\r\nConnection: close\r\n\r\n")
		if !strings.Contains(got, "has host "+host) {
			t.Errorf("got %q, want %s in it", got, host)
		}
	}
}

// TestTunnelsEndWithTheirClientsAndWithKeeper opens many that say nothing, or begin and
// do not go on.
func TestTunnelsEndWithTheirClientsAndWithKeeper(t *testing.T) {
	for name, end := range map[string]func(s *theatre, conns []net.Conn){
		"the clients go": func(_ *theatre, conns []net.Conn) {
			for _, conn := range conns {
				conn.Close()
			}
		},
		"keeper stops": func(s *theatre, _ []net.Conn) { s.Stop(t) },
	} {
		s := newTheatre(t)
		var conns []net.Conn
		for i := range 60 {
			conn, resp := s.client.tunnel(t, "alpha.example:443")
			if resp.StatusCode != 200 {
				t.Fatalf("CONNECT: got %d, want 200", resp.StatusCode)
			}
			switch conns = append(conns, conn); i % 3 {
			case 1:
				io.WriteString(conn, "\x16\x03\x01\x02\x00")
			case 2:
				if err := tls.Client(conn, &tls.Config{ServerName: "alpha.example", RootCAs: s.client.roots}).Handshake(); err != nil {
					t.Fatal(err)
				}
			}
		}
		end(s, conns)
		s.Stop(t)
		if left := goroutinesIn("internal/proxy.(*Tunnels)"); left != "" {
			t.Errorf("%s: goroutines are left:\n%s", name, left)
		}
		s.Restart(t)
		if e := s.Audit(t, "event=keeper.stopped"); len(e) != 1 || e[0].Details["reason"] != "asked to stop" {
			t.Errorf("%s: got %+v, want a stop that had to cut nothing", name, e)
		}
		s.Stop(t)
	}
}

// goroutinesIn returns the stacks of goroutines in what, once they have had the time to
// end.
func goroutinesIn(what string) string {
	for deadline := time.Now().Add(20 * time.Second); ; {
		var all strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
		if !strings.Contains(all.String(), what) {
			return ""
		}
		if time.Now().After(deadline) {
			return all.String()
		}
	}
}

// TestWhatAProviderSendsBesidesItsAnswerIsNobodys has a provider answer in ways that
// begin a second answer, or end none.
func TestWhatAProviderSendsBesidesItsAnswerIsNobodys(t *testing.T) {
	s := newTheatre(t)
	second := "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nstrange"
	answers := map[string]string{
		"both lengths":      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + second,
		"more than it says": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + second,
		"a body with 204":   "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n" + second,
		"a body with 304":   "HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n" + second,
		"no body":           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + second,
		"101":               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + second,
		"1xx":               strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 3) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + second,
		"1xx without end":   strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 5000) + second,
		"splitting":         "HTTP/1.1 200 OK\r\nX-A: b\rHTTP/1.1 200 OK\r\nX-B: c\x00d\r\nContent-Length: 2\r\n\r\nok" + second,
		"splitting by LF":   "HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok" + second,
		"folded":            "HTTP/1.1 200 OK\r\nX-A: b\r\n HTTP/1.1 200 OK\r\n\tContent-Length: 9\r\nContent-Length: 2\r\n\r\nok" + second,
		"two lengths":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nok" + second,
		"HTTP/0.9":          "ok" + second,
	}
	s.alpha.answer = func(r *http.Request) string {
		if answer := answers[r.URL.Query().Get("by")]; answer != "" {
			return answer
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	}
	for name := range answers {
		for _, method := range []string{"GET", "HEAD"} {
			first := s.Call(t, method, "alpha", "/first?by="+url.QueryEscape(name), s.token, "")
			next := s.Call(t, "GET", "alpha", "/next", s.token, "")
			if strings.Contains(string(next.Body), "strange") || next.Status == 200 && string(next.Body) != "ok" {
				t.Errorf("%s, %s: the next call got %d %.100q", name, method, next.Status, next.Body)
			}
			if strings.Contains(name, "without end") && first.Header.Get("Keeper-Code") != "upstream_invalid" {
				t.Errorf("%s, %s: got %d %s, want upstream_invalid", name, method, first.Status, first.Header.Get("Keeper-Code"))
			}
		}
	}
	s.check(t)
}

// TestARefusalLeavesTheConnectionInStep asks for a token on a connection again and
// again, and then opens the tunnel on it.
func TestARefusalLeavesTheConnectionInStep(t *testing.T) {
	s := newTheatre(t)
	conn := dialTo(t, s.URL())
	answers := bufio.NewReader(conn)
	ask := func(header string) *http.Response {
		fmt.Fprintf(conn, "CONNECT alpha.example:80 HTTP/1.1\r\nHost: alpha.example:80\r\n%s\r\n", header)
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 200 {
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		return resp
	}
	for range 5 {
		if resp := ask("Proxy-Authorization: Basic !!\r\n"); resp.StatusCode != 407 {
			t.Fatalf("got %d, want 407", resp.StatusCode)
		}
	}
	if resp := ask("Proxy-Authorization: Bearer " + s.token + "\r\n"); resp.StatusCode != 200 {
		t.Fatalf("with the token: got %d, want 200", resp.StatusCode)
	}
	fmt.Fprint(conn, "GET /p HTTP/1.1\r\nHost: alpha.example\r\n\r\n")
	if resp, err := http.ReadResponse(answers, nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("in the tunnel: got %v, %v, want 200", resp, err)
	}
	if refused := s.Audit(t, "event=proxy.request&code=token_missing"); len(refused) == 0 {
		t.Error("the refusals are not in the log")
	}
	s.check(t)
}
