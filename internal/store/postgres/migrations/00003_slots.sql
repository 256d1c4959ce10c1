-- Calls at once, of a quota that several keepers share. Keepers of the schema before
-- count their own alone, and go on to.

-- +goose Up
-- How many of a quota's calls at once a keeper may have under way, until a time by the
-- database's clock that it puts off while it lives.
CREATE TABLE keeper.quota_slots (
    name        text   COLLATE "C" NOT NULL,
    share       text   COLLATE "C" NOT NULL,
    member      text   COLLATE "C" NOT NULL,
    held        bigint NOT NULL,
    running     bigint NOT NULL, -- calls under way when it last said so
    until       bigint NOT NULL,
    short       bigint NOT NULL, -- how many more it wanted
    short_until bigint NOT NULL,
    PRIMARY KEY (name, share, member)
);
CREATE INDEX quota_slots_short ON keeper.quota_slots (short_until) WHERE short > 0;

UPDATE keeper.compatible SET version = 3, oldest = 2 WHERE id = 1;
