package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
)

// unchunkedBody is what the pipeline reads of a body in aws-chunked form.
func unchunkedBody(sent []byte, length int) ([]byte, error) {
	c := &call{
		route:  policy.Route{Inject: policy.Injection{SigV4: &policy.SigV4Injection{}}},
		header: http.Header{"X-Amz-Content-Sha256": {"STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, "X-Amz-Decoded-Content-Length": {fmt.Sprint(length)}},
		body:   bytes.NewReader(sent),
	}
	if _, no := c.unchunk(); no != nil {
		return nil, errors.New(no.message)
	}
	return io.ReadAll(c.body)
}

func FuzzChunkingDoesNotChangeTheBody(f *testing.F) {
	f.Add([]byte("some text"), 3)
	f.Add([]byte("\r\n0\r\n\r\n"), 1)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		size = max(1, min(size, 1<<16))
		var sent bytes.Buffer
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			fmt.Fprintf(&sent, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		sent.WriteString("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n")
		got, err := unchunkedBody(sent.Bytes(), len(body))
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("got %q and %v, want %q", got, err, body)
		}
	})
}

func FuzzNoBodyIsLongerThanItSaid(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), 5)
	f.Add([]byte("fffffffffffffff\r\nhello"), 5)
	f.Fuzz(func(t *testing.T, sent []byte, length int) {
		got, err := unchunkedBody(sent, length)
		if err == nil && len(got) != length || len(got) > max(0, length) {
			t.Errorf("got %d bytes and %v, want %d", len(got), err, length)
		}
	})
}
