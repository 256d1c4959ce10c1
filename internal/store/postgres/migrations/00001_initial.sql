-- The tables of keeper, in a schema of their own, so that none is found by a search path.
-- Times are nanoseconds since 1970 in UTC; 0 stands for never. What is compared or sorted
-- is so by its bytes: COLLATE "C".

-- +goose Up
-- Which keepers may work with this schema: those that know one from oldest on. Each
-- migration sets version to its own number, or else only a keeper that knows it may.
CREATE TABLE keeper.compatible (
    id      integer NOT NULL PRIMARY KEY CHECK (id = 1),
    version bigint  NOT NULL,
    oldest  bigint  NOT NULL
);
INSERT INTO keeper.compatible (id, version, oldest) VALUES (1, 1, 1);

-- Who has the store. Each that takes it counts epoch on, and writes nothing once it is
-- another's.
CREATE TABLE keeper.holder (
    id    integer NOT NULL PRIMARY KEY CHECK (id = 1),
    epoch bigint  NOT NULL,
    name  text    NOT NULL,
    since bigint  NOT NULL
);
INSERT INTO keeper.holder (id, epoch, name, since) VALUES (1, 0, '', 0);

CREATE TABLE keeper.agents (
    id           text   COLLATE "C" NOT NULL PRIMARY KEY,
    name         text   NOT NULL,
    github_user  text   NOT NULL,
    status       text   NOT NULL,
    scopes       text[] NOT NULL,
    secret_hash  bytea,
    old_secret_hash  bytea, -- of the secret before, and until when it is good
    old_secret_until bigint NOT NULL,
    created_at   bigint NOT NULL,
    updated_at   bigint NOT NULL,
    last_seen_at bigint NOT NULL
);

-- A token outlives the agent it was issued to, so that a revoked one stays
-- known until it expires: no foreign key.
CREATE TABLE keeper.tokens (
    jti        text   COLLATE "C" NOT NULL PRIMARY KEY,
    agent_id   text   COLLATE "C" NOT NULL,
    scopes     text[] NOT NULL,
    issued_at  bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint NOT NULL
);
CREATE INDEX tokens_by_agent ON keeper.tokens (agent_id, expires_at);
CREATE INDEX tokens_by_expiry ON keeper.tokens (expires_at);
CREATE INDEX tokens_revoked ON keeper.tokens (expires_at) WHERE revoked_at <> 0;

CREATE TABLE keeper.keks (
    id         text    COLLATE "C" NOT NULL PRIMARY KEY,
    kind       text    NOT NULL,
    salt       bytea,
    passes     bigint  NOT NULL,
    memory_kib bigint  NOT NULL,
    lanes      integer NOT NULL,
    proof      bytea,
    current    boolean NOT NULL,
    created_at bigint  NOT NULL
);
CREATE UNIQUE INDEX keks_one_current ON keeper.keks (current) WHERE current;

CREATE TABLE keeper.credentials (
    id             text    COLLATE "C" NOT NULL,
    version        bigint  NOT NULL CHECK (version >= 1),
    provider       text    NOT NULL,
    label          text    NOT NULL,
    restricted     boolean NOT NULL,
    allowed_agents text[]  NOT NULL,
    source         text    NOT NULL,
    kek_id         text    NOT NULL,
    wrapped_key    bytea,
    ciphertext     bytea,
    created_at     bigint  NOT NULL,
    PRIMARY KEY (id, version)
);

CREATE TABLE keeper.keys (
    id          text   COLLATE "C" NOT NULL PRIMARY KEY,
    purpose     text   NOT NULL,
    state       text   NOT NULL,
    public      bytea,
    kek_id      text   NOT NULL,
    wrapped_key bytea,
    ciphertext  bytea,
    created_at  bigint NOT NULL,
    state_at    bigint NOT NULL
);

CREATE TABLE keeper.imports (
    name   text COLLATE "C" NOT NULL PRIMARY KEY,
    digest bytea
);

CREATE TABLE keeper.exceptions (
    fingerprint text   COLLATE "C" NOT NULL PRIMARY KEY,
    rule        text   NOT NULL,
    reason      text   NOT NULL,
    created_by  text   NOT NULL,
    created_at  bigint NOT NULL,
    expires_at  bigint NOT NULL,
    seal        bytea
);

