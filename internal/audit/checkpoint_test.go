package audit_test

import (
	"bytes"
	"testing"

	"github.com/superinstance/keeper/internal/audit"
)

func TestCheckpointsAreTakenApart(t *testing.T) {
	key, verifier := newKey(t)
	log := writeLog(t, key, verifier, 100, 37, "a")
	for name, between := range map[string]string{"nothing": "", "an empty line": "\n", "empty lines": "\r\n\n\n"} {
		got := audit.SplitCheckpoints(bytes.Join(log.checkpoints, []byte(between)))
		if len(got) != len(log.checkpoints) {
			t.Fatalf("%s between: got %d checkpoints, want %d", name, len(got), len(log.checkpoints))
		}
		for i, signed := range got {
			if _, err := audit.OpenCheckpoint(signed, verifier); err != nil {
				t.Errorf("%s between: checkpoint %d: %v", name, i, err)
			}
		}
	}
	if got := audit.SplitCheckpoints(bytes.TrimSpace(log.checkpoints[0])); len(got) != 1 || !bytes.Equal(got[0], log.checkpoints[0]) {
		t.Errorf("without its last line's end: got %q", got)
	}
	if got := audit.SplitCheckpoints([]byte("\n\n")); len(got) != 0 {
		t.Errorf("empty lines: got %q, want none", got)
	}
}
