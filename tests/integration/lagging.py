"""An asynchronous standby takes over that has not all of what was acknowledged: what was lost is found by what Redis
has heard of, the tenants that lost it are read-only until an operator accepts it, the others go on."""
import os
import subprocess
import time
import unittest

import grpc

import failing_over
import harness
from failing_over import SLOW, copy_of, new_cluster
from harness import admin, quota, service

FOUND = 6.0  # seconds from the promotion: a beat, all that Redis knows, a beat of the others
ROUNDS = 20 if os.environ.get("HOLDFAST_TEST_ROUNDS") == "full" else 2
LIMIT = 1000


def setUpModule():
    harness.server.stop()  # it has another Postgres, and would take the shards back and forth


class Lagging(failing_over.Nodes):
    def setUp(self):
        self.begin()
        self.a, self.b = f"{self.name}-a", f"{self.name}-b"
        for tenant in (self.a, self.b):
            self.servers[0].admin.CreateTenant(admin.CreateTenantRequest(
                tenant=admin.Tenant(tenant=tenant)))
            self.servers[0].admin.PutLimit(admin.PutLimitRequest(limit=admin.Limit(
                limit_id="tokens", tenant=tenant, meter="tokens", period=quota.PERIOD_NEVER,
                units=LIMIT)))

    def hold(self, tenant, job, units, on=0):
        return self.servers[on].quota.Reserve(service.ReserveRequest(
            tenant=tenant, job_id=job, amounts=[quota.Amount(meter="tokens", units=units)]), timeout=10)

    def record(self, tenant, job, units, on=0, held=None):
        held = held or self.hold(tenant, job, units, on)
        return self.servers[on].quota.Commit(service.CommitRequest(
            tenant=tenant, job_id=job, reservation_id=held.reservation_id), timeout=10)

    def works(self, tenant, job, units, on=0):
        """Reserve and Commit, as soon as the database is back."""
        def one():
            try:
                self.record(tenant, job, units, on)
                return True
            except grpc.RpcError as error:
                self.assertIn(error.code(), (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED,
                                             grpc.StatusCode.DEADLINE_EXCEEDED), error.details())
                return False
        self.until(one, FOUND + SLOW)

    def used(self, tenant, on=0):
        reply = self.servers[on].quota.GetUsage(service.GetUsageRequest(tenant=tenant, meter="tokens"))
        return reply.quotas[0].committed

    def read_only(self, on=0):
        return list(self.servers[on].admin.GetStatus(
            admin.GetStatusRequest(), timeout=30).read_only_tenants)

    def has_all(self):
        at = self.primary.sql("SELECT pg_current_wal_insert_lsn()")[0]
        return self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{at}'") == ["t"]

    def cut(self):
        """From here on the standby hears nothing."""
        self.until(self.has_all, 30)
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.sql("SELECT pg_reload_conf()")
        self.until(lambda: self.standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == ["0"], 30)

    def take_over(self):
        self.primary.end()
        self.standby.promote()
        return time.monotonic()

    def holdfast(self, *args):
        ended = subprocess.run([os.path.abspath(os.environ["HOLDFAST_TEST_CLI"]), *args], text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60,
                               env=dict(os.environ, HOLDFAST_LISTEN=self.servers[0].address))
        return ended.returncode, ended.stdout

    def refused(self, call):
        info = self.error(call, grpc.StatusCode.FAILED_PRECONDITION, "READ_ONLY")
        return info

    def test_what_was_lost_is_found(self):
        for tenant in (self.a, self.b):
            self.record(tenant, "before", 10)
        before = self.hold(self.a, "held", 5), self.hold(self.a, "released", 6)
        self.cut()
        receipts = [self.record(self.a, f"lost-{i}", 7, on=i % 2).receipt for i in range(3)]
        late = self.hold(self.a, "held-after", 4)
        promoted = self.take_over()
        self.until(lambda: self.back() and self.read_only() == [self.a], FOUND + SLOW)
        print(f"found {time.monotonic() - promoted:.2f} s after the promotion", flush=True)
        self.works(self.b, "after", 20)
        for on in (0, 1):
            self.until(lambda: self.says_read_only(on), SLOW)
            self.refused(lambda: self.hold(self.a, "new", 1, on))
            self.refused(lambda: self.record(self.a, "held", 5, on, before[0]))
            self.refused(lambda: self.servers[on].quota.Extend(service.ExtendRequest(
                tenant=self.a, job_id="held", reservation_id=before[0].reservation_id)))
        self.servers[0].quota.Release(service.ReleaseRequest(
            tenant=self.a, job_id="released", reservation_id=before[1].reservation_id))
        self.assertEqual(self.used(self.a), 10)
        self.assertEqual(self.servers[0].quota.VerifyReceipt(
            service.VerifyReceiptRequest(receipt=receipts[0])).verdict,
            service.RECEIPT_VERDICT_MISSING)
        self.servers[1].restart()
        self.refused(lambda: self.hold(self.a, "new", 1, 1))
        self.assertEqual(self.standby.sql("SELECT action FROM audit JOIN tenant USING (tenant_id)"
                                          f" WHERE name = '{self.a}' AND actor = 'holdfast'"),
                         ["tenant.read_only"])
        self.accept(before[0], late)

    def says_read_only(self, on):
        job = f"new-{time.monotonic_ns()}"  # a repeat would get its first answer
        try:
            held = self.hold(self.a, job, 1, on)
            self.servers[on].quota.Release(service.ReleaseRequest(
                tenant=self.a, job_id=job, reservation_id=held.reservation_id))
        except grpc.RpcError as error:
            return harness.error_info(error).reason == "READ_ONLY"
        return False

    def back(self):
        try:
            return self.servers[0].admin.ListTenants(admin.ListTenantsRequest(), timeout=10)
        except grpc.RpcError:
            return False

    def ask_accept(self, **more):
        return list(self.servers[0].admin.AcceptLoss(admin.AcceptLossRequest(
            tenant=self.a, note=admin.ChangeNote(actor="test", request_id="accept", **more.pop("note", {})),
            **more), timeout=10).losses)

    def accept(self, held, late):
        trial = self.ask_accept(validate_only=True)
        actions = self.actions()
        self.assertEqual(len(actions), 2)  # what GetReconciliation advises, and why RepairDrift refuses
        for action in actions:
            self.assertIn("AcceptLoss", action)
        self.refused(lambda: self.hold(self.a, "new", 1))
        self.refused(lambda: self.hold(self.a, "lost-0", 7))
        losses = self.ask_accept()
        self.refused(lambda: self.hold(self.a, "lost-0", 7))  # Redis remembers its commit
        self.assertEqual(self.holdfast("reconcile", "--accept", "--tenant", self.b),
                         (0, f"{self.b}: accepted; it is not read-only\n"))  # nothing to do
        self.assertEqual([(each.limit_id, each.units, each.entries, each.committed, each.debt)
                          for each in losses], [("tokens", 21, 3, 21, 0)])
        self.assertEqual([(each.limit_id, each.units, each.committed) for each in trial],
                         [("tokens", 21, 21)])
        self.assertEqual(self.ask_accept(), losses)  # a repeat
        self.assertEqual(self.used(self.a), 31)
        self.record(self.a, "held", 5, 0, held)
        self.record(self.a, "held-after", 4, 0, late)
        self.until(lambda: self.redis_says() == 40, SLOW)  # the use that was accepted, and what followed
        self.assertEqual(self.actions(), [])
        self.until(lambda: not self.says_read_only(1), SLOW)
        self.assertEqual(self.read_only(), [])
        self.fill_up()
        for tenant in (self.a, self.b):
            *_, last = self.servers[0].admin.VerifyTenant(admin.VerifyTenantRequest(tenant=tenant))
            self.assertEqual(last.wrong, 0, last)

    def actions(self):
        calls = self.servers[0].admin
        books = calls.GetReconciliation(admin.GetReconciliationRequest(tenant=self.a, drifts_only=True))
        repaired = calls.RepairDrift(admin.RepairDriftRequest(tenant=self.a, validate_only=True))
        return [drift.action for each in books.quotas for drift in each.drifts] + [
            each.drift.action for each in repaired.repairs]

    def redis_says(self):
        """Use in the answer to a Reserve, which is Redis' own."""
        job = f"asks-{time.monotonic_ns()}"
        held = self.hold(self.a, job, 1)
        self.servers[0].quota.Release(service.ReleaseRequest(
            tenant=self.a, job_id=job, reservation_id=held.reservation_id))
        return held.quotas[0].committed

    def fill_up(self):
        """What the record leaves of the limit can be had, and not one more."""
        jobs, used = 0, self.used(self.a)
        while used < LIMIT:
            units = min(LIMIT - used, 97)
            jobs += 1
            self.assertIn(self.hold(self.a, f"fill-{jobs}", units).decision,
                          (quota.DECISION_ALLOW, quota.DECISION_WARN))
            used += units
        self.assertEqual(self.hold(self.a, "one-more", 1).decision, quota.DECISION_REJECT)

    def test_nothing_was_lost(self):
        for number in range(ROUNDS):
            for tenant in (self.a, self.b):
                self.works(tenant, f"{tenant}-{number}", 1, number % 2)
            self.cut()
            self.take_over()
            for on in (0, 1):
                self.works(self.a, f"after-{number}-{on}", 1, on)
                self.assertEqual(self.read_only(on), [])
                self.assertNotIn("root.lost", self.servers[on].log_path.read_text())
            if number + 1 < ROUNDS:
                self.follow(number)
        self.assertEqual(self.used(self.a), 3 * ROUNDS)


if __name__ == "__main__":
    harness.main()
