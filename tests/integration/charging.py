"""Charge on real stores: work that nobody reserved, recorded once, beside jobs that are held."""
import threading

import grpc

import harness
from harness import Case, Server, quota, server, service, sql, stores


class Charging(Case):
    def setUp(self):
        super().setUp()
        self.limit(units=100)

    def tearDown(self):
        stores("start-redis")

    def charge(self, job, on=server, scope="", overrun=0, brief=False, **actual):
        return on.quota.Charge(service.ChargeRequest(
            tenant=self.tenant, job_id=job, scope=scope, brief=brief,
            actual=[service.ActualAmount(meter=meter, units=units, overrun=overrun)
                    for meter, units in actual.items()]), timeout=20)

    def books(self):
        rows = sql("SELECT sum(l.amount), sum(l.debt), count(*) FROM ledger l JOIN tenant USING"
                   f" (tenant_id) WHERE name = '{self.tenant}'")
        amount, debt, count = (int(cell) for cell in rows[0].split("|"))
        state = self.usage()
        self.assertEqual((state.committed, state.debt, state.ledger_seq), (amount, debt, count))

    def mismatch(self, field, call):
        self.error(call, grpc.StatusCode.ALREADY_EXISTS, "JOB_MISMATCH", [field])

    def invalid(self, fields, call):
        self.error(call, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", fields)

    def test_what_was_used_is_recorded_once(self):
        first = self.charge("a", tokens=40)
        self.assertEqual(first.state, quota.RESERVATION_STATE_COMMITTED)
        self.assertEqual((first.replayed, first.was_held, first.over_limit), (False, False, False))
        self.assertEqual([(each.meter, each.actual, each.committed, each.debt, each.freed)
                          for each in first.committed], [("tokens", 40, 40, 0, 0)])
        self.assertEqual(first.quotas[0].committed, 40)
        again = self.charge("a", tokens=40)
        self.assertTrue(again.replayed)
        self.assertEqual((again.receipt, again.commit_time, again.attempt),
                         (first.receipt, first.commit_time, first.attempt))
        self.assertEqual(self.usage().committed, 40)
        self.assertEqual(self.usage().held, 0)
        found = server.quota.VerifyReceipt(service.VerifyReceiptRequest(receipt=first.receipt))
        self.assertEqual(found.verdict, service.RECEIPT_VERDICT_FOUND, found.detail)
        self.books()

    def test_what_is_charged_is_no_longer_there_to_reserve(self):
        self.reserve("warm", 1)
        self.charge("b", tokens=60)
        self.assertEqual(self.reserve("c", 40).decision, quota.DECISION_REJECT)
        self.assertNotEqual(self.reserve("d", 39).decision, quota.DECISION_REJECT)

    def test_a_charged_job_is_done(self):
        self.charge("done", tokens=5)
        self.assertEqual(self.reserve("done", 5).decision,
                         quota.DECISION_ALREADY_COMMITTED)
        commit = server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id="done",
            actual=[service.ActualAmount(meter="tokens", units=5)]))
        self.assertTrue(commit.replayed)
        self.error(lambda: server.quota.Release(
            service.ReleaseRequest(tenant=self.tenant, job_id="done")),
            grpc.StatusCode.FAILED_PRECONDITION, "COMMITTED")
        state = server.quota.GetReservation(service.GetReservationRequest(
            tenant=self.tenant, job_id="done"))
        self.assertEqual(state.reservation.state, quota.RESERVATION_STATE_COMMITTED)

    def test_another_amount_or_scope_is_another_job(self):
        self.charge("e", tokens=5)
        self.mismatch("actual", lambda: self.charge("e", tokens=6))
        self.mismatch("scope", lambda: self.charge("e", scope="team", tokens=5))
        self.reserve("held", 5, scope="team")
        self.mismatch("scope", lambda: self.charge("held", tokens=5))
        self.assertEqual(self.usage().committed, 5)

    def test_a_job_that_is_held_is_committed(self):
        self.reserve("f", 30)
        reply = self.charge("f", tokens=20)
        self.assertTrue(reply.was_held)
        self.assertEqual((reply.committed[0].committed, reply.committed[0].freed), (20, 10))
        self.assertEqual((self.usage().committed, self.usage().held), (20, 0))
        self.reserve("g", 30)
        self.invalid(["actual[0].meter"], lambda: self.charge("g", requests=1))

    def test_a_released_job_can_be_charged(self):
        held = self.reserve("h", 30)
        server.quota.Release(service.ReleaseRequest(reservation_id=held.reservation_id))
        self.assertFalse(self.charge("h", tokens=20).was_held)
        self.error(lambda: server.quota.Release(
            service.ReleaseRequest(reservation_id=held.reservation_id)),
            grpc.StatusCode.FAILED_PRECONDITION, "COMMITTED")
        self.assertEqual(self.usage().committed, 20)

    def test_what_does_not_fit_goes_by_the_policy(self):
        self.charge("most", tokens=90)
        self.error(lambda: self.charge("strict", overrun=service.OVERRUN_POLICY_STRICT, tokens=11),
                   grpc.StatusCode.FAILED_PRECONDITION, "OVERRUN")
        capped = self.charge("cap", overrun=service.OVERRUN_POLICY_CAP, tokens=15).committed[0]
        self.assertEqual((capped.committed, capped.dropped, capped.debt), (10, 5, 0))
        over = self.charge("record", tokens=7)
        self.assertTrue(over.over_limit)
        self.assertEqual((over.committed[0].committed, over.committed[0].debt), (0, 7))
        self.assertEqual((self.usage().committed, self.usage().debt), (100, 7))
        self.books()

    def test_idle_capacity_is_taken_back_before_anything_is_debt(self):
        self.release_all([self.reserve(f"idle-{i}", 10) for i in range(8)])
        self.assertFalse(self.charge("all", tokens=100).over_limit)
        self.assertEqual((self.usage().committed, self.usage().debt), (100, 0))

    def release_all(self, holds):
        for held in holds:
            server.quota.Release(service.ReleaseRequest(reservation_id=held.reservation_id))

    def test_a_meter_without_a_limit_is_named(self):
        self.error(lambda: self.charge("i", tokens=1, storage=1),
                   grpc.StatusCode.FAILED_PRECONDITION, "NO_LIMIT", ["actual[1].meter"])
        self.assertEqual(self.usage().committed, 0)
        self.limit("storage", 10)
        self.charge("i", tokens=1, storage=1)

    def test_a_repeat_is_answered_whatever_the_plan_says_by_now(self):
        self.charge("j", tokens=3)
        read = server.admin.ListTenants(harness.admin.ListTenantsRequest(prefix=self.tenant))
        tenant = next(each for each in read.tenants if each.tenant == self.tenant)
        tenant.state = harness.admin.TENANT_STATE_SUSPENDED
        server.admin.UpdateTenant(harness.admin.UpdateTenantRequest(tenant=tenant))
        self.assertTrue(self.charge("j", tokens=3).replayed)
        self.assertEqual(self.charge("k", tokens=4).committed[0].committed, 4)
        self.assertEqual(self.usage().committed, 7)

    def test_a_limit_that_another_server_has_just_put_counts(self):
        other = Server()
        try:
            self.charge("warm", on=other, tokens=1)
            self.charge("warm-too", tokens=1)
            for number in range(5):
                other.admin.PutLimit(harness.admin.PutLimitRequest(limit=harness.admin.Limit(
                    tenant=self.tenant, limit_id=f"more-{number}", meter="tokens",
                    period=quota.PERIOD_NEVER, units=1000)))
                self.assertEqual(len(self.charge(f"after-{number}", tokens=1).quotas), number + 2)
        finally:
            other.stop()

    def test_every_field_that_is_wrong_is_named(self):
        self.invalid(
            ["tenant", "job_id", "scope", "actual[0].meter", "actual[0].units",
             "actual[0].overrun", "labels"],
            lambda: server.quota.Charge(service.ChargeRequest(
                scope="/", actual=[service.ActualAmount(meter="M", units=-1, overrun=9)],
                labels={"a": "b"})))
        self.invalid(["actual"], lambda: server.quota.Charge(service.ChargeRequest(
            tenant=self.tenant, job_id="l")))

    def test_many_at_once_on_two_servers_are_one_record(self):
        other = Server()
        replies = []

        def run(on):
            replies.append(self.charge("once", on=on, tokens=30))

        try:
            threads = [threading.Thread(target=run, args=((server, other)[i % 2],))
                       for i in range(32)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            other.stop()
        self.assertEqual(len(replies), 32)
        self.assertEqual(sum(not reply.replayed for reply in replies), 1)
        self.assertEqual(len({reply.receipt for reply in replies}), 1)
        self.assertEqual(self.usage().committed, 30)
        self.books()

    def test_while_redis_is_away_use_is_recorded_and_what_may_not_fit_waits(self):
        self.reserve("m", 60)
        stores("kill-redis")
        self.assertEqual(self.charge("n", tokens=5).committed[0].committed, 5)
        self.error(lambda: self.charge("o", overrun=service.OVERRUN_POLICY_STRICT, tokens=99),
                   grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE")
        stores("start-redis")
        self.until(self.redis_serves, 30)
        self.assertTrue(self.charge("m", tokens=55).was_held)
        self.assertEqual((self.usage().committed, self.usage().debt), (60, 0))

    def redis_serves(self):
        """A job that is held in Postgres stays there, so each try is another one."""
        return not self.reserve(f"after-{next(harness.ids)}", 0).degraded


if __name__ == "__main__":
    harness.main()
