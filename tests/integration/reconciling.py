"""Four accounts of each quota, on real stores, after a hand was in one of them: `holdfast reconcile`."""
import subprocess

import grpc

import harness
from harness import DIR, admin, quota, redis, server, service, sql

CLIENT = harness.os.path.abspath(harness.os.environ["HOLDFAST_TEST_CLI"])
JOBS = 5
UNITS = 7


def holdfast(*args):
    ended = subprocess.run([CLIENT, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=60, cwd=DIR,
                           env=dict(harness.os.environ, HOLDFAST_LISTEN=server.address))
    return ended.returncode, ended.stdout, ended.stderr


class Reconciling(harness.Case):
    def setUp(self):
        super().setUp()
        self.limit("tokens", 10_000)
        self.limit("requests", 10_000)
        for i in range(1, JOBS + 1):
            self.use(f"job-{i}")
        self.number, = sql(f"SELECT tenant_id FROM tenant WHERE name = '{self.tenant}'")
        self.tokens, = sql(f"SELECT limit_id FROM limit_ WHERE tenant_id = {self.number}"
                           " AND name = 'tokens'")
        self.row = f"tenant_id = {self.number} AND limit_id = {self.tokens}"

    def use(self, job):
        self.reserve(job)
        return server.quota.Commit(service.CommitRequest(tenant=self.tenant, job_id=job))

    def reserve(self, job):
        return server.quota.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id=job, amounts=[quota.Amount(meter="tokens", units=UNITS),
                                                     quota.Amount(meter="requests", units=1)]))

    def reconcile(self, **more):
        return server.admin.GetReconciliation(
            admin.GetReconciliationRequest(tenant=self.tenant, **more))

    def expect(self, kind=None, is_=0, other=0):
        """That alone differs, of the limit tokens; the command says so too."""
        answer = self.reconcile(drifts_only=True)
        found = [(q.limit_id, d.kind, getattr(d, "is"), d.other) for q in answer.quotas for d in q.drifts]
        wanted = [("tokens", getattr(admin, f"DRIFT_KIND_{kind}"), is_, other)] if kind else []
        self.assertEqual(found, wanted)
        code, out, _ = holdfast("reconcile", "-t", self.tenant)
        self.assertEqual(code, 4 if kind else 0, out)
        self.assertIn(f"{kind}: {is_}, should be {other};" if kind else "0 of 2 limits", out)

    def test_accounts_that_nobody_touched_agree(self):
        self.reserve("live")
        answer = self.reconcile()
        self.assertEqual((answer.looked_at, answer.degraded, answer.next_page_token), (2, False, ""))
        tokens = next(q for q in answer.quotas if q.limit_id == "tokens")
        used = UNITS * JOBS
        self.assertEqual((tokens.committed, tokens.debt, tokens.entries), (used, 0, JOBS))
        self.assertEqual((tokens.ledger_committed, tokens.ledger_debt, tokens.ledger_entries), (used, 0, JOBS))
        self.assertEqual((tokens.leased, tokens.postgres_held), (tokens.leases_sum, tokens.holds_sum))
        self.assertGreater(tokens.leased, 0)
        self.assertTrue(tokens.redis_compared)
        self.assertEqual((tokens.redis_held, tokens.redis_used), (UNITS, used))
        self.expect()

    def test_pages_are_of_the_same_list(self):
        first = self.reconcile(page_size=1)
        second = self.reconcile(page_size=1, page_token=first.next_page_token)
        self.assertNotEqual(first.quotas[0].limit_id, second.quotas[0].limit_id)
        self.error(lambda: self.reconcile(page_token=first.next_page_token, drifts_only=True),
                   grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")

    def test_a_tenant_that_is_not_there(self):
        self.error(lambda: server.admin.GetReconciliation(admin.GetReconciliationRequest(tenant="none")),
                   grpc.StatusCode.NOT_FOUND, "UNKNOWN_TENANT")

    def test_committed_that_was_altered(self):
        sql(f"UPDATE quota SET committed = committed + 3 WHERE {self.row}")
        answer = self.reconcile(drifts_only=True)
        self.assertIn((admin.DRIFT_KIND_LEDGER, UNITS * JOBS + 3, UNITS * JOBS),
                      [(d.kind, getattr(d, "is"), d.other) for d in answer.quotas[0].drifts])

    def test_leased_that_was_altered(self):
        leased, = sql(f"SELECT leased FROM quota WHERE {self.row}")
        sql(f"UPDATE quota SET leased = leased + 9 WHERE {self.row}")
        self.expect("LEASES", int(leased) + 9, int(leased))

    def test_a_hold_in_postgres_that_was_deleted(self):
        server.quota.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id="long", amounts=[quota.Amount(meter="tokens", units=11)],
            ttl={"seconds": 7200}))
        held, = sql(f"SELECT pg_held FROM quota WHERE {self.row}")
        self.assertEqual(int(held), 11)
        self.expect()
        sql(f"DELETE FROM pg_hold WHERE tenant_id = {self.number}")
        self.expect("HOLDS", 11, 0)
        code, out, _ = holdfast("verify", "-t", self.tenant)
        self.assertEqual(code, 4)
        self.assertIn("held in Postgres is 11, its holds add up to 0", out)

    def test_an_entry_that_was_deleted(self):
        sql(f"DELETE FROM ledger WHERE tenant_id = {self.number} AND job_id = 'job-2' AND meter = 'tokens'")
        self.expect("ENTRIES", UNITS * JOBS, UNITS * (JOBS - 1))

    def test_spent_that_was_altered_in_redis(self):
        spent, = sql(f"SELECT spent FROM quota WHERE {self.row}")
        self.alter_redis(4, lambda spent: spent + 100)
        self.expect("REDIS", int(spent) + 100, int(spent))

    def alter_redis(self, at, change):
        """One number of the quota's text in its tenant's hash (counter/README.md): H L G B S ..."""
        key, = redis("--scan", "--pattern", f"q:*:t:{self.number}")
        text, = redis("HGET", key, f"{self.tokens}:0")
        numbers = text.split()
        numbers[at] = str(change(int(numbers[at])))
        redis("HSET", key, f"{self.tokens}:0", " ".join(numbers))


if __name__ == "__main__":
    harness.main()
