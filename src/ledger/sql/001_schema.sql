-- The record and the root of all capacity. Rules of use (lock order, who writes what): ../README.md.
--
-- Keys of everything that belongs to a tenant begin with tenant_id, so that the tables can be spread
-- over machines by it. Times that are compared by machines are bigint milliseconds since 1970
-- (*_ms), in this database's clock; timestamptz is for people. Amounts are 0 to 2^53-1.
--
-- The role of the service needs: SELECT and INSERT everywhere; UPDATE on shard_authority, tenant,
-- limit_, quota, old_lease and pg_hold; DELETE on old_lease, pg_hold, job_fence, expired_hold, quota
-- and event (retention; give it to another role where that is wished); USAGE on the sequences. It
-- needs no DDL and neither UPDATE nor DELETE on ledger and audit: migrations run as another role.

CREATE DOMAIN amount AS bigint
    CHECK (VALUE >= 0 AND VALUE <= 9007199254740991); -- AMOUNT_MAX, base/amount.h

CREATE TABLE shard_authority (
    shard smallint PRIMARY KEY CHECK (shard >= 0 AND shard < 256), -- SHARDS, quota/plan.h
    epoch bigint NOT NULL CHECK (epoch >= 1),
    state "char" NOT NULL CHECK (state IN ('I', 'A')),
    replid text NOT NULL DEFAULT '',
    nonce text NOT NULL DEFAULT '',
    changed timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text NOT NULL DEFAULT ''
);
COMMENT ON TABLE shard_authority IS
    'Which Redis may serve a shard. A row is changed only by compare and set on epoch.';
COMMENT ON COLUMN shard_authority.state IS
    'I: being made ready, nobody uses the shard; A: active.';
COMMENT ON COLUMN shard_authority.replid IS
    'master_replid of the Redis that may serve; empty: none yet.';
COMMENT ON COLUMN shard_authority.nonce IS
    'Random per activation, also in Redis: tells data that was lost or restored from data that is this.';

-- Positions are handed out under a lock that lasts until the end of the transaction, hence they
-- become visible in ascending order and a poll for "greater than the last I saw" misses nothing.
CREATE SEQUENCE config_position_seq;
CREATE FUNCTION config_position_next() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(
        7237117, -- LEDGER_LOCKS, ledger/database_internal.h
        2);
    RETURN nextval('config_position_seq');
END
$$;
COMMENT ON FUNCTION config_position_next() IS
    'For tenant.config_position. The last lock of a transaction: take the tenant''s row FOR UPDATE in a statement before.';

CREATE TABLE tenant (
    tenant_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 64),
    shard smallint NOT NULL CHECK (shard >= 0 AND shard < 256), -- SHARDS, quota/plan.h
    state "char" NOT NULL DEFAULT 'A' CHECK (state IN ('A', 'S')),
    display_name text NOT NULL DEFAULT '',
    admit_unlimited_meters boolean NOT NULL DEFAULT false,
    config_version bigint NOT NULL DEFAULT 1,
    config_position bigint NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    event_seq bigint NOT NULL DEFAULT 0,
    created timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX tenant_config_position ON tenant (config_position);
COMMENT ON COLUMN tenant.shard IS 'xxh3(name) modulo 256; never changes.';
COMMENT ON COLUMN tenant.state IS 'A: active; S: suspended.';
COMMENT ON COLUMN tenant.config_version IS
    'Goes up with every change of the tenant or its limits; scripts compare it.';
COMMENT ON COLUMN tenant.config_position IS
    'config_position_next() at the last change: how servers find out what changed.';
COMMENT ON COLUMN tenant.version IS 'The etag of the tenant itself.';
COMMENT ON COLUMN tenant.event_seq IS
    'seq of the newest event. Locked last in a transaction, and only when there are events.';

