package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/server"
)

const (
	portPatience = 2 * time.Second
	fewFiles     = 4096 // open at once, below which a busy keeper runs out
	tooFewFiles  = 512
	firstFree    = 1024 // ports below are root's
)

// checkPorts looks who has the addresses that keeper listens on.
func (d *doctor) checkPorts(ctx context.Context) {
	if d.elsewhere {
		d.note("keeper is on another machine; run keeper doctor there")
		return
	}
	addr := firstOf(d.config.Addr, server.DefaultAddr)
	if d.config.Addr == "" && d.client.base.Scheme == "http" && d.client.base.Port() != "" && netguard.IsLoopbackURL(d.client.base) {
		addr = d.client.base.Host
	}
	d.checkPort(ctx, "addr", addr)
	if d.config.AdminAddr != "" {
		d.checkPort(ctx, "adminAddr", d.config.AdminAddr)
	}
	for _, provider := range slices.Sorted(maps.Keys(d.config.ProviderListen)) {
		d.checkPort(ctx, "providerListen."+provider, d.config.ProviderListen[provider])
	}
}

func (d *doctor) checkPort(ctx context.Context, key, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		d.problem(fmt.Sprintf("%s: %q is no listen address", key, addr), "Keeper refuses to start.", d.ownServe()+" --addr "+server.DefaultAddr)
		return
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if n, err := strconv.Atoi(port); err == nil && n > 0 && n < firstFree && os.Geteuid() != 0 {
		d.warn(fmt.Sprintf("%s: port %d is for root alone", key, n), "Keeper cannot listen on it as you.", "sudo setcap cap_net_bind_service=+ep \"$(command -v keeper)\"")
	}
	at := net.JoinHostPort(host, port)
	socket, err := (&net.Dialer{Timeout: portPatience}).DialContext(ctx, "tcp", at)
	if err != nil {
		d.ok("%s %s is free", key, addr)
		return
	}
	socket.Close()
	if isKeeper(ctx, at) {
		d.ok("%s %s is keeper's", key, addr)
		return
	}
	d.problem(fmt.Sprintf("%s %s is taken by something that is no keeper", key, addr), "Keeper cannot start there, and agents would send it their tokens.",
		"ss -ltnp 'sport = :"+port+"'\n"+d.ownServe()+" --addr 127.0.0.1:0")
}

// isKeeper reports whether a keeper answers at the address. Nothing secret is sent, so
// that it does not count who vouches for it.
func isKeeper(ctx context.Context, at string) bool {
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	for _, scheme := range []string{"http", "https"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at+"/api/v1/health", nil)
		if err != nil {
			return false
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.Header.Get("Keeper-Request-Id") != "" {
			return true
		}
	}
	return false
}

// checkLimits looks at what the system lets a process have.
func (d *doctor) checkLimits(context.Context) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		d.note("the limit of open files cannot be asked for: %v", err)
		return
	}
	// Go has raised the limit to the most that is allowed, as it does for keeper.
	what := fmt.Sprintf("a process may have %d files open", files.Cur)
	const why = "Each call of an agent takes two or more; without them calls are refused."
	const mend = "ulimit -Hn 65536   # as root; for a service: systemctl edit keeper, LimitNOFILE=65536"
	switch {
	case files.Cur < tooFewFiles:
		d.problem(what, why, mend)
	case files.Cur < fewFiles:
		d.warn(what, why, mend)
	default:
		d.ok("%s", what)
	}
}
