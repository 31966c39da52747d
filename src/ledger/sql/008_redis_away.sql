-- What a limit does while Redis is away (src/op/PROTOCOL.md 3.9). A server that does not know the columns
-- leaves them as they are, and holds in Postgres.
ALTER TABLE limit_ ADD COLUMN redis_away smallint NOT NULL DEFAULT 1,
    ADD COLUMN redis_away_units amount NOT NULL DEFAULT 0;
COMMENT ON COLUMN limit_.redis_away IS 'holdfast.v1.RedisAway: 1 postgres, 2 closed, 3 open.';
COMMENT ON COLUMN limit_.redis_away_units IS
    'Open: how much each server admits that no store has counted; else 0.';