-- How far each sink has taken the audit log.
CREATE TABLE keeper.cursors (
    name text   COLLATE "C" NOT NULL PRIMARY KEY,
    seq  bigint NOT NULL, -- the last entry that it has for certain
    at   bigint NOT NULL
);

-- How much was drawn of each quota in a window: name is the quota's, share whose part
-- of it, as text.
CREATE TABLE keeper.quota_uses (
    name     text   COLLATE "C" NOT NULL,
    share    text   COLLATE "C" NOT NULL,
    resource text   COLLATE "C" NOT NULL,
    begins   bigint NOT NULL,
    ends     bigint NOT NULL,
    drawn    bigint NOT NULL,
    PRIMARY KEY (name, share, resource, begins)
);

-- Every proxied call appends here, so there is no index beside the key: one on each
-- column that is searched costs several times what the row does. The summaries of
-- audit_blocks do their work. A text that PostgreSQL cannot hold is \x and its bytes.
CREATE TABLE keeper.audit (
    seq        bigint  NOT NULL PRIMARY KEY,
    id         text    COLLATE "C" NOT NULL,
    time       bigint  NOT NULL,
    event      text    COLLATE "C" NOT NULL,
    agent_id   text    COLLATE "C" NOT NULL,
    provider   text    COLLATE "C" NOT NULL,
    risk       integer NOT NULL,
    request_id text    COLLATE "C" NOT NULL,
    details    bytea,
    hash       bytea, -- of the entry's leaf; NULL: it is older than such hashes
    seal       bytea  -- a keyed hash of the entry's place and leaf; NULL: it is older than the key
);

-- One row for each complete run of 256 entries: block b holds the entries
-- 256b+1 to 256b+256. It is written in the transaction of the last of them.
CREATE TABLE keeper.audit_blocks (
    block     bigint  NOT NULL PRIMARY KEY,
    min_time  bigint  NOT NULL,
    max_time  bigint  NOT NULL,
    max_risk  integer NOT NULL,
    high_risk bigint  NOT NULL -- entries of risk 1 or 2 from the log's start to this block's end
);

-- Bloom filters of a block's entries: of their values, and of their paths' trigrams.
CREATE TABLE keeper.audit_filters (
    block    bigint NOT NULL PRIMARY KEY,
    facets   bytea  NOT NULL,
    trigrams bytea  NOT NULL
);

-- One row for each complete run of 1024 blocks, written in the transaction of the
-- last of them.
CREATE TABLE keeper.audit_groups (
    grp      bigint  NOT NULL PRIMARY KEY,
    min_time bigint  NOT NULL,
    max_time bigint  NOT NULL,
    max_risk integer NOT NULL
);

-- The filters of a group's blocks, turned over: for each bit of a filter, 128 bytes
-- that say which blocks have it. A row holds 16 bits.
CREATE TABLE keeper.audit_slices (
    grp      bigint  NOT NULL,
    slice    integer NOT NULL,
    facets   bytea   NOT NULL,
    trigrams bytea   NOT NULL,
    PRIMARY KEY (grp, slice)
);

-- The nodes of the Merkle tree over the entries whose level is a multiple of 8:
-- node idx of level n is over the entries idx * 2^n + 1 to (idx + 1) * 2^n. A node
-- is written in the transaction of the last of its entries.
CREATE TABLE keeper.audit_nodes (
    level integer NOT NULL,
    idx   bigint  NOT NULL,
    hash  bytea   NOT NULL,
    PRIMARY KEY (level, idx)
);

-- Signed heads of the tree.
CREATE TABLE keeper.audit_checkpoints (
    size bigint NOT NULL PRIMARY KEY, -- how many entries it is over
    time bigint NOT NULL,
    note bytea  NOT NULL
);

-- Those by which another key began to sign the log. Unlike the others they stay when the
-- entries that they are over leave: the keys are known by them.
CREATE TABLE keeper.audit_successions (
    size bigint NOT NULL PRIMARY KEY,
    time bigint NOT NULL,
    note bytea  NOT NULL
);

-- What the last checkpoint says of decisions whose outcome was not there yet.
CREATE TABLE keeper.audit_open (
    id        integer  NOT NULL PRIMARY KEY CHECK (id = 1),
    size      bigint   NOT NULL, -- the checkpoint's
    decisions bigint[] NOT NULL
);

-- Written by the health check and read by nobody.
CREATE TABLE keeper.heartbeat (
    id integer NOT NULL PRIMARY KEY CHECK (id = 1),
    at bigint  NOT NULL
);
