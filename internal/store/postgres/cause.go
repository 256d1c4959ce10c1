package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/superinstance/keeper/internal/store"
)

// causes are the errors that PostgreSQL's codes stand for, see
// https://www.postgresql.org/docs/current/errcodes-appendix.html.
var causes = map[string]error{
	"53100": store.ErrDiskFull,
	"25006": store.ErrReadOnly, // a standby, after a failover
	"58030": store.ErrDisk,
	"XX001": store.ErrDamaged,
	"XX002": store.ErrDamaged,
}

// unreachable are the codes, or what they begin with, of a server that does not serve:
// it stops, starts, is full, or gave up waiting.
var unreachable = []string{"08", "53300", "57P01", "57P02", "57P03", "25P03", "57014", "55P03"}

// withCause adds to err what it means for the store. What a server says in its own words
// stands in the error, but never the address by which it is reached, which may hold a
// password.
func withCause(err error) error {
	if err == nil {
		return nil
	}
	var said *pgconn.PgError
	if errors.As(err, &said) {
		if cause := causes[said.Code]; cause != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
		for _, code := range unreachable {
			if len(said.Code) >= len(code) && said.Code[:len(code)] == code {
				return fmt.Errorf("%w: %w", store.ErrUnreachable, err)
			}
		}
		return err
	}
	var network net.Error
	var connecting *pgconn.ConnectError
	if errors.As(err, &network) || errors.As(err, &connecting) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", store.ErrUnreachable, err)
	}
	return err
}
