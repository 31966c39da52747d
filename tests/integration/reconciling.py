"""Four accounts of each quota, on real stores, after a hand was in one of them: `holdfast reconcile`."""
import subprocess
import threading

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


class Books(harness.Case):
    """A tenant with some use, and hands for its accounts."""

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
        return server.quota.Commit(service.CommitRequest(
            reservation_id=self.reserve(job).reservation_id))

    def reserve(self, job, on=None):
        return (on or server).quota.Reserve(service.ReserveRequest(
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
        self.assertIn(f"{kind}: {is_}, should be {other}" if kind else "0 of 2 limits", out)

    def alter_redis(self, at, change):
        """One number of the quota's text in its tenant's hash (counter/README.md): H L G B S ..."""
        key, = redis("--scan", "--pattern", f"q:*:t:{self.number}")
        text, = redis("HGET", key, f"{self.tokens}:0")
        numbers = text.split()
        numbers[at] = str(change(int(numbers[at])))
        redis("HSET", key, f"{self.tokens}:0", " ".join(numbers))


class Reconciling(Books):
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

    def status(self):
        return server.admin.GetStatus(admin.GetStatusRequest())

    def kept(self):
        return sql(f"SELECT kind, told FROM drift WHERE tenant_id = {self.number} ORDER BY 1")

    def events(self):
        return sql(f"SELECT kind, recovered_from FROM event WHERE tenant_id = {self.number}"
                   " AND (kind = 10 OR recovered_from = 10) ORDER BY seq")

    def test_a_drift_is_found_aged_told_and_over(self):
        """By the server itself. The one in the record is too small for an event."""
        sql(f"UPDATE quota SET pg_held = pg_held + 50 WHERE {self.row}")
        sql(f"CREATE TABLE taken AS SELECT * FROM ledger WHERE tenant_id = {self.number}"
            " AND job_id = 'job-2' AND meter = 'tokens'")
        sql(f"DELETE FROM ledger WHERE tenant_id = {self.number} AND job_id = 'job-2' AND meter = 'tokens'")
        self.until(lambda: len(self.kept()) == 2, 90)
        self.assertEqual([row.split("|")[0] for row in self.kept()], ["2", "4"])
        status = self.status()
        self.assertGreaterEqual(status.drifts, 2)
        self.assertGreaterEqual(status.drift_worst, 50)
        self.assertIn("accounts differ", holdfast("status")[1])
        self.assertIn(", since 2", holdfast("reconcile", "-t", self.tenant)[1])
        self.until(lambda: self.events() == ["10|0"], 60)
        sql(f"UPDATE quota SET pg_held = pg_held - 50 WHERE {self.row}")
        sql("INSERT INTO ledger SELECT * FROM taken")
        sql("DROP TABLE taken")
        self.until(lambda: self.events() == ["10|0", "9|10"], 60)
        self.until(lambda: self.kept() == [], 60)
        self.expect()

    def test_two_servers_that_are_killed_are_no_drift(self):
        """Callers at both, each killed twice in the middle; then a real drift shows that somebody looks."""
        other, stop, done = harness.Server(), threading.Event(), []
        for meter in ("tokens", "requests"):
            self.limit(meter, 1_000_000_000)  # however fast the machine is

        def run(number):
            while not stop.is_set():
                on = (server, other)[number % 2]
                try:
                    held = self.reserve(f"{number}-{next(harness.ids)}", on)
                    on.quota.Commit(service.CommitRequest(reservation_id=held.reservation_id), timeout=5)
                    done.append(number)
                except (grpc.RpcError, ValueError):  # killed; a channel that is closed
                    stop.wait(0.05)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            for one in (server, other, server, other):
                before = len(done)
                self.until(lambda before=before: len(done) > before + 50, 30)
                one.restart()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.until(lambda: self.reconcile().quotas[0].redis_compared, 30)
        self.expect()
        for one in (server, other):
            self.assertNotIn(f"event=drift.began tenant={self.number} ", one.log_path.read_text())
        sql(f"UPDATE quota SET pg_held = pg_held + 50 WHERE {self.row}")
        self.until(lambda: self.kept() == ["2|f"] or self.kept() == ["2|t"], 60)
        other.stop()

    def test_a_drift_ends_wherever_it_is(self):
        """In a tenant with more entries than are read, and in one with more quotas than a look takes."""
        number = self.number
        sql("INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount, soft_percent,"
            " overage_kind, overage, cap, soft) SELECT tenant_id, 'more-' || n, scope, 'more-' || n, period_kind,"
            " unlimited, amount, soft_percent, overage_kind, overage, cap, soft FROM limit_,"
            f" generate_series(1, 600) n WHERE {self.row}")
        sql("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms, limit_amount, cap_amount,"
            " soft_amount, unlimited) SELECT l.tenant_id, l.limit_id, 0, period_end_ms, limit_amount, cap_amount,"
            f" soft_amount, q.unlimited FROM limit_ l, quota q WHERE l.tenant_id = {number} AND l.name LIKE 'more-%'"
            f" AND q.tenant_id = {number} AND q.limit_id = {self.tokens}")
        last = (f"tenant_id = {number} AND limit_id = (SELECT max(limit_id) FROM limit_"
                f" WHERE tenant_id = {number})")
        sql(f"UPDATE quota SET committed = 3 WHERE {last}")
        self.until(lambda: self.kept() == ["3|f"], 60)
        sql(f"UPDATE quota SET committed = 0 WHERE {last}")
        self.until(lambda: self.kept() == [], 60)
        sql(f"UPDATE quota SET ledger_seq = ledger_seq + 200000 WHERE tenant_id = {number}"
            f" AND limit_id <> {self.tokens} AND ledger_seq > 0")
        self.until(lambda: sql(f"SELECT seq FROM seal WHERE {self.row}") == [str(JOBS)], 30)
        sql(f"UPDATE quota SET committed = committed + 3 WHERE {self.row}")
        self.until(lambda: "3|f" in self.kept(), 60)
        sql(f"UPDATE quota SET committed = committed - 3 WHERE {self.row}")
        self.until(lambda: "3|f" not in self.kept(), 60)

    def test_redis_that_was_not_told_is_told_again(self):
        self.reserve("live")
        self.alter_redis(4, lambda spent: spent - UNITS)
        self.until(lambda: self.read_redis(4) == self.spent(), 60)
        self.assertEqual(self.kept(), [])

    def spent(self):
        return int(sql(f"SELECT spent FROM quota WHERE {self.row}")[0])

    def read_redis(self, at):
        key, = redis("--scan", "--pattern", f"q:*:t:{self.number}")
        return int(redis("HGET", key, f"{self.tokens}:0")[0].split()[at])


if __name__ == "__main__":
    harness.main()
