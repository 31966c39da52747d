-- Reaps that this database has forgotten: holds with a deadline up to here may be gone from Redis, so what they held
-- is nobody's, and a late commit of one finds nothing of its own in its lease (quota/settle.c).
--
-- Additive: a server of before goes on; a history that it marks as compared leaves the number as it is.
ALTER TABLE history ADD COLUMN reaped_to_ms bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN history.reaped_to_ms IS
    'When another history was last compared; no quota''s reaped_to_ms counts as less. 0: never.';
