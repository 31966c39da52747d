"""Adjust on real stores: what was recorded of a job is corrected, once, and the books have both."""
import os
import subprocess
import threading

import grpc

import harness
import reconciling
from harness import Case, Server, admin, quota, server, service, sql

HOUR_MS = 3_600_000


def holdfast(*words):
    """(exit code, what it printed)"""
    code, out, err = reconciling.holdfast(*words)
    return code, out + err


class Adjusting(Case):
    def setUp(self):
        super().setUp()
        self.limit(units=100, overage_units=0)
        self.number = int(sql(f"SELECT tenant_id FROM tenant WHERE name = '{self.tenant}'")[0])

    def charge(self, job, scope="", **actual):
        return server.quota.Charge(service.ChargeRequest(
            tenant=self.tenant, job_id=job, scope=scope,
            actual=[service.ActualAmount(meter=meter, units=units) for meter, units in actual.items()]), timeout=20)

    def adjust(self, ident, job, on=server, reason="", **deltas):
        return on.admin.Adjust(admin.AdjustRequest(
            tenant=self.tenant, adjust_id=ident, job_id=job, reason=reason,
            changes=[admin.Change(meter=meter, delta=delta) for meter, delta in deltas.items()]), timeout=20)

    def used(self, meter="tokens"):
        state = self.usage(meter)
        return state.committed, state.debt

    def books(self):
        """Verified, and the four accounts agree."""
        books = list(server.admin.VerifyTenant(admin.VerifyTenantRequest(tenant=self.tenant), timeout=30))[-1]
        self.assertEqual(list(books.findings), [])
        answer = server.admin.GetReconciliation(
            admin.GetReconciliationRequest(tenant=self.tenant, drifts_only=True), timeout=30)
        self.assertEqual((list(answer.quotas), answer.degraded), ([], False))

    def parts(self, reply):
        """(limit, committed, debt, closed) of the first change."""
        return [(each.limit_id, each.committed, each.debt, each.closed_period) for each in reply.changes[0].quotas]

    def fails(self, code, reason, call, fields=None):
        return self.error(call, code, reason, fields)

    def test_a_refund_is_made_once(self):
        self.charge("a", tokens=60)
        first = self.adjust("r1", "a", reason="too much", tokens=-20)
        self.assertEqual((first.replayed, first.changes[0].left, first.changes[0].number), (False, 40, 1))
        self.assertEqual(self.parts(first), [("tokens", -20, 0, False)])
        self.assertEqual(self.used(), (40, 0))
        self.adjust("r2", "a", tokens=-5)
        again = self.adjust("r1", "a", reason="too much", tokens=-20)
        self.assertTrue(again.replayed)
        self.assertEqual((again.changes, again.adjust_time), (first.changes, first.adjust_time))
        self.assertEqual(self.used(), (35, 0))
        self.assertEqual(sql(f"SELECT number, kind, delta, left_units, reason FROM ledger_change WHERE tenant_id ="
                             f" {self.number} ORDER BY number"), ["1|1|-20|40|too much", "2|1|-5|35|"])
        self.books()

    def test_what_is_given_back_can_be_reserved(self):
        self.charge("all", tokens=100)
        self.assertEqual(self.reserve("no", 1).decision, quota.DECISION_REJECT)
        self.adjust("r", "all", tokens=-30)
        # What the root refused is believed for 20 ms (op/refusals.h).
        self.until(lambda: self.reserve("yes", 30).decision != quota.DECISION_REJECT, 10)
        self.assertEqual(self.reserve("more", 1).decision, quota.DECISION_REJECT)
        self.books()

    def test_another_content_is_refused(self):
        self.charge("a", tokens=60)
        self.charge("b", tokens=10)
        self.adjust("r", "a", tokens=-1)
        already = grpc.StatusCode.ALREADY_EXISTS
        self.fails(already, "ADJUST_ID_REUSED", lambda: self.adjust("r", "a", tokens=-2), ["changes"])
        self.fails(already, "ADJUST_ID_REUSED", lambda: self.adjust("r", "b", tokens=-1), ["job_id"])
        self.assertEqual(self.used(), (69, 0))

    def test_never_below_zero(self):
        self.limit("calls", 10)
        self.charge("a", tokens=60, calls=2)
        info = self.fails(grpc.StatusCode.FAILED_PRECONDITION, "BELOW_ZERO",
                          lambda: self.adjust("r", "a", calls=-1, tokens=-61))
        self.assertEqual((info.metadata["left.tokens"], info.metadata["left.calls"]), ("60", "2"))
        self.assertEqual((self.used(), self.used("calls")), ((60, 0), (2, 0)))
        self.assertEqual(self.adjust("r", "a", tokens=-60).changes[0].left, 0)
        self.fails(grpc.StatusCode.FAILED_PRECONDITION, "BELOW_ZERO", lambda: self.adjust("s", "a", tokens=-1))
        self.books()

    def test_only_a_job_that_is_recorded(self):
        self.reserve("held", 5)
        for job in ("held", "nobody"):
            self.fails(grpc.StatusCode.FAILED_PRECONDITION, "NOT_FINAL", lambda job=job: self.adjust("r", job, tokens=1))
        self.charge("a", tokens=1)
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", lambda: self.adjust("r", "a", calls=1),
                   ["changes[0].meter"])
        self.fails(grpc.StatusCode.NOT_FOUND, "UNKNOWN_TENANT", lambda: server.admin.Adjust(admin.AdjustRequest(
            tenant="nobody", adjust_id="r", job_id="a", changes=[admin.Change(meter="tokens", delta=1)])))

    def test_every_field_that_is_wrong_is_named(self):
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD",
                   lambda: server.admin.Adjust(admin.AdjustRequest(reason="x" * 1025, changes=[
                       admin.Change(meter="M", delta=0), admin.Change(meter="a", delta=2**53),
                       admin.Change(meter="a", delta=1)])),
                   ["tenant", "adjust_id", "job_id", "reason", "changes[0].meter", "changes[0].delta",
                    "changes[1].delta", "changes[2].meter"])
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", lambda: server.admin.Adjust(
            admin.AdjustRequest(tenant=self.tenant, adjust_id="r", job_id="a")), ["changes"])

    def test_debt_goes_first(self):
        self.charge("a", tokens=90)
        self.charge("b", tokens=30)
        self.assertEqual(self.used(), (100, 20))
        self.assertEqual(self.parts(self.adjust("r", "a", tokens=-25)), [("tokens", -5, -20, False)])
        self.assertEqual(self.used(), (95, 0))
        self.books()

    def test_what_is_added_is_recorded_and_what_does_not_fit_is_debt(self):
        self.charge("a", tokens=90)
        self.assertEqual(self.parts(self.adjust("r", "a", tokens=7)), [("tokens", 7, 0, False)])
        self.assertEqual(self.parts(self.adjust("s", "a", tokens=7)), [("tokens", 3, 4, False)])
        self.assertEqual(self.used(), (100, 4))
        self.fails(grpc.StatusCode.OUT_OF_RANGE, "AMOUNT_BOUND", lambda: self.adjust("t", "a", tokens=2**53 - 1))
        self.books()

    def test_idle_capacity_is_taken_back_before_anything_is_debt(self):
        for held in [self.reserve(f"idle-{i}", 10) for i in range(8)]:
            server.quota.Release(service.ReleaseRequest(reservation_id=held.reservation_id))
        self.charge("a", tokens=1)
        self.assertEqual(self.adjust("r", "a", tokens=99).changes[0].left, 100)
        self.assertEqual(self.used(), (100, 0))
        self.books()

    def test_what_is_added_counts_against_every_limit_that_applies_now(self):
        self.charge("a", scope="team", tokens=10)
        self.limit(units=50, limit_id="team", scope="team")
        self.assertEqual(sorted(self.parts(self.adjust("r", "a", tokens=5))),
                         [("team", 5, 0, False), ("tokens", 5, 0, False)])
        self.assertEqual(sorted(self.parts(self.adjust("s", "a", tokens=-8))),
                         [("team", -5, 0, False), ("tokens", -8, 0, False)])
        self.books()

    def test_crossings_down_are_told(self):
        self.charge("a", tokens=100)
        self.adjust("r", "a", tokens=-50)
        stream = server.quota.Watch(service.WatchRequest(tenant=self.tenant, after_seq=0), timeout=10)
        events = []
        for frame in stream:
            if frame.HasField("event"):
                events.append((quota.EventKind.Name(frame.event.kind)[len("EVENT_KIND_"):], frame.event.direction,
                               frame.event.quota.committed, frame.event.job_id))
            if len(events) and events[-1][:2] == ("SOFT_STOP", quota.DIRECTION_DOWN):
                break
        stream.cancel()
        self.assertEqual(events[-4:], [("ADJUSTED", 0, 50, "a")] +
                         [(kind, quota.DIRECTION_DOWN, 50, "a") for kind in ("HARD_CAP", "HARD_STOP", "SOFT_STOP")])

    def test_a_closed_period_stays_as_it_is(self):
        """Its hour is an hour ago and closed before anything of it is sealed."""
        server.admin.PutLimit(admin.PutLimitRequest(limit=admin.Limit(
            limit_id="calls", tenant=self.tenant, meter="calls", period=quota.PERIOD_HOUR, units=100)))
        with Unsealed() as books:
            self.charge("a", tokens=10, calls=10)
            books.run("SET session_replication_role = replica;"
                      f" UPDATE quota SET period_start_ms = period_start_ms - {HOUR_MS}, state = 'X', followed = true,"
                      f" period_end_ms = period_end_ms - {HOUR_MS} WHERE tenant_id = {self.number}"
                      " AND period_start_ms > 0; UPDATE ledger SET counted[2] = counted[2] -"
                      f" {HOUR_MS} WHERE tenant_id = {self.number} AND meter = 'calls';")
        first = self.adjust("r", "a", calls=-4)
        self.assertEqual(self.parts(first), [("calls", 0, 0, True)])
        self.assertEqual(first.changes[0].left, 6)
        self.assertEqual(self.adjust("r", "a", calls=-4).changes, first.changes)
        self.fails(grpc.StatusCode.FAILED_PRECONDITION, "BELOW_ZERO", lambda: self.adjust("s", "a", calls=-7))
        self.assertEqual(self.parts(self.adjust("t", "a", calls=3)), [("calls", 3, 0, False)])
        self.assertEqual(self.used("calls"), (3, 0))
        both = self.adjust("u", "a", calls=-5)
        self.assertEqual(self.parts(both), [("calls", -3, 0, False), ("calls", 0, 0, True)])
        self.assertEqual(both.changes[0].left, 4)
        self.assertEqual(sql(f"SELECT committed FROM quota WHERE tenant_id = {self.number} AND period_start_ms > 0"
                             " ORDER BY period_start_ms"), ["10", "0"])
        self.books()

    def test_refunds_at_once_on_two_servers_take_no_more_than_there_is(self):
        self.charge("a", tokens=60)
        other, made, refused = Server(), [], []

        def run(number):
            while True:
                try:
                    made.append(self.adjust(f"r{number}", "a", on=(server, other)[number % 2], tokens=-5))
                except grpc.RpcError as error:
                    if error.code() == grpc.StatusCode.ABORTED:
                        continue
                    refused.append(error.code())
                return

        try:
            threads = [threading.Thread(target=run, args=(number,)) for number in range(32)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            other.stop()
        self.assertEqual(sorted(reply.changes[0].left for reply in made), list(range(0, 60, 5)))
        self.assertEqual(refused, [grpc.StatusCode.FAILED_PRECONDITION] * 20)
        self.assertEqual(self.used(), (0, 0))
        self.books()

    def test_a_hand_in_a_correction_is_found(self):
        self.charge("a", tokens=60)
        self.adjust("r", "a", reason="agreed", tokens=-20)
        self.until(lambda: sql(f"SELECT seq FROM seal WHERE tenant_id = {self.number}") == ["2"], 20)
        sql(f"UPDATE ledger_change SET reason = 'mine' WHERE tenant_id = {self.number}")
        self.finds("not what was sealed")
        sql(f"UPDATE ledger_change SET reason = 'agreed' WHERE tenant_id = {self.number}")
        self.books()
        sql(f"CREATE TABLE taken AS SELECT * FROM ledger_change WHERE tenant_id = {self.number};"
            f" DELETE FROM ledger_change WHERE tenant_id = {self.number}")
        self.finds("entry 2 is missing")
        sql("INSERT INTO ledger_change SELECT * FROM taken; DROP TABLE taken")
        self.books()

    def finds(self, what):
        books = list(server.admin.VerifyTenant(admin.VerifyTenantRequest(tenant=self.tenant), timeout=30))[-1]
        self.assertTrue(any(what in finding for finding in books.findings), list(books.findings))

    def test_sums_with_a_correction_are_repaired(self):
        self.charge("a", tokens=60)
        self.adjust("r", "a", tokens=-20)
        self.until(lambda: sql(f"SELECT seq FROM seal WHERE tenant_id = {self.number}") == ["2"], 20)
        for wrong in (33, 47):
            sql(f"UPDATE quota SET committed = {wrong} WHERE tenant_id = {self.number}")
            answer = server.admin.RepairDrift(admin.RepairDriftRequest(tenant=self.tenant), timeout=60)
            self.assertEqual([each.repaired for each in answer.repairs], [True], answer)
            self.assertEqual(self.used(), (40, 0))
        self.books()

    def test_the_command_line(self):
        self.charge("a", tokens=60)
        words = ("adjust", "-t", self.tenant, "-j", "a", "--id", "r", "--reason", "counted twice", "tokens=-20")
        code, text = holdfast(*words)
        self.assertEqual(code, 0, text)
        self.assertIn("tokens: -20, 40 left of the job", text)
        self.assertIn("committed -20, debt +0", text)
        self.assertIn("ADJUSTED (replayed)", holdfast(*words)[1])
        code, text = holdfast("adjust", "-t", self.tenant, "-j", "a", "--id", "s", "tokens=-41")
        self.assertEqual(code, 3)
        self.assertIn("40 units are left", text)
        self.assertEqual(holdfast("adjust", "-t", self.tenant, "-j", "a", "tokens=-1")[0], 2)


class Unsealed:
    """Nothing is sealed inside."""

    def __enter__(self):
        self.psql = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", os.environ["HOLDFAST_TEST_POSTGRES"]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run("BEGIN; SELECT FROM seal_state FOR UPDATE;")
        return self

    def run(self, statements):
        self.psql.stdin.write(statements + " SELECT 'done';\n")
        self.psql.stdin.flush()
        while (line := self.psql.stdout.readline()).strip() != "done":
            assert line, "psql has ended"

    def __exit__(self, *_):
        self.psql.communicate("COMMIT;\n", timeout=30)
        assert self.psql.returncode == 0


if __name__ == "__main__":
    harness.main()
