-- Holds in Postgres: what a server that uses them asks of pg_hold, and how it is kept small.

-- Pages of a tenant's holds, by deadline; its holds at all (ledger/beat.c).
CREATE INDEX pg_hold_list ON pg_hold (tenant_id, deadline_ms, job_id);

-- While Redis is away every Reserve is a row here, and every Commit takes one away.
ALTER TABLE pg_hold SET (fillfactor = 80, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_limit = 2000);
COMMENT ON COLUMN pg_hold.hold_seq IS
    'From 2^52 on (HOLD_SEQ_POSTGRES, src/quota/hold.h), so that no attempt in Redis has the same number.';
COMMENT ON COLUMN pg_hold.hold IS 'The text of src/quota/hold.h; its leases are 0.';
