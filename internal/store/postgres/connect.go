package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// How long a connection may stall before it counts as lost. The server gives up before
// this side does, so that what this side gave up is not carried through afterwards.
const (
	connectTimeout = 3 * time.Second
	lockTimeout    = 2 * time.Second // of the server, for a lock
	writeTimeout   = 5 * time.Second // of a transaction that writes
	readTimeout    = 15 * time.Second
	longTimeout    = 2 * time.Minute // of what rewrites or deletes very many rows

	keepAliveIdle     = 5 * time.Second
	keepAliveInterval = 2 * time.Second
	keepAliveCount    = 3
	unacknowledged    = 5 * time.Second // of what was sent: TCP_USER_TIMEOUT, on Linux

	writerConnections = 4
	readerConnections = 4
	pollerConnections = 2
)

// errAddress says how the store is named.
var errAddress = errors.New("want the store as postgres://user@host/database; see docs/postgres.md")

// Names reports whether a store's name is one of PostgreSQL's, rather than a folder's.
func Names(store string) bool {
	return strings.HasPrefix(store, "postgres://") || strings.HasPrefix(store, "postgresql://")
}

// Shown is the address of a store without anything that is secret in it.
func Shown(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" && u.Path == "" {
		return "postgres://…"
	}
	shown := url.URL{Scheme: "postgres", Host: u.Host, Path: u.Path}
	if name := u.User.Username(); name != "" {
		shown.User = url.User(name)
	}
	return shown.String()
}

// Check says what is wrong with the address of a store, without connecting to it.
func Check(address string) error {
	_, err := parse(address, readerConnections)
	return err
}

// parse reads an address. Its error quotes nothing of it.
func parse(address string, connections int32) (*pgxpool.Config, error) {
	if !Names(address) {
		return nil, errAddress
	}
	c, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, errAddress
	}
	if c.ConnConfig.Database == "" || c.ConnConfig.Host == "" {
		return nil, errAddress
	}
	c.MaxConns, c.MinConns, c.MinIdleConns = connections, 0, 0
	configure(c.ConnConfig)
	return c, nil
}

// configure sets what keeper relies on. Nothing of it is state of a session, so that a
// pooler may hand each transaction to another connection: statements are described and
// never prepared by name, and settings are made within transactions.
func configure(c *pgx.ConnConfig) {
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 512
	if c.ConnectTimeout <= 0 || c.ConnectTimeout > connectTimeout {
		c.ConnectTimeout = connectTimeout
	}
	dialer := net.Dialer{
		Timeout:         c.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount},
		Control:         limitUnacknowledged,
	}
	c.DialFunc = dialer.DialContext
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "keeper"
	}
}

// Unprotected reports whether what goes to the store and comes from it can be read on
// its way, or the server is not known to be the one that was meant.
func Unprotected(address string) bool {
	c, err := parse(address, readerConnections)
	if err != nil {
		return false // which is said elsewhere
	}
	one := c.ConnConfig
	return weak(one.Host, one.TLSConfig) || func() bool {
		for _, other := range one.Fallbacks {
			if weak(other.Host, other.TLSConfig) {
				return true
			}
		}
		return false
	}()
}

func weak(host string, t *tls.Config) bool {
	if strings.HasPrefix(host, "/") || host == "localhost" {
		return false
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return false
	}
	return t == nil || t.InsecureSkipVerify && t.VerifyPeerCertificate == nil && t.VerifyConnection == nil
}

// connect opens a pool. Connections are made when they are needed.
func connect(ctx context.Context, address string, connections int32) (*pgxpool.Pool, error) {
	c, err := parse(address, connections)
	if err != nil {
		return nil, err
	}
	c.MaxConnLifetime, c.MaxConnLifetimeJitter = time.Hour, 10*time.Minute
	c.MaxConnIdleTime = 10 * time.Minute
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connecting to the store: %w", withCause(err))
	}
	return pool, nil
}
