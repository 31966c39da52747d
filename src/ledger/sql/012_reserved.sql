-- Crossings of what is reserved (src/quota/reserved.h), for limits that want them. A server that does not
-- know the columns leaves them as they are, and tells of no such crossing.
ALTER TABLE limit_ ADD COLUMN reserved_crossings boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN limit_.reserved_crossings IS
    'Crossings of committed use with what is held are told as well.';
ALTER TABLE event ADD COLUMN held amount NOT NULL DEFAULT 0;
COMMENT ON COLUMN event.held IS 'Crossings of what is reserved: what was held, in Redis; else 0.';

-- The role of the service needs SELECT, INSERT, UPDATE and DELETE on it.
CREATE TABLE reserved_level (
    tenant_id bigint NOT NULL,
    limit_id bigint NOT NULL,
    period_start_ms bigint NOT NULL,
    lease_id bigint NOT NULL,
    n bigint NOT NULL,
    level smallint NOT NULL,
    PRIMARY KEY (tenant_id, limit_id, period_start_ms),
    FOREIGN KEY (tenant_id, limit_id, period_start_ms) REFERENCES quota ON DELETE CASCADE
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE reserved_level IS
    'What watchers were told last of quotas of limits with reserved_crossings. Changed under the lock of the row of quota, with which it goes.';
COMMENT ON COLUMN reserved_level.lease_id IS
    'With n: the last change of the level that is in it; Redis counts them.';
COMMENT ON COLUMN reserved_level.level IS 'Stops that are passed: 1 soft + 2 hard + 4 cap.';
