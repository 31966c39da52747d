-- What makes the tables stay as small as what is kept: each deletion and each turn of the janitor finds
-- its rows by an index of nothing else, so that it costs what it does (README.md, "What goes, and when").

-- A period that is over is followed up once: its limit's current period is made, if it was used.
ALTER TABLE quota ADD COLUMN followed boolean NOT NULL DEFAULT true;
ALTER TABLE quota ALTER COLUMN followed SET DEFAULT false;
UPDATE quota SET followed = false WHERE state = 'O'
    AND period_end_ms < 9223372036854775807 -- PERIOD_END_NEVER, quota/period.h
    AND period_end_ms > (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint);
COMMENT ON COLUMN quota.followed IS
    'The period is over and has been followed up: by the next one, or by nothing if it was not used.';
CREATE INDEX quota_follow ON quota ((level = 0), period_end_ms)
    WHERE NOT followed AND period_end_ms < 9223372036854775807; -- PERIOD_END_NEVER, quota/period.h

-- Closed rows are kept for a week, or for 31 times their period: a day for a month, a month for 2.6 years.
DROP INDEX quota_closed;
CREATE INDEX quota_purge ON quota
    ((period_end_ms + greatest(
        604800000, -- PERIOD_KEEP_MS, quota/times.h
        31 -- PERIOD_KEEP_TIMES, quota/times.h
        * (period_end_ms - period_start_ms))))
    WHERE state = 'X' AND period_end_ms < 9223372036854775807; -- PERIOD_END_NEVER, quota/period.h

-- A BRIN of times read whole ranges of pages for each few rows, also those whose rows were gone.
DROP INDEX event_at;
CREATE INDEX event_at ON event (at);

-- Dead rows are cleaned up after some thousands of them, not after a share of a table that may be huge,
-- and without the pauses that are meant for tables nobody is waiting on.
ALTER TABLE quota SET (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 5000, autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE tenant SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE old_lease SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE event SET (autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0.005,
    autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE job_fence SET (autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0.005,
    autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE expired_hold SET (autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_scale_factor = 0.005, autovacuum_vacuum_cost_limit = 2000);
