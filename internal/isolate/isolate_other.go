//go:build !linux

package isolate

import (
	"net"
	"os"
)

// Box is an isolation that waits for its command.
type Box struct{ Listener net.Listener }

// Open is ErrUnsupported.
func Open(Config) (*Box, error) { return nil, ErrUnsupported }

// Start is ErrUnsupported.
func (b *Box) Start(Command) error { return ErrUnsupported }

// Signal does nothing.
func (b *Box) Signal(os.Signal) {}

// Wait is ErrUnsupported.
func (b *Box) Wait() (int, error) { return 0, ErrUnsupported }

// Close does nothing.
func (b *Box) Close() {}

// Main is no stage of anything here: it returns the exit code of wrong usage.
func Main([]string) int { return 2 }
