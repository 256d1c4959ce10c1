package main

import (
	"fmt"
	"net"
)

// What the service manager is told, as sd_notify(3) has it.
const (
	serviceReady    = "READY=1"
	serviceStopping = "STOPPING=1"
)

// notify tells the service manager, where one asked for it (NOTIFY_SOCKET), how the
// service stands. One that cannot be told will act by itself: that is no reason for
// keeper to end, but for a line to the operator.
func (a *app) notify(state string) {
	if err := tell(a.env["NOTIFY_SOCKET"], state); err != nil {
		fmt.Fprintf(a.err, "keeper: telling the service manager %s: %v\n", state, err)
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
