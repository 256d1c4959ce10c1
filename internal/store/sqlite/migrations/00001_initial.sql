-- Times are nanoseconds since 1970 in UTC; 0 stands for never. Lists are JSON
-- arrays of strings.

-- +goose Up
CREATE TABLE agents (
    id           TEXT NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL,
    github_user  TEXT NOT NULL,
    status       TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    secret_hash  BLOB,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A token outlives the agent it was issued to, so that a revoked one stays
-- known until it expires: no foreign key.
CREATE TABLE tokens (
    jti        TEXT NOT NULL PRIMARY KEY,
    agent_id   TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_agent ON tokens (agent_id, expires_at);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

CREATE TABLE keks (
    id         TEXT NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    salt       BLOB,
    passes     INTEGER NOT NULL,
    memory_kib INTEGER NOT NULL,
    lanes      INTEGER NOT NULL,
    proof      BLOB,
    current    INTEGER NOT NULL CHECK (current IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX keks_one_current ON keks (current) WHERE current = 1;

CREATE TABLE credentials (
    id             TEXT NOT NULL,
    version        INTEGER NOT NULL CHECK (version >= 1),
    provider       TEXT NOT NULL,
    label          TEXT NOT NULL,
    restricted     INTEGER NOT NULL CHECK (restricted IN (0, 1)),
    allowed_agents TEXT NOT NULL,
    source         TEXT NOT NULL,
    kek_id         TEXT NOT NULL,
    wrapped_key    BLOB,
    ciphertext     BLOB,
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id          TEXT NOT NULL PRIMARY KEY,
    purpose     TEXT NOT NULL,
    state       TEXT NOT NULL,
    public      BLOB,
    kek_id      TEXT NOT NULL,
    wrapped_key BLOB,
    ciphertext  BLOB,
    created_at  INTEGER NOT NULL,
    state_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE imports (
    name   TEXT NOT NULL PRIMARY KEY,
    digest BLOB
) STRICT, WITHOUT ROWID;

-- Every proxied call appends here, so there is no index beside the rowid: one
-- on each column that is searched costs several times what the row does. The
-- summaries of audit_blocks do their work.
CREATE TABLE audit (
    seq        INTEGER NOT NULL PRIMARY KEY,
    id         TEXT NOT NULL,
    time       INTEGER NOT NULL,
    event      TEXT NOT NULL,
    agent_id   TEXT NOT NULL,
    provider   TEXT NOT NULL,
    risk       INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    details    BLOB
) STRICT;

-- One row for each complete run of 256 entries: block b holds the entries
-- 256b+1 to 256b+256. It is written in the transaction of the last of them.
CREATE TABLE audit_blocks (
    block     INTEGER NOT NULL PRIMARY KEY,
    min_time  INTEGER NOT NULL,
    max_time  INTEGER NOT NULL,
    max_risk  INTEGER NOT NULL,
    high_risk INTEGER NOT NULL, -- entries of risk 1 or 2 from the log's start to this block's end
    filter    BLOB NOT NULL     -- Bloom filter of its agents, providers, events and requests
) STRICT;

-- Written by the health check and read by nobody.
CREATE TABLE heartbeat (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
