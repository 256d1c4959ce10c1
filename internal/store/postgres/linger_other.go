//go:build !linux

package postgres

import "syscall"

// limitUnacknowledged leaves it to the time that each statement has.
func limitUnacknowledged(string, string, syscall.RawConn) error { return nil }
