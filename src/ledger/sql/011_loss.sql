-- What this database has lost (quota/loss.h), and which history of it has been compared with Redis (losses.c).
--
-- A server of before knows none of it: it commits for a tenant that is read-only, and on a database that is not
-- compared yet.
--
-- The role of the service needs SELECT, INSERT, UPDATE and DELETE on loss, SELECT and UPDATE on history.

CREATE TABLE history (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system bigint NOT NULL,
    timeline bigint NOT NULL,
    compared timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO history (system, timeline)
    SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
    FROM pg_control_system();
COMMENT ON TABLE history IS
    'The cluster and timeline that was last compared with Redis. Nothing is committed on another one.';

CREATE TABLE loss (
    tenant_id bigint NOT NULL,
    limit_id bigint NOT NULL,
    period_start_ms bigint NOT NULL,
    lease_id bigint NOT NULL,
    spent bigint NOT NULL CHECK (spent >= 0),
    units bigint NOT NULL CHECK (units >= spent),
    seq bigint NOT NULL,
    seen_seq bigint NOT NULL,
    found timestamptz NOT NULL DEFAULT clock_timestamp(),
    accepted timestamptz,
    PRIMARY KEY (tenant_id, limit_id, period_start_ms)
);
COMMENT ON TABLE loss IS
    'Acknowledged use that Redis had heard of and that no entry of the ledger says. A row goes some time after it was accepted.';
COMMENT ON COLUMN loss.lease_id IS 'Whose units these were; 0: not known.';
COMMENT ON COLUMN loss.spent IS 'Of units, so many from that lease.';
COMMENT ON COLUMN loss.seq IS 'The quota''s ledger_seq when the loss was found; seen_seq: as Redis knew it.';
COMMENT ON COLUMN loss.accepted IS 'An admin accepted it, and an entry of the ledger has the units; null: not yet.';

ALTER TABLE tenant ADD COLUMN read_only boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN tenant.read_only IS 'Something of it was lost: nothing is reserved, committed or extended until that is accepted.';
