package sink

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

const tellsUnsent = true

// unsent returns how many bytes the peer's TCP has not acknowledged.
func unsent(c *net.TCPConn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var asked error
	err = raw.Control(func(fd uintptr) { n, asked = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, errors.Join(err, asked)
}
