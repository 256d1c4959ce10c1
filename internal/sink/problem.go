package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
)

// errEnded is the end of a connection that its receiver closed in order, having read
// all that had come.
var errEnded = errors.New("receiver closed the connection")

// errUnacknowledged is a receiver whose TCP does not acknowledge what it was sent.
var errUnacknowledged = errors.New("receiver does not acknowledge")

// errIrregular is a path that is a folder, a pipe or a device.
var errIrregular = errors.New("not a regular file")

// statusError is an answer other than success.
type statusError struct{ status int }

func (e *statusError) Error() string {
	if e.status >= 300 && e.status < 400 {
		return fmt.Sprintf("the receiver redirects (status %d); name the final address", e.status)
	}
	return fmt.Sprintf("the receiver answers with status %d", e.status)
}

// problems says in fixed words what went wrong. An error's own text may quote what a
// peer sent, or a URL that is a secret.
var problems = []struct {
	is   error
	text string
}{
	{errRead, "the audit log cannot be read"},
	{errUnacknowledged, "the receiver does not read"},
	{errEnded, "the receiver closed the connection"},
	{errIrregular, "the path is not a regular file"},
	{context.DeadlineExceeded, "no answer in time"},
	{os.ErrDeadlineExceeded, "no answer in time"},
	{syscall.ETIMEDOUT, "no answer in time"},
	{syscall.ECONNREFUSED, "the connection is refused"},
	{syscall.ECONNRESET, "the connection was reset"},
	{syscall.ECONNABORTED, "the connection was reset"},
	{syscall.EPIPE, "the connection was reset"},
	{syscall.EHOSTUNREACH, "no route to the address"},
	{syscall.ENETUNREACH, "no route to the address"},
	{syscall.ENOSPC, "the disk is full"},
	{syscall.EDQUOT, "the disk quota is used up"},
	{syscall.EROFS, "the disk is read-only"},
	{syscall.EIO, "the disk reports an error"},
	{syscall.EISDIR, "the path is a folder"},
	{syscall.ENOTDIR, "a part of the path is not a folder"},
	{fs.ErrPermission, "access is denied"},
	{fs.ErrNotExist, "the folder is not there"},
	{http.ErrSchemeMismatch, "the receiver does not speak TLS"},
	{io.ErrUnexpectedEOF, "the receiver closed the connection"},
	{io.EOF, "the receiver closed the connection"},
}

func problem(err error) string {
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.Error()
	}
	if text := certificateProblem(err); text != "" {
		return text
	}
	for _, p := range problems {
		if errors.Is(err, p.is) {
			return p.text
		}
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the name does not resolve"
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "no answer in time"
	}
	return "the delivery failed"
}

func certificateProblem(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the receiver does not speak TLS"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the receiver's certificate is of an unknown authority; name its CA in caFile"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the receiver's certificate is for another name"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the receiver's certificate has expired"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the receiver's certificate is not valid"
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return "the receiver refuses the TLS handshake"
	}
	return ""
}

// errNoRequest is a URL that was checked and of which no request can be made.
var errNoRequest = errors.New("URL cannot be used")

// withoutURL is what net/http says of a request, without its URL.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return errNoRequest
}
