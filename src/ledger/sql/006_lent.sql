-- Idle capacity comes back (src/op/idle.h): whoever looks for it reads the rows that have something lent
-- and no others. The column is of its own, so that a commit, which moves all the numbers that it is made of,
-- does not move an index. A quota that has settled is not in it.
ALTER TABLE quota ADD COLUMN lent boolean GENERATED ALWAYS AS (granted > returned + spent) STORED;
COMMENT ON COLUMN quota.lent IS 'Something is out under the current lease.';
CREATE INDEX quota_lent ON quota (tenant_id, limit_id, period_start_ms) WHERE lent;
