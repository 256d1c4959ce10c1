package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
)

const (
	sizeType    = "text/x.tlog.size"
	answerBytes = 64 << 10
)

// remote speaks C2SP's tlog-witness: a head is sent with the proof that it continues
// the one that the witness saw last.
type remote struct {
	log    Log
	url    *url.URL
	client *http.Client
	seen   int64 // by the witness, as far as is known
}

func newRemote(c Config, u *url.URL) *remote {
	client := c.Client
	if client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.Proxy = nil // the environment has no say in where heads go
		client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	}
	return &remote{log: c.Log, url: u, client: client}
}

// statusError is an answer that is no yes.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("it answered %d", e.status) }

func (r *remote) put(ctx context.Context, h audit.Head) error {
	size, err := r.send(ctx, h)
	if err != nil || size < 0 {
		return err
	}
	// It saw another head last than was thought.
	if size > h.Size {
		return &disputeError{size}
	}
	r.seen = size
	size, err = r.send(ctx, h)
	if err == nil && size >= 0 {
		err = &statusError{http.StatusConflict}
	}
	return err
}

// send shows a head. Where the witness saw one last that is over another number of
// entries than was thought, it returns that number, else -1.
func (r *remote) send(ctx context.Context, h audit.Head) (size int64, err error) {
	body, err := r.body(ctx, h)
	if err != nil {
		return -1, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url.String(), bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := r.client.Do(req)
	if err != nil {
		return -1, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	switch {
	case err != nil:
		return -1, err
	case resp.StatusCode/100 == 2:
		r.seen = h.Size
		return -1, nil
	case resp.StatusCode == http.StatusConflict && resp.Header.Get("Content-Type") == sizeType:
		size, err := strconv.ParseInt(strings.TrimSpace(string(answer)), 10, 64)
		if err != nil || size < 0 {
			return -1, &statusError{resp.StatusCode}
		}
		return size, nil
	case resp.StatusCode == http.StatusUnprocessableEntity: // the proof does not hold for what it saw
		return -1, &disputeError{r.seen}
	}
	return -1, &statusError{resp.StatusCode}
}

func (r *remote) body(ctx context.Context, h audit.Head) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", r.seen)
	if r.seen > 0 && r.seen < h.Size {
		proof, err := r.log.ConsistencyBetween(ctx, r.seen, h.Size)
		if err != nil {
			return nil, err
		}
		for _, hash := range proof {
			b.WriteString(base64.StdEncoding.EncodeToString(hash[:]) + "\n")
		}
	}
	b.WriteByte('\n')
	b.Write(h.Note)
	return b.Bytes(), nil
}