CREATE TABLE limit_ (
    tenant_id bigint NOT NULL REFERENCES tenant,
    limit_id bigint GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 128),
    scope text COLLATE "C" NOT NULL CHECK (octet_length(scope) <= 259), -- SCOPE_BYTES_MAX, quota/hold.h
    meter text COLLATE "C" NOT NULL CHECK (octet_length(meter) BETWEEN 1 AND 64),
    period_kind smallint NOT NULL,
    unlimited boolean NOT NULL,
    amount amount NOT NULL,
    soft_percent smallint NOT NULL,
    overage_kind smallint NOT NULL,
    overage amount NOT NULL,
    cap amount NOT NULL,
    soft amount NOT NULL,
    max_ttl_ms bigint NOT NULL DEFAULT 0,
    implicit boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, limit_id),
    CHECK (amount <= cap)
);
CREATE UNIQUE INDEX limit_name ON limit_ (tenant_id, name) WHERE deleted_at IS NULL;
COMMENT ON TABLE limit_ IS
    'What a tenant may use. name, scope, meter and period_kind of a row never change, and rows are never deleted: other tables refer to them.';
COMMENT ON COLUMN limit_.limit_id IS 'Never used again.';
COMMENT ON COLUMN limit_.scope IS 'Empty: the tenant itself.';
COMMENT ON COLUMN limit_.period_kind IS 'holdfast.v1.Period: 1 never, 2 minute, 3 hour, 4 day, 6 month.';
COMMENT ON COLUMN limit_.amount IS '2^53-1 if unlimited.';
COMMENT ON COLUMN limit_.overage_kind IS '0 none, 1 units, 2 percent, 3 unlimited: what overage means.';
COMMENT ON COLUMN limit_.cap IS 'amount plus overage, at most 2^53-1 (also when the overage is unlimited).';
COMMENT ON COLUMN limit_.soft IS 'amount times soft_percent, rounded up.';
COMMENT ON COLUMN limit_.max_ttl_ms IS '0: the server''s.';
COMMENT ON COLUMN limit_.implicit IS
    'Made by the service for a meter without a limit, for tenants that admit those.';
COMMENT ON COLUMN limit_.version IS 'The etag.';

