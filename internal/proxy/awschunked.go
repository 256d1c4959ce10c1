package proxy

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
)

const (
	chunkLineBytes = 4096 // of a line between chunks
	maxTrailers    = 16
)

// errChunks says that a body is not chunked as Amazon's clients do it.
var errChunks = errors.New("body is not aws-chunked as it says")

// unchunker reads the payload of a body in aws-chunked form (Amazon S3, "Signature
// Calculations for the Authorization Header: Transferring Payload in Multiple
// Chunks"): the scan sees it in one piece, and the signatures of the chunks, which
// were made with a key that is none, go.
type unchunker struct {
	src     *bufio.Reader
	left    int64 // of the chunk
	begun   bool
	want    int64 // of the payload; -1: unknown
	read    int64
	trailer map[string]string // by lower-case name, once it is at its end
	ended   bool
}

// unchunk makes the call's body plain where it is aws-chunked and goes to a
// provider whose calls are signed; else it returns nil. The caller calls unchunked
// once the body was read.
func (c *call) unchunk() (*unchunker, *refusal) {
	payload := c.header.Get("X-Amz-Content-Sha256")
	if !c.route.Inject.Signs() || !strings.HasPrefix(payload, "STREAMING-") {
		return nil, nil
	}
	if strings.HasSuffix(payload, "-EVENTS") {
		return nil, refuse(codeUndecodable, "the request body is a signed event stream, which cannot be signed anew; send the call another way")
	}
	u := &unchunker{src: bufio.NewReaderSize(c.body, chunkLineBytes), want: -1, trailer: map[string]string{}}
	if text := c.header.Get("X-Amz-Decoded-Content-Length"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return nil, refuse(codeBadRequest, "X-Amz-Decoded-Content-Length is no length")
		}
		u.want = n
	}
	c.body, c.declared = u, u.want
	codings := strings.FieldsFunc(strings.Join(c.header.Values("Content-Encoding"), ","), func(r rune) bool { return r == ',' || r == ' ' })
	var kept []string
	for _, coding := range codings {
		if !strings.EqualFold(coding, "aws-chunked") {
			kept = append(kept, coding)
		}
	}
	c.header.Del("Content-Encoding")
	if len(kept) > 0 {
		c.header.Set("Content-Encoding", strings.Join(kept, ", "))
	}
	dropAll(c.header, []string{"X-Amz-Content-Sha256", "X-Amz-Decoded-Content-Length", "X-Amz-Trailer"})
	return u, nil
}

// unchunked puts the checksums that came after the body where they belong in a
// plain call.
func (c *call) unchunked(u *unchunker) {
	if u == nil {
		return
	}
	for name, value := range u.trailer {
		if name != "x-amz-trailer-signature" {
			c.header.Set(name, value)
		}
	}
}

// Read reads the payload. At its end all of the body has been read.
func (u *unchunker) Read(p []byte) (int, error) {
	if u.left == 0 && !u.ended {
		if err := u.next(); err != nil {
			return 0, err
		}
	}
	if u.ended {
		return 0, io.EOF
	}
	n, err := u.src.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	u.read += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

var chunkHead = regexp.MustCompile(`^([0-9a-fA-F]{1,15})(;chunk-signature=[0-9a-fA-F*]{1,256})?$`)

// next goes to the next chunk, or to the end.
func (u *unchunker) next() error {
	if u.begun {
		if line, err := u.line(); err != nil || line != "" {
			return errors.Join(errChunks, errOf(err))
		}
	}
	u.begun = true
	line, err := u.line()
	if err != nil {
		return errors.Join(errChunks, errOf(err))
	}
	head := chunkHead.FindStringSubmatch(line)
	if head == nil {
		return errChunks
	}
	u.left, err = strconv.ParseInt(head[1], 16, 64)
	if err != nil || u.want >= 0 && u.left > u.want-u.read {
		return errChunks
	}
	if u.left > 0 {
		return nil
	}
	return u.end()
}

// errOf keeps what says that the caller went away or was too slow.
func errOf(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

var chunkTrailer = regexp.MustCompile(`^(?i)(x-amz-checksum-[a-z0-9]{1,20}|x-amz-trailer-signature):([A-Za-z0-9+/=_-]{1,256})$`)

// end reads what comes after the last chunk.
func (u *unchunker) end() error {
	for range maxTrailers {
		line, err := u.line()
		if err == io.EOF && line == "" {
			if u.want >= 0 && u.read != u.want {
				return errChunks
			}
			u.ended = true
			return nil
		}
		if err != nil && err != io.EOF {
			return errors.Join(errChunks, err)
		}
		if line == "" {
			continue
		}
		pair := chunkTrailer.FindStringSubmatch(line)
		if pair == nil {
			return errChunks
		}
		u.trailer[strings.ToLower(pair[1])] = pair[2]
	}
	return errChunks
}

// line reads a line without its end.
func (u *unchunker) line() (string, error) {
	line, err := u.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errChunks
	}
	return strings.TrimRight(string(line), "\r\n"), err
}
