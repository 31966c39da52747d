-- Corrections of the record (src/quota/adjust.h): the ledger keeps what was recorded, this table what was
-- changed of it since, for ever. committed and debt of a quota are the sums over both.
--
-- A server that does not know the table seals around its rows: it logs seal.gap, and its VerifyTenant says that
-- entries are missing. So adjust only when all servers know it; the gaps close by themselves.
--
-- The role of the service needs SELECT and INSERT on it; it never changes or deletes a row.
CREATE TABLE ledger_change (
    tenant_id bigint NOT NULL,
    job_id text COLLATE "C" NOT NULL CHECK (octet_length(job_id) BETWEEN 1 AND 255), -- JOB_ID_BYTES_MAX, quota/hold.h
    number bigint NOT NULL CHECK (number > 0),
    kind smallint NOT NULL,
    id text COLLATE "C" NOT NULL CHECK (octet_length(id) BETWEEN 1 AND 255), -- JOB_ID_BYTES_MAX, quota/hold.h
    hold_epoch bigint NOT NULL,
    hold_seq bigint NOT NULL,
    scope text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    delta bigint NOT NULL CHECK (delta <> 0),
    left_units amount NOT NULL,
    counted bigint[] NOT NULL CHECK (cardinality(counted) % 5 = 0),
    closed bigint[] NOT NULL CHECK (cardinality(closed) % 2 = 0),
    reason text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, kind, id, meter),
    UNIQUE (tenant_id, job_id, number)
);
CREATE INDEX ledger_change_at ON ledger_change USING brin (at) WITH (pages_per_range = 32); -- SEAL_RANGE_PAGES, ledger/ledger.h
COMMENT ON TABLE ledger_change IS
    'Signed changes of what the ledger has recorded of a job, one row per meter, for ever.';
COMMENT ON COLUMN ledger_change.number IS '1, 2, 3 ... in the job.';
COMMENT ON COLUMN ledger_change.kind IS 'What made it: 1 Adjust. id is its idempotency key.';
COMMENT ON COLUMN ledger_change.hold_epoch IS 'With hold_seq, scope: those of the record.';
COMMENT ON COLUMN ledger_change.left_units IS 'Of the job and meter, after it.';
COMMENT ON COLUMN ledger_change.counted IS
    'As in ledger, for the quotas that it touches; amount and debt are signed.';
COMMENT ON COLUMN ledger_change.closed IS
    'Two numbers per quota: limit_id, period_start_ms. What of it falls on these was left there.';
