-- RECOVERED ends a DEGRADED or a DRIFT; which of them, the event says.
ALTER TABLE event ADD COLUMN recovered_from smallint NOT NULL DEFAULT 0;
COMMENT ON COLUMN event.recovered_from IS
    'Of RECOVERED: the kind of the event that is over, 8 DEGRADED or 10 DRIFT; else 0.';
