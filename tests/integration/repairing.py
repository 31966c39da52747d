"""Accounts of quotas that a hand was in, put right: RepairDrift and `holdfast reconcile --repair`, on real stores."""
import threading

import grpc

import harness
import reconciling
from harness import admin, quota, server, service, sql
from reconciling import JOBS, UNITS, holdfast


class Repairing(reconciling.Books):
    """What --repair does about each, upward and downward; what it refuses."""

    def repair(self, **more):
        """(kind, repaired) of each."""
        answer = server.admin.RepairDrift(admin.RepairDriftRequest(
            tenant=self.tenant, note=admin.ChangeNote(actor="me", reason="test"), **more), timeout=60)
        self.assertFalse(answer.degraded)
        return [(admin.DriftKind.Name(r.drift.kind)[len("DRIFT_KIND_"):], r.repaired)
                for r in answer.repairs]

    def column(self, name):
        return int(sql(f"SELECT {name} FROM quota WHERE {self.row}")[0])

    def audits(self):
        return len(sql(f"SELECT 1 FROM audit WHERE tenant_id = {self.number} AND action = 'drift.repair'"
                       " AND actor = 'me' AND old <> new AND object = 'tokens'"))

    def damage(self, change):
        sql(f"UPDATE quota SET {change} WHERE {self.row}")

    def aside(self):
        """Units that are set aside."""
        return int(sql("SELECT coalesce(sum(granted - returned - spent), 0) FROM old_lease"
                       f" WHERE {self.row}")[0])

    def lend(self):
        """A hold more, and a lease with something left."""
        self.reserve(f"held-{next(harness.ids)}")
        self.until(lambda: self.column("granted - returned - spent") > UNITS, 10)

    def repaired(self, *kinds, changes=None):
        """First only said, then done, once; each change has its row in the audit."""
        before = self.audits()
        expected = [(kind, True) for kind in kinds]
        self.assertEqual(self.repair(validate_only=True), expected)
        self.assertEqual(self.audits(), before)
        self.assertEqual(self.repair(), expected)
        self.assertEqual(self.repair(), [])
        self.assertEqual(self.audits(), before + (changes or len(kinds)))
        self.expect()

    def refused(self, kind, why):
        row = sql(f"SELECT * FROM quota WHERE {self.row}")
        self.assertEqual(self.repair(), [(kind, False)])
        code, out, _ = holdfast("reconcile", "--repair", "-t", self.tenant)
        self.assertEqual(code, 4)
        self.assertIn("refused: ", out)
        self.assertIn(why, out)
        self.assertEqual(sql(f"SELECT * FROM quota WHERE {self.row}"), row)
        self.assertEqual(self.audits(), 0)

    def works(self):
        try:
            self.use(f"after-{next(harness.ids)}")
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.INTERNAL)
            return False
        return True

    def seal(self):
        """What was recorded until now is sealed."""
        self.until(lambda: sql(f"SELECT seq FROM seal WHERE {self.row}") == [str(JOBS)], 20)

    def test_leased_that_nothing_accounts_for_stays_counted_until_it_is_over(self):
        self.damage("leased = leased + 90")
        self.assertIn("would be repaired",
                      holdfast("reconcile", "--repair", "--dry-run", "-t", self.tenant)[1])
        self.repaired("LEASES")
        self.assertGreater(self.aside(), 90)
        self.assertEqual(self.column("leased"), self.aside())
        self.until(self.works, 20)
        sql(f"UPDATE old_lease SET deadline_ms = 1 WHERE {self.row}")
        self.until(lambda: self.aside() == 0, 10)
        self.expect()

    def test_leases_that_have_more_out_than_leased_says(self):
        sql("INSERT INTO old_lease SELECT tenant_id, limit_id, period_start_ms, 5, 44, 1, 3, 9e15::bigint"
            f" FROM quota WHERE {self.row}")
        self.repaired("LEASES")
        self.assertGreater(self.column("leased"), 40)
        sql(f"DELETE FROM old_lease WHERE {self.row}")
        self.repaired("LEASES")
        self.assertGreater(self.aside(), 40)

    def test_numbers_of_the_lease_that_redis_knows(self):
        self.reserve("live")
        for change, kinds in (("granted = granted - 5", ("LEASES", "REDIS")), ("spent = spent + 3", ("LEASES",)),
                              ("returned = returned + 2", ("LEASES",))):
            with self.subTest(change=change):
                self.lend()
                self.damage(change)
                self.repaired(*kinds, changes=1)
                self.assertGreater(self.column("leased"), UNITS)
                self.until(self.works, 20)
        self.assertFalse(server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id="live")).late)

    def long_hold(self):
        server.quota.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id="long", amounts=[quota.Amount(meter="tokens", units=11)],
            ttl={"seconds": 7200}))

    def test_pg_held_either_way(self):
        self.long_hold()
        self.damage("pg_held = pg_held - 4")
        self.repaired("HOLDS")
        self.assertEqual(self.column("pg_held"), 11)
        self.damage("pg_held = pg_held + 50")
        self.repaired("HOLDS")
        self.assertEqual(self.column("pg_held"), 11)
        self.assertGreater(self.aside(), 50)
        self.assertTrue(self.works())
        self.expect()

    def test_committed_either_way(self):
        self.damage("committed = committed - 3")
        self.assertIn(("LEDGER", True), self.repair())
        self.assertEqual(self.column("committed"), UNITS * JOBS)
        self.expect()
        self.damage("committed = committed + 3")
        self.seal()
        self.assertIn(("LEDGER", True), self.repair())
        self.assertEqual(self.column("committed"), UNITS * JOBS)
        self.assertTrue(self.works())
        self.expect()
        self.assertEqual(holdfast("verify", "-t", self.tenant)[0], 0)

    def test_a_row_that_has_numbered_too_few(self):
        self.damage("ledger_seq = ledger_seq - 2, committed = committed - 2")
        found = self.repair()
        self.assertEqual(found[0], ("ENTRIES", True))
        self.assertEqual((self.column("ledger_seq"), self.column("committed")), (JOBS, UNITS * JOBS))
        self.assertTrue(self.works())
        self.expect()

    def test_an_entry_that_is_missing_is_refused(self):
        sql(f"DELETE FROM ledger WHERE tenant_id = {self.number} AND job_id = 'job-2' AND meter = 'tokens'")
        self.refused("ENTRIES", "entries are missing or stand twice")

    def test_an_entry_that_was_altered_is_refused(self):
        self.seal()
        for units in (3, -3):
            sql(f"UPDATE ledger SET amount = amount + {units}, counted[4] = counted[4] + {units}"
                f" WHERE tenant_id = {self.number} AND job_id = 'job-2' AND meter = 'tokens'")
            if units > 0:
                self.refused("LEDGER", "altered or taken out since they were sealed")
        self.expect()

    def test_redis_either_way(self):
        self.reserve("live")
        for at, units in ((4, 100), (2, 100)):
            with self.subTest(at=at):
                self.lend()
                self.alter_redis(2, lambda granted: granted + 200) if at == 4 else None
                self.alter_redis(at, lambda number, units=units: number + units)
                self.repaired("REDIS")
                self.assertGreater(self.aside(), 100)
                self.assertTrue(self.works())
                self.expect()
        self.assertFalse(server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id="live")).late)

    def test_redis_that_has_heard_of_more_entries_is_refused(self):
        self.alter_redis(7, lambda seq: seq + 5)
        self.refused("REDIS", "may have lost acknowledged use")

    def test_a_request_id_is_of_one_repair(self):
        self.damage("pg_held = pg_held + 5")
        note = admin.ChangeNote(request_id="once")
        request = admin.RepairDriftRequest(tenant=self.tenant, note=note)
        self.assertEqual(len(server.admin.RepairDrift(request).repairs), 1)
        self.damage("pg_held = pg_held + 5")
        again, = server.admin.RepairDrift(request).repairs
        self.assertFalse(again.repaired)
        self.assertEqual(self.column("pg_held"), 5)
        server.admin.PutLimit(admin.PutLimitRequest(note=admin.ChangeNote(request_id="twice"), limit=admin.Limit(
            tenant=self.tenant, limit_id="more", meter="more", period=quota.PERIOD_NEVER, units=1)))
        request.note.request_id = "twice"
        self.error(lambda: server.admin.RepairDrift(request), grpc.StatusCode.ALREADY_EXISTS,
                   "REQUEST_ID_REUSED")
        self.assertEqual(self.repair(limit_id="requests"), [])
        self.assertEqual(self.repair(limit_id="tokens"), [("HOLDS", True)])

    def test_under_load(self):
        """Each is damaged and repaired while four callers use the tenant; all of them count."""
        stop, bad, done = threading.Event(), [], []

        def run(number):
            try:
                while not stop.is_set():
                    self.use(f"load-{number}-{next(harness.ids)}")
                    done.append(number)
            except Exception as error:  # noqa: B902
                bad.append(error)

        for meter in ("tokens", "requests"):  # more than they can use, however long it takes
            self.limit(meter, 10_000_000)
        self.long_hold()
        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            for change in ("pg_held = pg_held - 4", "pg_held = pg_held + 30", "committed = committed - 3",
                           "committed = committed + 3", "debt = debt + 2"):
                self.damage(change)
                self.until(lambda: all(done for _, done in self.repair()), 20)
            self.alter_redis(2, lambda granted: granted + 40)
            self.repair()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(bad, [])
        self.assertGreater(len(done), 100)
        self.assertEqual(self.column("committed"), UNITS * (JOBS + len(done)))
        self.assertEqual((self.column("debt"), self.column("pg_held")), (0, 11))
        self.expect()
        self.assertEqual(holdfast("verify", "-t", self.tenant)[0], 0)


if __name__ == "__main__":
    harness.main()
