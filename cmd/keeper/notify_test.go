package main

import (
	"net"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// manager FILE: a service manager that writes what it is told to the file, a line
// each; $NOTIFY_SOCKET names its socket.
func startManager(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 1, "manager FILE")
	folder, err := os.MkdirTemp("", "manager") // a script's own folder is too long a path for a socket
	ts.Check(err)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "s"), Net: "unixgram"})
	ts.Check(err)
	told, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	done := make(chan struct{})
	go func() {
		defer close(done)
		message := make([]byte, 4096)
		for {
			n, err := socket.Read(message)
			if err != nil {
				return
			}
			if _, err := told.Write(append(message[:n:n], '\n')); err != nil {
				return
			}
		}
	}()
	ts.Defer(func() {
		socket.Close()
		<-done
		told.Close()
		os.RemoveAll(folder)
	})
}
