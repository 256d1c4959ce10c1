package main

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// What the service manager is told, as sd_notify(3) has it.
const (
	serviceReady     = "READY=1"
	serviceReloading = "RELOADING=1"
	serviceStopping  = "STOPPING=1"
)

// notifyReloading tells it that a reload has begun, and when: so it is known for the
// answer to a signal that it sent (systemd.service(5), Type=notify-reload).
func (a *app) notifyReloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		fmt.Fprintf(a.err, "keeper: telling the service manager %s: %v\n", serviceReloading, err)
		return
	}
	a.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", serviceReloading, now.Nano()/1000))
}

// notifyReloaded tells it that a reload has ended, and what came of it, on one line.
func (a *app) notifyReloaded(outcome string) {
	line, _, _ := strings.Cut(outcome, "\n")
	a.notify(serviceReady + "\nSTATUS=" + line)
}

// notify tells the service manager, where one asked for it (NOTIFY_SOCKET), how the
// service stands. One that cannot be told will act by itself: that is no reason for
// keeper to end, but for a line to the operator.
func (a *app) notify(state string) {
	if err := tell(a.env["NOTIFY_SOCKET"], state); err != nil {
		what, _, _ := strings.Cut(state, "\n")
		fmt.Fprintf(a.err, "keeper: telling the service manager %s: %v\n", what, err)
	}
}

// tell sends a datagram to a socket; an address that begins with @ is an abstract
// one, for systemd as for Go.
func tell(socket, state string) error {
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
