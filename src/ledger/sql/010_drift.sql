-- Drift: accounts of a quota that differ (quota/drift.h), from the look that found them to the one that found
-- them to agree again (op/duty_reconcile.c). Usually empty; at most 1000 rows.
--
-- The role of the service needs SELECT, INSERT, UPDATE and DELETE on it.
CREATE TABLE drift (
    tenant_id bigint NOT NULL,
    limit_id bigint NOT NULL,
    period_start_ms bigint NOT NULL,
    kind smallint NOT NULL,
    row_says bigint NOT NULL,
    other bigint NOT NULL,
    units bigint NOT NULL,
    since_ms bigint NOT NULL,
    told boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, limit_id, period_start_ms, kind)
);
COMMENT ON TABLE drift IS 'Accounts of quotas that differ now, as they were last seen.';
COMMENT ON COLUMN drift.kind IS 'holdfast.v1.DriftKind.';
COMMENT ON COLUMN drift.row_says IS 'What the quota''s row says; of REDIS: what Redis shows.';
COMMENT ON COLUMN drift.other IS 'What it should agree with.';
COMMENT ON COLUMN drift.told IS 'The tenant was sent DRIFT, and is to be sent RECOVERED.';
