-- Several keepers on one database: who they are, where their one log ends, and what they
-- tell one another. Keepers of the schema before hold the database alone, and number the
-- log's entries by what they remember: none of them may write any more.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- The keepers. Each has an id of its own, which its data folder keeps; incarnation is one
-- process of it, and the only one that writes for it. Times are by the database's clock.
CREATE TABLE keeper.members (
    id          text   COLLATE "C" NOT NULL PRIMARY KEY,
    incarnation text   NOT NULL,
    name        text   NOT NULL, -- host and process, for people
    address     text   NOT NULL,
    version     text   NOT NULL,
    state       text   NOT NULL, -- serving, draining or stopped
    started_at  bigint NOT NULL,
    seen_at     bigint NOT NULL,
    shipped     bigint NOT NULL, -- the last of its own numbers whose entry is in the log
    waiting     bigint NOT NULL, -- entries that it has not shipped yet
    applied     bigint NOT NULL  -- the last change that it has taken over
);

-- Changes of what keepers decide by, in the order in which they were committed.
CREATE TABLE keeper.feed (
    seq    bigint NOT NULL PRIMARY KEY,
    at     bigint NOT NULL,
    member text   COLLATE "C" NOT NULL,
    kinds  text[] NOT NULL, -- of rows
    entry  bigint NOT NULL  -- of the log, that says what changed
);

-- Where the log ends: how many entries it has, the largest whole subtrees of its tree, the
-- size of its newest signed head, and the digest of the rows. The seal is a keyed hash of
-- all that, under a key that only the vault has.
CREATE TABLE keeper.log_end (
    id     integer NOT NULL PRIMARY KEY CHECK (id = 1),
    size   bigint  NOT NULL,
    tree   bytea   NOT NULL,
    head   bigint  NOT NULL,
    state  text    NOT NULL,
    cutoff bigint  NOT NULL, -- in seconds since 1970; 0: none
    feed   bigint  NOT NULL, -- the seq of the last change
    seal   bytea   NOT NULL
);

-- Who does what one keeper does for all.
CREATE TABLE keeper.leader (
    id     integer NOT NULL PRIMARY KEY CHECK (id = 1),
    member text    COLLATE "C" NOT NULL,
    until  bigint  NOT NULL -- by the database's clock
);
INSERT INTO keeper.leader (id, member, until) VALUES (1, '', 0);

DROP TABLE keeper.holder;

UPDATE keeper.compatible SET version = 2, oldest = 2 WHERE id = 1;