CREATE TABLE quota (
    tenant_id bigint NOT NULL,
    limit_id bigint NOT NULL,
    period_start_ms bigint NOT NULL CHECK (period_start_ms >= 0),
    period_end_ms bigint NOT NULL,
    limit_amount amount NOT NULL,
    cap_amount amount NOT NULL,
    soft_amount amount NOT NULL,
    unlimited boolean NOT NULL,
    committed amount NOT NULL DEFAULT 0,
    debt amount NOT NULL DEFAULT 0,
    pg_held amount NOT NULL DEFAULT 0,
    leased amount NOT NULL DEFAULT 0,
    lease_id bigint NOT NULL DEFAULT 0 CHECK (lease_id >= 0),
    granted bigint NOT NULL DEFAULT 0,
    returned bigint NOT NULL DEFAULT 0,
    spent bigint NOT NULL DEFAULT 0,
    lease_deadline_ms bigint NOT NULL DEFAULT 0,
    lease_target amount NOT NULL DEFAULT 0,
    recall boolean NOT NULL DEFAULT false,
    reaped_to_ms bigint NOT NULL DEFAULT 0,
    ledger_seq bigint NOT NULL DEFAULT 0,
    level smallint NOT NULL DEFAULT 0,
    state "char" NOT NULL DEFAULT 'O' CHECK (state IN ('O', 'C', 'X')),
    PRIMARY KEY (tenant_id, limit_id, period_start_ms),
    CHECK (spent >= 0 AND returned >= 0 AND spent + returned <= granted),
    CHECK (granted - returned - spent <= leased),
    CHECK (lease_id > 0 OR granted = 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX quota_recall ON quota (tenant_id, limit_id, period_start_ms) WHERE recall;
CREATE INDEX quota_end ON quota (period_end_ms) WHERE state <> 'X';
CREATE INDEX quota_closed ON quota (period_end_ms) WHERE state = 'X';
COMMENT ON TABLE quota IS
    'The root row of one limit in one period. Capacity is lent only while committed + debt + pg_held + leased + x <= cap_amount; that is a condition of each grant and no constraint, because a limit may be lowered under what is out.';
COMMENT ON COLUMN quota.period_start_ms IS '0 for limits that never start anew.';
COMMENT ON COLUMN quota.period_end_ms IS '2^63-1 for limits that never start anew.';
COMMENT ON COLUMN quota.limit_amount IS
    'Like cap_amount, soft_amount and unlimited: copied from limit_, changed under this row''s lock.';
COMMENT ON COLUMN quota.debt IS
    'Used beyond the cap: work that was done anyway and is recorded all the same.';
COMMENT ON COLUMN quota.pg_held IS 'Held by rows of pg_hold.';
COMMENT ON COLUMN quota.leased IS
    'Sum of granted - returned - spent over the current lease and those in old_lease.';
COMMENT ON COLUMN quota.lease_id IS 'The current lease, epoch * 2^20 + n; 0: none yet.';
COMMENT ON COLUMN quota.granted IS 'Of the current lease; like returned and spent cumulative.';
COMMENT ON COLUMN quota.lease_deadline_ms IS 'No hold under the lease lasts longer.';
COMMENT ON COLUMN quota.lease_target IS 'How much a refill leaves lent and unspent.';
COMMENT ON COLUMN quota.recall IS 'Idle capacity is to be taken back from Redis.';
COMMENT ON COLUMN quota.reaped_to_ms IS
    'No hold with a deadline up to here is live any more; never goes back.';
COMMENT ON COLUMN quota.ledger_seq IS 'Number of ledger entries counted against this row.';
COMMENT ON COLUMN quota.level IS 'Stops that are passed: 1 soft + 2 hard + 4 cap.';
COMMENT ON COLUMN quota.state IS
    'O: open; C: its period is over and it closes; X: closed, grants nothing.';

CREATE TABLE old_lease (
    tenant_id bigint NOT NULL,
    limit_id bigint NOT NULL,
    period_start_ms bigint NOT NULL,
    lease_id bigint NOT NULL CHECK (lease_id > 0),
    granted bigint NOT NULL,
    returned bigint NOT NULL,
    spent bigint NOT NULL,
    deadline_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, limit_id, period_start_ms, lease_id),
    CHECK (spent >= 0 AND returned >= 0 AND spent + returned <= granted)
);
CREATE INDEX old_lease_deadline ON old_lease (deadline_ms);
COMMENT ON TABLE old_lease IS
    'Leases of Redis incarnations that are gone. What is out under them stays set aside, so that lost holds can still commit, until the deadline has passed.';

CREATE TABLE ledger (
    tenant_id bigint NOT NULL,
    job_id text COLLATE "C" NOT NULL CHECK (octet_length(job_id) BETWEEN 1 AND 255), -- JOB_ID_BYTES_MAX, quota/hold.h
    entry smallint NOT NULL CHECK (entry >= 0),
    hold_epoch bigint NOT NULL,
    hold_seq bigint NOT NULL,
    scope text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    asked amount,
    amount amount NOT NULL,
    debt amount NOT NULL,
    held amount NOT NULL,
    late boolean NOT NULL,
    counted bigint[] NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id, entry),
    CHECK (cardinality(counted) % 5 = 0)
) PARTITION BY HASH (tenant_id);
DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format('CREATE TABLE ledger_%s PARTITION OF ledger'
                       ' FOR VALUES WITH (MODULUS 16, REMAINDER %s)', i, i);
    END LOOP;
END
$$;
COMMENT ON TABLE ledger IS
    'The record: one entry per meter of each committed job, for ever. Entry 0 always exists and is inserted first, so that its key is what makes a job unique.';
COMMENT ON COLUMN ledger.hold_epoch IS 'With hold_seq: the attempt that was committed.';
COMMENT ON COLUMN ledger.asked IS 'What the caller said was used; null: the whole hold.';
COMMENT ON COLUMN ledger.amount IS 'Counted as committed. asked - amount - debt was dropped.';
COMMENT ON COLUMN ledger.held IS 'What had been reserved of the meter.';
COMMENT ON COLUMN ledger.late IS 'The hold had expired; the amount was counted against what was left.';
COMMENT ON COLUMN ledger.counted IS
    'Five numbers per quota: limit_id, period_start_ms, that quota''s ledger_seq, amount, debt.';

