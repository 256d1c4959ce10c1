package proxy

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

// readSide reads all that a side says, as one text.
func readSide(src io.Reader) string {
	s := newSide(true, src, io.Discard, frameLimit)
	var all bytes.Buffer
	for {
		op, payload, err := s.next()
		if err != nil {
			fmt.Fprintf(&all, "%v", err)
			return all.String()
		}
		fmt.Fprintf(&all, "%d %q\n", op, payload)
	}
}

func agentFrame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewFrame(op, fin, []byte(payload)), [4]byte{1, 2, 3, 4}))
}

func FuzzCuttingDoesNotChangeWhatASideSays(f *testing.F) {
	f.Add(agentFrame(ws.OpText, true, "hello"))
	f.Add(bytes.Join([][]byte{agentFrame(ws.OpText, false, "gr\xc3"), agentFrame(ws.OpPing, true, "?"), agentFrame(ws.OpContinuation, true, "\xbcn")}, nil))
	f.Add(agentFrame(ws.OpClose, true, "\x03\xe8bye"))
	f.Add([]byte{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, p []byte) {
		if whole, slow := readSide(bytes.NewReader(p)), readSide(oneByOne{bytes.NewReader(p)}); whole != slow {
			t.Errorf("%q byte by byte: got %q, want %q", p, slow, whole)
		}
	})
}

func TestFragmentsAreOneMessageWithControlFramesBetween(t *testing.T) {
	got := readSide(bytes.NewReader(bytes.Join([][]byte{
		agentFrame(ws.OpText, false, "gr\xc3"), agentFrame(ws.OpPing, true, "?"), agentFrame(ws.OpContinuation, true, "\xbcn"), agentFrame(ws.OpBinary, true, "\xff"),
	}, nil)))
	if want := "9 \"?\"\n1 \"grün\"\n2 \"\\xff\"\nEOF"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWhatASideIsSentIsReadByTheOther(t *testing.T) {
	var out bytes.Buffer
	s := newSide(false, nil, &out, frameLimit) // what goes to a provider is masked
	s.write(ws.OpText, []byte("hello"))
	s.ping([]byte("of the other side"))
	s.close(ws.StatusPolicyViolation, "keeper: "+string(bytes.Repeat([]byte("ü"), 100)))
	s.write(ws.OpText, []byte("after the end"))
	h, err := ws.ReadHeader(bytes.NewReader(out.Bytes()))
	if err != nil || !h.Masked {
		t.Errorf("got %+v, %v, want a masked frame", h, err)
	}
	got := readSide(&out)
	if want := "1 \"hello\"\n9 \"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\"\n8 "; len(got) < len(want) || got[:len(want)] != want || bytes.Contains([]byte(got), []byte("after")) || bytes.Contains([]byte(got), []byte(`\xc3`)) {
		t.Errorf("got %s, want a message, a ping with a number, and a close frame that cuts no character", got)
	}
	if of, other := s.ponged([]byte{0, 0, 0, 0, 0, 0, 0, 1}); !other || string(of) != "of the other side" {
		t.Errorf("the pong: got %q, %v, want the other side's payload", of, other)
	}
	if _, other := s.ponged([]byte{0, 0, 0, 0, 0, 0, 0, 1}); other {
		t.Error("a second pong: want it to answer nothing")
	}
}
