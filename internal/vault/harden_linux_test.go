package vault_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/superinstance/keeper/internal/vault"
)

func TestHardenedProcessLeavesNoCoreAndCannotBeTraced(t *testing.T) {
	if err := vault.HardenProcess(); err != nil {
		t.Fatal(err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		t.Errorf("got dumpable %d (%v), want 0", dumpable, err)
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core.Cur != 0 || core.Max != 0 {
		t.Errorf("got core limit %+v (%v), want 0", core, err)
	}
}