CREATE TABLE job_fence (
    tenant_id bigint NOT NULL,
    job_id text COLLATE "C" NOT NULL CHECK (octet_length(job_id) BETWEEN 1 AND 255), -- JOB_ID_BYTES_MAX, quota/hold.h
    epoch bigint NOT NULL,
    hold_seq bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    purge_after timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id, epoch, hold_seq)
);
CREATE INDEX job_fence_purge ON job_fence (purge_after);
COMMENT ON TABLE job_fence IS 'Attempts that were released: they never commit.';

CREATE TABLE expired_hold (
    tenant_id bigint NOT NULL,
    job_id text COLLATE "C" NOT NULL CHECK (octet_length(job_id) BETWEEN 1 AND 255), -- JOB_ID_BYTES_MAX, quota/hold.h
    epoch bigint NOT NULL,
    hold_seq bigint NOT NULL,
    hold text NOT NULL,
    deadline_ms bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    purge_after timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id, epoch, hold_seq)
);
CREATE INDEX expired_hold_purge ON expired_hold (purge_after);
COMMENT ON TABLE expired_hold IS
    'Holds that were reaped without a commit: what a late Commit by job id and GetReservation need.';
COMMENT ON COLUMN expired_hold.hold IS 'The text of src/quota/hold.h.';

CREATE TABLE pg_hold (
    tenant_id bigint NOT NULL,
    job_id text COLLATE "C" NOT NULL CHECK (octet_length(job_id) BETWEEN 1 AND 255), -- JOB_ID_BYTES_MAX, quota/hold.h
    epoch bigint NOT NULL,
    hold_seq bigint NOT NULL,
    hold text NOT NULL,
    deadline_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, job_id)
);
CREATE INDEX pg_hold_deadline ON pg_hold (deadline_ms);
COMMENT ON TABLE pg_hold IS
    'Holds taken directly here, while Redis is away or for long; counted in quota.pg_held.';

CREATE TABLE event (
    tenant_id bigint NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    kind smallint NOT NULL,
    direction smallint NOT NULL DEFAULT 0,
    basis smallint NOT NULL DEFAULT 0,
    limit_id bigint,
    period_start_ms bigint,
    period_end_ms bigint,
    limit_amount amount,
    soft_amount amount,
    cap_amount amount,
    unlimited boolean,
    committed amount,
    debt amount,
    ledger_seq bigint,
    level smallint NOT NULL DEFAULT 0,
    job_id text COLLATE "C" NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    hold_seq bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX event_at ON event USING brin (at);
COMMENT ON TABLE event IS
    'What watchers are told. seq is 1, 2, 3 ... per tenant without a gap and in commit order, because it comes from the locked row of the tenant.';
COMMENT ON COLUMN event.kind IS 'holdfast.v1.EventKind.';
COMMENT ON COLUMN event.direction IS '0 none, 1 up, 2 down.';
COMMENT ON COLUMN event.basis IS '0: not a crossing; 1: of committed use; 2: with what is held.';
COMMENT ON COLUMN event.limit_id IS
    'Null, with all that describes a quota, for events of a job alone. Names: limit_.';
COMMENT ON COLUMN event.committed IS 'Of the quota right after the event, like debt and ledger_seq.';
COMMENT ON COLUMN event.level IS 'holdfast.v1.Level right after the event.';

CREATE TABLE audit (
    tenant_id bigint NOT NULL,
    audit_id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    action text NOT NULL,
    object text NOT NULL,
    request_id text COLLATE "C",
    request_hash bytea,
    old jsonb,
    new jsonb,
    PRIMARY KEY (tenant_id, audit_id)
);
CREATE UNIQUE INDEX audit_request ON audit (tenant_id, request_id) WHERE request_id IS NOT NULL;
COMMENT ON TABLE audit IS 'Every admin change, written in its transaction. Never changed.';
COMMENT ON COLUMN audit.request_id IS 'Null: the caller gave none.';
COMMENT ON COLUMN audit.request_hash IS
    'Of what was asked for: the same request_id with other content is refused.';
COMMENT ON COLUMN audit.old IS 'The object before; null: it was made.';
COMMENT ON COLUMN audit.new IS 'The object after, which is the answer to a repeat; null: it was deleted.';
