-- Tenants that are served from Postgres (src/ledger/degraded.c): while a server cannot use Redis.
CREATE TABLE degraded (
    tenant_id bigint NOT NULL,
    server text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, server)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000);
COMMENT ON TABLE degraded IS
    'A row for each tenant and each server that serves it so. The first of a tenant is its event DEGRADED, the end of the last its RECOVERED.';
COMMENT ON COLUMN degraded.server IS 'As in server; of one that is not there any more, the row is over.';
