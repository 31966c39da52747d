-- Seals: the entries of each quota in the order of their numbers, as a chain of digests (quota/chain.h), signed.
-- One server at a time writes them, some seconds behind the ledger and apart from every Commit (seal.c).
--
-- What is new in the ledger is found by its time. A BRIN costs a Commit next to nothing (ledger/README.md,
-- "Seals"). Ranges of pages that have no summary yet are read each time: the sealer makes the summaries
-- (seal_ranges.c), which the owner of the index may, and whoever is a member of that role. Elsewhere
-- VACUUM makes them.
--
-- Making the index reads a ledger that is there already once, and Commits wait meanwhile.
--
-- The role of the service needs SELECT, INSERT and UPDATE on seal, seal_head and seal_state. It never
-- deletes from them: a seal is what proves an old period when its quota row is gone.

CREATE INDEX ledger_at ON ledger USING brin (at) WITH (pages_per_range = 32); -- SEAL_RANGE_PAGES, ledger/ledger.h

CREATE TABLE seal (
    tenant_id bigint NOT NULL,
    limit_id bigint NOT NULL,
    period_start_ms bigint NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    seq bigint NOT NULL,
    amount bigint NOT NULL,
    debt bigint NOT NULL,
    at_ms bigint NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32), -- DIGEST_BYTES, base/digest.h
    kid smallint NOT NULL,
    code bytea NOT NULL CHECK (octet_length(code) = 16), -- CHAIN_CODE_BYTES, quota/chain.h
    gap_seq bigint NOT NULL DEFAULT 0,
    gap_looked_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, limit_id, period_start_ms)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_cost_limit = 2000);
CREATE INDEX seal_gap ON seal (gap_looked_ms) WHERE gap_seq > 0;
COMMENT ON TABLE seal IS
    'One row for each quota that anything is recorded of, changed as the quota moves on and kept for ever, as the ledger is: never more rows than the ledger has.';
COMMENT ON COLUMN seal.number IS '1, 2, 3 ... in the tenant, without a gap; seal_head says how many.';
COMMENT ON COLUMN seal.seq IS 'Entries of the ledger that are sealed: ledger_seq 1 to this.';
COMMENT ON COLUMN seal.amount IS 'Their sum, as in quota.committed; debt likewise.';
COMMENT ON COLUMN seal.at_ms IS 'Time of the last of them.';
COMMENT ON COLUMN seal.code IS 'HMAC of all before it, under a key derived from the token key kid.';
COMMENT ON COLUMN seal.gap_seq IS
    'The entry with this number was not found when a later one was; 0: all are there. Looked for again once a minute.';

CREATE TABLE seal_head (
    tenant_id bigint PRIMARY KEY,
    seals bigint NOT NULL,
    kid smallint NOT NULL,
    code bytea NOT NULL CHECK (octet_length(code) = 16) -- CHAIN_CODE_BYTES, quota/chain.h
) WITH (fillfactor = 70);
COMMENT ON TABLE seal_head IS 'How many seals each tenant has, signed: none can go unseen.';

CREATE TABLE seal_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    sealed_to_ms bigint NOT NULL DEFAULT 0
);
INSERT INTO seal_state DEFAULT VALUES;
COMMENT ON TABLE seal_state IS
    'Its one row is locked by whoever seals. Entries of before sealed_to_ms are sealed, or in a gap.';
