//go:build !linux

package vault

// HardenProcess keeps this process's memory from other processes where the
// system has a way to; here it has none, and nothing is done.
func HardenProcess() error { return nil }
