-- Who is there: each server says so once a second. Shards are shared out among those that are there
-- (src/op/shares.h). Unlogged: a row costs no flush, and after a crash all servers write anew.
CREATE UNLOGGED TABLE server (
    name text PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 255),
    until_ms bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON COLUMN server.until_ms IS 'Counts as there until then, in this database''s clock.';
