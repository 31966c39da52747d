-- Entries that were lost and accepted: Redis had heard of numbers that the ledger gives a second time. So that it hears
-- of the next ones, it is told numbers that are so much higher (quota/book.h, quota_told_seq).
--
-- Additive. A server of before tells Redis the ledger's own number, which Redis takes for an old one, until the last of
-- them is gone; until then it calls such a quota a drift of Redis.
ALTER TABLE quota ADD COLUMN seq_lost amount NOT NULL DEFAULT 0;
COMMENT ON COLUMN quota.seq_lost IS 'Redis knows the newest entry as number ledger_seq + seq_lost.';
UPDATE quota q SET seq_lost = x.seen_seq - q.ledger_seq + 1 FROM loss x
    WHERE x.accepted IS NOT NULL AND q.tenant_id = x.tenant_id AND q.limit_id = x.limit_id
    AND q.period_start_ms = x.period_start_ms AND q.ledger_seq <= x.seen_seq;
