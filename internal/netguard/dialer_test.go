package netguard_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/netguard"
)

func TestAddressesThatAreNotPublicCannotBeDialled(t *testing.T) {
	d := netguard.New([]string{"127.0.0.1:1"})
	for _, hostport := range []string{
		"127.0.0.1:80", "127.9.9.9:443", "localhost:443", "[::1]:443", "0.0.0.0:80", "[::]:80",
		"10.0.0.1:443", "172.16.3.4:443", "192.168.1.1:443", "100.64.0.1:443",
		"169.254.169.254:80", "168.63.129.16:80", "[fe80::1]:80", "[fd00:ec2::254]:80", "[fc00::1]:443",
		"[::ffff:127.0.0.1]:80", "[::ffff:169.254.169.254]:80", "[64:ff9b::7f00:1]:80", "[2002:7f00:1::]:80",
		"224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80", "192.0.2.1:80", "[2001:db8::1]:80", "198.18.0.1:80",
		"2130706433:80", "0x7f.1:80", "127.1:80", "017700000001:80",
	} {
		conn, err := d.DialContext(context.Background(), "tcp", hostport)
		if err == nil {
			conn.Close()
			t.Errorf("%s: connected, want a refusal", hostport)
			continue
		}
		if host, _, _ := net.SplitHostPort(hostport); net.ParseIP(host) != nil && !errors.Is(err, netguard.ErrForbidden) {
			t.Errorf("%s: got %v, want ErrForbidden", hostport, err)
		}
	}
}

func TestAnAddressThatTheOperatorNamedIsDialled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := netguard.New([]string{l.Addr().String()}).DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("got %v, want a connection", err)
	}
	conn.Close()
	if _, err := netguard.New(nil).DialContext(context.Background(), "tcp", l.Addr().String()); !errors.Is(err, netguard.ErrForbidden) {
		t.Fatalf("unnamed: got %v, want ErrForbidden", err)
	}
}

func TestOnlyLoopbackListenAddressesCountAsLoopback(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:8700": true, "[::1]:8700": true, "localhost:0": true, "127.8.8.8:1": true,
		":8700": false, "0.0.0.0:8700": false, "[::]:8700": false, "192.168.0.1:1": false, "example.org:1": false, "127.0.0.1": false, "": false,
	} {
		if got := netguard.IsLoopback(listen); got != want {
			t.Errorf("%q: got %v, want %v", listen, got, want)
		}
	}
}

func TestOnlyURLsOfThisMachineMayGoInClear(t *testing.T) {
	for text, want := range map[string]bool{
		"http://127.0.0.1": true, "http://[::1]:8200/": true, "http://localhost": true, "http://LocalHost:80": true,
		"http://10.0.0.1": false, "http://localhost.example.org": false, "http://example.org": false, "http://127.0.0.1@example.org": false, "http://": false, "http:127.0.0.1": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := netguard.IsLoopbackURL(u); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestAddressOfAURLIsTheOneThatIsDialledForIt(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST"} {
		u := &url.URL{Scheme: "http", Host: strings.Replace(server.Listener.Addr().String(), "127.0.0.1", host, 1)}
		transport := &http.Transport{DialContext: netguard.New([]string{netguard.HostPort(u)}).DialContext}
		resp, err := transport.RoundTrip(&http.Request{Method: "GET", URL: u, Header: http.Header{}})
		if err != nil {
			t.Errorf("%s: got %v, want it dialled since it is named", u, err)
			continue
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
	}
	for text, want := range map[string]string{"https://a.example/x": "a.example:443", "http://a.example": "a.example:80", "https://[2001:db8::1]": "[2001:db8::1]:443"} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := netguard.HostPort(u); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
