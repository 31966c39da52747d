"""Redis is away: holds are taken in Postgres, and go on to be holds when it is back."""
import os
import signal
import subprocess
import threading
import time

import grpc

import harness
from harness import Case, Server, quota, redis, server, service, sql, stores

WITHIN_S = 0.3 + 2.0  # REDIS_AWAY_WITHIN_MS, and what a busy machine adds to it


def redis_pid():
    return int(next(line.split(":")[1] for line in redis("INFO", "server")
                    if line.startswith("process_id:")))


class Away(Case):
    def setUp(self):
        super().setUp()
        self.until(lambda: not server.admin.GetStatus(
            harness.admin.GetStatusRequest()).holding_in_postgres, 10)

    def tearDown(self):
        stores("start-redis")

    def part_with_redis(self):
        """It is gone and the server knows: nothing is lent to it any more."""
        stores("kill-redis")
        self.until(lambda: server.admin.GetStatus(
            harness.admin.GetStatusRequest()).holding_in_postgres, 10)

    def admitted(self, reply):
        self.assertIn(reply.decision, (quota.DECISION_ALLOW, quota.DECISION_WARN))
        self.assertTrue(reply.degraded)
        return reply

    def listed(self, on):
        found = on.quota.ListReservations(service.ListReservationsRequest(
            tenant=self.tenant), timeout=10).reservations
        return [each.job_id for each in found if not each.job_id.startswith("new-")]

    def hold_rows(self):
        return int(sql("SELECT count(*) FROM pg_hold JOIN tenant USING (tenant_id)"
                       f" WHERE name = '{self.tenant}'")[0])

    def row(self, column):
        return int(sql(f"SELECT sum({column}) FROM quota JOIN tenant USING (tenant_id)"
                       f" WHERE name = '{self.tenant}'")[0])

    def books_are_exact(self):
        """pg_held is the sum of the rows, and the ledger that of what is committed."""
        self.assertEqual(sql(
            "SELECT t.name FROM tenant t JOIN quota q USING (tenant_id) LEFT JOIN LATERAL"
            " (SELECT coalesce(sum(split_part(e, ':', 5)::bigint), 0) AS held FROM pg_hold p,"
            " LATERAL unnest(string_to_array(split_part(p.hold, '|', 5), ';')) AS e"
            " WHERE p.tenant_id = q.tenant_id AND split_part(e, ':', 2)::bigint = q.limit_id"
            " AND split_part(e, ':', 3)::bigint = q.period_start_ms) h ON true"
            f" WHERE q.pg_held <> h.held"), [])

    def test_who_is_suspended_gets_no_hold_however_long(self):
        self.limit(units=100)
        read = server.admin.ListTenants(harness.admin.ListTenantsRequest(prefix=self.tenant))
        tenant = next(each for each in read.tenants if each.tenant == self.tenant)
        tenant.state = harness.admin.TENANT_STATE_SUSPENDED
        server.admin.UpdateTenant(harness.admin.UpdateTenantRequest(tenant=tenant))
        self.part_with_redis()
        for seconds in (60, 3600):
            try:
                reply = self.reserve(f"for-{seconds}", 1, ttl={"seconds": seconds})
                self.assertEqual(reply.decision, quota.DECISION_REJECT)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.hold_rows(), 0)

    def test_a_hold_is_taken_kept_and_committed(self):
        self.limit(units=1000)
        stores("kill-redis")
        begun = time.monotonic()
        held = self.reserve("a", 100)
        self.assertLess(time.monotonic() - begun, WITHIN_S)
        self.assertEqual(held.decision, quota.DECISION_ALLOW)
        self.assertTrue(held.degraded)
        again = self.reserve("a", 100)
        self.assertTrue(again.replayed and again.degraded)
        self.assertEqual(again.attempt, held.attempt)
        self.error(lambda: self.reserve("a", 101), grpc.StatusCode.ALREADY_EXISTS, "JOB_MISMATCH",
                   ["amounts"])
        self.assertEqual((self.hold_rows(), self.row("pg_held")), (1, 100))
        done = self.commit("a", 60)
        self.assertEqual(done.committed[0].committed, 60)
        self.assertEqual((self.hold_rows(), self.row("pg_held"), self.row("committed")), (0, 0, 60))
        self.assertEqual(self.reserve("a", 100).decision, quota.DECISION_ALREADY_COMMITTED)

    def test_the_limit_holds_and_what_comes_back_can_be_had(self):
        self.limit(units=100)
        self.part_with_redis()
        held = [self.reserve(f"j{n}", 10) for n in range(10)]
        refused = self.reserve("more", 10)
        self.assertEqual(refused.decision, quota.DECISION_REJECT)
        self.assertEqual(refused.reasons[0].code, quota.REASON_CODE_HARD_CAP)
        server.quota.Release(service.ReleaseRequest(tenant=self.tenant, job_id="j0"), timeout=10)
        self.admitted(self.reserve("more", 10))
        done = server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id="j1", reservation_id=held[1].reservation_id), timeout=10)
        self.assertEqual(done.committed[0].committed, 10)
        self.error(lambda: self.commit("j0", 10, reservation_id=held[0].reservation_id),
                   grpc.StatusCode.FAILED_PRECONDITION, "RELEASED")
        self.assertEqual((self.row("pg_held"), self.row("committed")), (90, 10))
        self.books_are_exact()

    def test_one_that_nobody_finishes_gives_its_capacity_back(self):
        self.limit(units=100)
        self.part_with_redis()
        held = self.reserve("a", 100, ttl={"nanos": 300 * 1000 * 1000})
        self.until(lambda: self.row("pg_held") == 0, 0.3 + 2.0 + 3.0)
        self.admitted(self.reserve("b", 100))
        late = server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id="a", reservation_id=held.reservation_id), timeout=10)
        self.assertTrue(late.late)
        self.assertEqual(late.committed[0].debt, 100)
        self.books_are_exact()

    def test_a_due_one_makes_room_at_once(self):
        self.limit(units=100)
        self.part_with_redis()
        self.reserve("a", 100, ttl={"nanos": 200 * 1000 * 1000})
        time.sleep(0.25)
        self.admitted(self.reserve("b", 100))
        self.assertEqual(self.reserve("a", 1).decision, quota.DECISION_REJECT)

    def test_the_failure_costs_nobody_long(self):
        self.limit(units=10 ** 9)
        self.reserve("warm", 1)
        for how in ("stopped", "killed"):
            pid = redis_pid()
            os.kill(pid, signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
            try:
                begun = time.monotonic()
                held = self.reserve(f"{how}-1", 1)
                self.assertTrue(held.degraded)
                self.assertLess(time.monotonic() - begun, WITHIN_S)
                took = []
                for n in range(50):
                    begun = time.monotonic()
                    self.assertTrue(self.reserve(f"{how}-next-{n}", 1).degraded)
                    took.append(time.monotonic() - begun)
                # Nobody waits for it any more.
                self.assertLess(sorted(took)[25], 0.1)
            finally:
                if how == "stopped":
                    os.kill(pid, signal.SIGCONT)
            if how == "stopped":
                self.until(lambda: not self.reserve(f"back-{time.monotonic()}", 1).degraded, 10)
        self.books_are_exact()

    def kinds(self):
        return [tuple(map(int, row.split("|"))) for row in sql(
            "SELECT kind, recovered_from, seq FROM event JOIN tenant USING (tenant_id)"
            f" WHERE name = '{self.tenant}' AND kind IN ({quota.EVENT_KIND_DEGRADED},"
            f" {quota.EVENT_KIND_RECOVERED}) ORDER BY seq")]

    def test_who_watches_is_told_once_by_however_many_servers(self):
        self.limit(units=1000)
        other = Server()
        self.addCleanup(other.stop)
        stream = other.quota.Watch(service.WatchRequest(tenant=self.tenant), timeout=60)
        self.addCleanup(stream.cancel)
        next(stream)
        stores("kill-redis")
        seen = []

        def read():
            for frame in stream:
                if frame.HasField("event") and frame.event.kind in (
                        quota.EVENT_KIND_DEGRADED, quota.EVENT_KIND_RECOVERED):
                    seen.append((time.monotonic(), frame.event))
                    if len(seen) == 2:
                        return

        reader = threading.Thread(target=read)
        reader.start()
        begun = time.monotonic()
        for n in range(10):
            for on, name in ((server, "one"), (other, "two")):
                self.admitted(on.quota.Reserve(service.ReserveRequest(
                    tenant=self.tenant, job_id=f"{name}-{n}",
                    amounts=[{"meter": "tokens", "units": 1}]), timeout=10))
            time.sleep(0.1)
        self.until(lambda: seen, 10)
        time.sleep(1)  # none comes after it
        self.assertEqual([kind for kind, _, _ in self.kinds()], [quota.EVENT_KIND_DEGRADED])
        stores("start-redis")
        back = time.monotonic()
        reader.join(20)
        self.assertEqual([(event.kind, event.recovered_from) for _, event in seen], [
            (quota.EVENT_KIND_DEGRADED, 0), (quota.EVENT_KIND_RECOVERED, quota.EVENT_KIND_DEGRADED)])
        self.assertFalse(seen[0][1].HasField("quota"))
        print(f"DEGRADED {seen[0][0] - begun:.2f} s after Redis was gone,"
              f" RECOVERED {seen[1][0] - back:.2f} s after it was back")
        self.assertEqual([kind for kind, _, _ in self.kinds()],
                         [quota.EVENT_KIND_DEGRADED, quota.EVENT_KIND_RECOVERED])
        self.assertEqual(sql("SELECT count(*) FROM degraded"), ["0"])
        self.is_told_again_to_who_resumes(other, seen[0][1].seq)

    def is_told_again_to_who_resumes(self, on, degraded_seq):
        """From before both, and from between them; and a person at a shell."""
        for after, count in ((degraded_seq - 1, 2), (degraded_seq, 1)):
            stream = on.quota.Watch(service.WatchRequest(tenant=self.tenant, after_seq=after),
                                    timeout=20)
            found, prev = [], after
            for frame in stream:
                self.assertEqual(frame.prev_seq, prev)
                prev = frame.seq
                if frame.event.kind in (quota.EVENT_KIND_DEGRADED, quota.EVENT_KIND_RECOVERED):
                    found.append(frame.event.kind)
                if len(found) == count:
                    break
            stream.cancel()
            self.assertEqual(found, [quota.EVENT_KIND_DEGRADED, quota.EVENT_KIND_RECOVERED][-count:])
        shell = subprocess.Popen(
            [os.path.abspath(os.environ["HOLDFAST_TEST_CLI"]), "watch", "-t", self.tenant, "--after",
             str(degraded_seq - 1)], stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, HOLDFAST_LISTEN=on.address))
        try:
            lines = []
            while not lines or "RECOVERED" not in lines[-1]:
                lines.append(shell.stdout.readline())
                self.assertTrue(lines[-1], lines)
            self.assertIn(f"#{degraded_seq} DEGRADED", lines[0])
        finally:
            shell.kill()
            shell.wait()
            shell.stdout.close()

    def test_a_hold_is_extended_and_shown(self):
        self.limit(units=1000)
        self.part_with_redis()
        held = self.reserve("a", 100, ttl={"seconds": 20})
        longer = server.quota.Extend(service.ExtendRequest(
            tenant=self.tenant, reservation_id=held.reservation_id, ttl={"seconds": 7200}), timeout=10)
        self.assertEqual(longer.attempt, held.attempt)
        self.assertGreater(longer.remaining_ttl.seconds, 7100)
        by_job = server.quota.Extend(service.ExtendRequest(
            tenant=self.tenant, job_id="a", ttl={"seconds": 60}), timeout=10)
        self.assertGreater(by_job.remaining_ttl.seconds, 7100, "never an earlier expiry")
        found = server.quota.GetReservation(service.GetReservationRequest(
            tenant=self.tenant, job_id="a"), timeout=10).reservation
        self.assertEqual((found.state, found.attempt),
                         (quota.RESERVATION_STATE_HELD, held.attempt))
        self.assertEqual(self.usage().held, 100)
        status = server.admin.GetStatus(harness.admin.GetStatusRequest())
        self.assertTrue(status.holding_in_postgres)
        self.assertGreaterEqual(status.postgres_holds, 1)
        server.quota.Release(service.ReleaseRequest(
            tenant=self.tenant, job_id="a", reservation_id=held.reservation_id), timeout=10)
        self.error(lambda: server.quota.Extend(service.ExtendRequest(
            tenant=self.tenant, reservation_id=longer.reservation_id), timeout=10),
            grpc.StatusCode.FAILED_PRECONDITION, "RELEASED")

    def test_both_places_go_on_together_when_it_is_back(self):
        self.limit(units=1000)
        before = self.reserve("before", 10, ttl={"seconds": 100})
        self.assertFalse(before.degraded)
        other = Server()
        self.addCleanup(other.stop)
        stores("kill-redis")
        away = self.reserve("away", 20, ttl={"seconds": 50})
        stores("start-redis")
        for on in (server, other):
            self.until(lambda: not self.reserve(f"new-{time.monotonic()}", 1, on=on,
                                                ttl={"nanos": 10 ** 8}).degraded, 10)
            # It knows by its next beat, and lists those of both places, by expiry.
            self.until(lambda: self.listed(on) == ["away", "before"], 5)
            again = self.reserve("away", 20, on=on)
            self.assertEqual((again.replayed, again.attempt), (True, away.attempt))
            again = self.reserve("before", 10, on=on)
            self.assertEqual((again.replayed, again.attempt), (True, before.attempt))
        self.assertEqual(self.commit("away", 20).committed[0].committed, 20)
        self.assertEqual(self.commit("before", 10).committed[0].committed, 10)
        self.until(lambda: self.hold_rows() == 0, 5)
        self.books_are_exact()

    def test_one_for_longer_than_redis_keeps_any_is_in_postgres(self):
        self.limit(units=1000)
        held = self.reserve("long", 100, ttl={"seconds": 7200})
        self.assertFalse(held.degraded)
        self.assertGreater(held.remaining_ttl.seconds, 7100)
        self.assertEqual(self.row("pg_held"), 100)
        self.assertTrue(self.reserve("long", 100).replayed)
        self.assertTrue(self.reserve("long", 100, ttl={"seconds": 7200}).replayed)
        short = self.reserve("short", 10)
        again = self.reserve("short", 10, ttl={"seconds": 7200})
        self.assertEqual((again.replayed, again.attempt), (True, short.attempt))
        self.assertEqual(self.commit("long", 90).committed[0].committed, 90)
        self.assertEqual((self.row("pg_held"), self.hold_rows()), (0, 0))
        self.limit("calls", 1000, max_ttl={"seconds": 3600})
        capped = self.reserve("capped", 1, meter="calls", ttl={"seconds": 7200})
        self.assertLessEqual(capped.remaining_ttl.seconds, 3600)
        self.assertGreater(capped.remaining_ttl.seconds, 3500)

    def test_a_server_that_has_not_heard_of_one_extends_and_lists_it(self):
        other = Server()
        self.addCleanup(other.stop)
        for _ in range(3):
            super().setUp()  # another tenant, of which nobody has a belief
            self.limit(units=1000)
            self.assertEqual(self.listed(other), [])
            held = self.reserve("long", 100, ttl={"seconds": 7200})
            moved = other.quota.Extend(service.ExtendRequest(
                tenant=self.tenant, job_id="long", ttl={"seconds": 10000}), timeout=10)
            self.assertEqual(moved.attempt, held.attempt)
            self.assertGreater(moved.remaining_ttl.seconds, 9900)
            self.assertEqual(self.listed(other), ["long"])

    def test_a_server_that_dies_after_the_commit_leaves_a_hold_that_the_repeat_finds(self):
        self.limit(units=1000)
        os.environ["HOLDFAST_FAULTS"] = "place.after=crash"
        try:
            dying = Server()
        finally:
            del os.environ["HOLDFAST_FAULTS"]
        self.addCleanup(dying.kill)
        stores("kill-redis")
        self.error(lambda: self.reserve("a", 60, on=dying), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.row("pg_held"), 60)
        self.assertTrue(self.reserve("a", 60).replayed)
        self.books_are_exact()

    def uncounted(self, reply):
        self.assertIn(reply.decision, (quota.DECISION_ALLOW, quota.DECISION_WARN))
        self.assertTrue(reply.uncounted and reply.degraded)
        return reply

    def commit_by(self, held, job, units, **more):
        return server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id=job, reservation_id=held.reservation_id,
            actual=[service.ActualAmount(meter="tokens", units=units)], **more), timeout=10)

    def commit_when_it_can(self, held, job, units):
        """Postgres is back; the committer, whose connections are its own, finds so a moment later."""
        end = time.monotonic() + 20
        while True:
            try:
                return self.commit_by(held, job, units)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def test_a_closed_limit_holds_nothing_and_the_strictest_limit_decides(self):
        self.limit(units=1000)
        self.limit(limit_id="closed", units=1000, redis_away=quota.REDIS_AWAY_CLOSED, scope="s")
        self.limit(limit_id="open", units=1000, redis_away=quota.REDIS_AWAY_OPEN,
                   redis_away_units=1000, scope="s/o")
        before = self.reserve("before", 1, scope="s")
        self.part_with_redis()
        for scope in "s", "s/o":
            self.error(lambda: self.reserve("refused", 1, scope=scope),
                       grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE")
        self.assertEqual(self.hold_rows(), 0)
        self.admitted(self.reserve("other", 1))
        self.assertEqual(self.commit_by(before, "before", 1).committed[0].committed, 1)
        stores("start-redis")
        self.until(lambda: not self.reserve(f"back-{time.monotonic()}", 1).degraded, 10)
        self.assertFalse(self.reserve("refused", 1, scope="s").degraded)

    def test_an_open_limit_admits_what_no_store_can_up_to_its_units(self):
        self.limit(units=100, redis_away=quota.REDIS_AWAY_OPEN, redis_away_units=50)
        other = Server()
        self.addCleanup(other.stop)
        self.reserve("before", 90)
        self.part_with_redis()
        held = self.uncounted(self.reserve("a", 30))
        again = self.uncounted(self.reserve("a", 30))
        self.assertEqual((again.replayed, again.attempt), (True, held.attempt))
        self.error(lambda: self.reserve("a", 31), grpc.StatusCode.ALREADY_EXISTS, "JOB_MISMATCH",
                   ["amounts"])
        self.error(lambda: self.reserve("b", 21), grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE")
        second = self.uncounted(self.reserve("b", 20))
        # Another server has units of its own, and does not know of the hold.
        there = self.uncounted(self.reserve("a", 30, on=other))
        self.assertNotEqual(there.attempt, held.attempt)
        self.assertEqual((self.hold_rows(), self.row("pg_held")), (0, 0))
        # By the job's id alone nobody knows it; by its reservation id it can be extended.
        self.error(lambda: self.commit("a", 30), grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE")
        longer = server.quota.Extend(service.ExtendRequest(
            tenant=self.tenant, reservation_id=held.reservation_id, ttl={"seconds": 7200}), timeout=10)
        self.assertEqual(longer.attempt, held.attempt)
        self.assertGreater(longer.remaining_ttl.seconds, 7100)
        # What is lent cannot be looked at: what does not fit beside it is debt, whatever the policy.
        done = self.commit_by(longer, "a", 25, )
        self.assertFalse(done.late)
        self.assertEqual(done.committed[0].committed + done.committed[0].debt, 25)
        self.assertTrue(self.commit_by(there, "a", 25).replayed)
        self.assertEqual(self.reserve("a", 30).decision, quota.DECISION_ALREADY_COMMITTED)
        self.assertEqual(self.row("committed + debt"), 25)
        # One that was released never commits; its units stay counted.
        server.quota.Release(service.ReleaseRequest(
            tenant=self.tenant, job_id="b", reservation_id=second.reservation_id), timeout=10)
        self.error(lambda: self.commit_by(second, "b", 20),
                   grpc.StatusCode.FAILED_PRECONDITION, "RELEASED")
        self.error(lambda: server.quota.Extend(service.ExtendRequest(
            tenant=self.tenant, reservation_id=second.reservation_id), timeout=10),
            grpc.StatusCode.FAILED_PRECONDITION, "RELEASED")
        self.error(lambda: self.reserve("b", 20), grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE")
        stores("start-redis")
        self.until(lambda: not self.reserve(f"back-{time.monotonic()}", 0).degraded, 10)
        self.books_are_exact()

    def test_an_open_limit_takes_a_certain_no_and_what_postgres_has(self):
        self.limit(units=100, redis_away=quota.REDIS_AWAY_OPEN, redis_away_units=50)
        self.part_with_redis()
        held = self.admitted(self.reserve("a", 60))
        self.assertFalse(held.uncounted)
        self.assertEqual(self.reserve("b", 60).decision, quota.DECISION_REJECT)
        self.assertEqual(self.row("pg_held"), 60)

    def test_an_open_limit_admits_without_postgres_too(self):
        self.limit(units=100, redis_away=quota.REDIS_AWAY_OPEN, redis_away_units=50)
        self.limit(meter="calls", units=100)
        self.reserve("before", 1)
        time.sleep(2 * 1.1)  # a beat after the change has every server read the limits anew
        self.reserve("before-too", 1, meter="calls")
        self.part_with_redis()
        stores("kill-postgres")
        try:
            held = self.uncounted(self.reserve("a", 30))
            self.assertTrue(self.uncounted(self.reserve("a", 30)).replayed)
            with self.assertRaises(grpc.RpcError) as caught:
                self.reserve("b", 1, meter="calls")
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        finally:
            stores("start-postgres")
        self.until(self.postgres_serves, 20)
        done = self.commit_when_it_can(held, "a", 30)
        self.assertEqual(done.committed[0].committed + done.committed[0].debt, 30)
        self.assertEqual(self.row("committed + debt"), 30)
        self.books_are_exact()

    def pages(self, size):
        token = ""
        while True:
            page = server.quota.ListReservations(service.ListReservationsRequest(
                tenant=self.tenant, page_size=size, page_token=token), timeout=10)
            yield [each.job_id for each in page.reservations]
            token = page.next_page_token
            if not token:
                return

    def test_pages_go_on_where_all_holds_are_in_postgres(self):
        self.limit(units=1000)
        for n in range(5):
            self.reserve(f"j{n}", 1, ttl={"seconds": 3600})
        self.until(lambda: sum(self.pages(10), []) == [f"j{n}" for n in range(5)], 10)
        for size in 1, 2, 5:
            self.assertEqual(sum(self.pages(size), []), [f"j{n}" for n in range(5)])

    def test_extend_means_the_hold_that_followed_one_that_is_due(self):
        self.limit(units=1000)
        for job in "a", "b", "c":
            self.reserve(job, 1, ttl={"seconds": 3600})
            end_ms = int(time.time() * 1000) + 800
            sql(f"UPDATE pg_hold SET deadline_ms = {end_ms}, hold = regexp_replace(hold,"
                f" '^(\\d+:\\d+):\\d+:', '\\1:{end_ms}:') WHERE job_id = '{job}'")
            time.sleep(max(0, end_ms / 1000 + 0.005 - time.time()))
            self.assertFalse(self.reserve(job, 1).replayed)
            server.quota.Extend(service.ExtendRequest(
                tenant=self.tenant, job_id=job, ttl={"seconds": 120}), timeout=10)

    def test_rows_that_nobody_can_reap_keep_no_other_hold(self):
        """More than one turn of the reap takes, and their books contradict each other."""
        self.limit(units=1000)
        self.reserve("a", 1, ttl={"seconds": 3600})
        sql("INSERT INTO pg_hold (tenant_id, job_id, epoch, hold_seq, deadline_ms, hold)"
            " SELECT tenant_id, 'due-' || n, epoch, hold_seq, n, hold FROM pg_hold"
            " JOIN tenant USING (tenant_id), generate_series(1, 2100) n"
            f" WHERE name = '{self.tenant}'")
        sql("UPDATE quota q SET leased = leased + 1 FROM tenant t"
            f" WHERE t.tenant_id = q.tenant_id AND t.name = '{self.tenant}'")
        self.addCleanup(sql, "UPDATE quota q SET leased = leased - 1 FROM tenant t WHERE"
                        f" t.tenant_id = q.tenant_id AND t.name = '{self.tenant}'")
        self.addCleanup(sql, "DELETE FROM pg_hold WHERE job_id LIKE 'due-%'")
        super().setUp()
        self.limit(units=100)
        self.assertFalse(self.reserve("b", 100, ttl={"nanos": 300 * 1000 * 1000}).degraded)
        self.until(lambda: int(sql("SELECT count(*) FROM expired_hold JOIN tenant USING (tenant_id)"
                                   f" WHERE name = '{self.tenant}'")[0]) == 1, 10)

    def test_under_load_nobody_is_refused(self):
        self.limit(units=10 ** 12)
        other = Server()
        self.addCleanup(other.stop)
        stop, bad, done, degraded = threading.Event(), [], set(), []

        def run(number, on):
            turn = 0
            while not stop.is_set():
                job = f"{number}-{turn}"
                turn += 1
                begun = time.monotonic()
                try:
                    held = self.reserve(job, 3, on=on)
                    if held.degraded:
                        degraded.append(job)
                    if held.decision != quota.DECISION_ALLOW:
                        bad.append(f"{job}: {held}")
                    on.quota.Commit(service.CommitRequest(
                        tenant=self.tenant, job_id=job, reservation_id=held.reservation_id,
                        actual=[service.ActualAmount(meter="tokens", units=2)]), timeout=10)
                    done.add(job)
                except grpc.RpcError as error:
                    bad.append(f"{job} after {time.monotonic() - begun:.3f}: {error.details()}")

        threads = [threading.Thread(target=run, args=(n, (server, other)[n % 2]))
                   for n in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            time.sleep(1)
            stores("kill-redis")
            time.sleep(1)
            stores("start-redis")
        time.sleep(2)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(bad, [])
        self.assertGreater(len(degraded), 10)
        self.assertEqual(self.row("committed"), 2 * len(done))
        self.books_are_exact()


if __name__ == "__main__":
    harness.main()
