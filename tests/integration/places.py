"""One job, one tenant, two places: holds in Redis and in Postgres, and what each owes the other."""
import os
import signal
import threading
import time

import grpc

import harness
from harness import Case, Server, quota, redis, server, service, sql

LONG = {"seconds": 3600}  # longer than Redis keeps any
OF_TENANT = "tenant_id = (SELECT tenant_id FROM tenant WHERE name = '{}')"


class Places(Case):
    def tearDown(self):
        self.redis(signal.SIGCONT)
        self.until(lambda: not self.is_away(), 20)

    @staticmethod
    def is_away():
        return server.admin.GetStatus(harness.admin.GetStatusRequest()).holding_in_postgres

    def redis(self, what):
        if what == signal.SIGSTOP:
            self.pid = next(int(line.split(":")[1]) for line in redis("INFO", "server")
                            if line.startswith("process_id:"))
        if getattr(self, "pid", None):
            os.kill(self.pid, what)

    def away(self):
        self.redis(signal.SIGSTOP)
        self.reserve(f"finds-out-{time.monotonic_ns()}", 1, meter="other")
        self.until(self.is_away, 10)

    def back(self):
        self.redis(signal.SIGCONT)
        self.until(lambda: not self.is_away(), 20)

    def mine(self):
        return OF_TENANT.format(self.tenant)

    def make_due(self, job, copies=0, in_ms=-1):
        """It is past its deadline, or will be; so are copies of it, which its quota has room for."""
        sql(f"INSERT INTO pg_hold (tenant_id, job_id, epoch, hold_seq, deadline_ms, hold)"
            f" SELECT tenant_id, job_id || '-' || n, epoch, hold_seq, deadline_ms, hold FROM pg_hold,"
            f" generate_series(1, {copies}) n WHERE {self.mine()} AND job_id = '{job}';"
            f" UPDATE quota SET pg_held = pg_held + {copies} WHERE {self.mine()};"
            " UPDATE pg_hold SET deadline_ms = at, hold = regexp_replace(hold,"
            " '^(\\d+:\\d+):\\d+:', '\\1:' || at || ':') FROM (SELECT"
            f" (extract(epoch FROM clock_timestamp()) * 1000)::bigint + {in_ms} AS at) c"
            f" WHERE {self.mine()}")

    def events(self):
        """Those of its being served from Postgres."""
        kinds = quota.EVENT_KIND_DEGRADED, quota.EVENT_KIND_RECOVERED
        return [int(kind) for kind in sql(f"SELECT kind FROM event WHERE {self.mine()}"
                                          f" AND kind IN {kinds} ORDER BY seq")]

    def test_a_due_one_in_postgres_makes_room_while_redis_is_there(self):
        for _ in range(5):
            super().setUp()
            self.limit(units=100)
            self.reserve("long", 100, ttl=LONG)
            self.make_due("long")
            again = self.reserve("next", 100)
            self.assertEqual(again.decision, quota.DECISION_WARN, again)

    def test_so_many_that_one_turn_does_not_reap_them_make_room(self):
        for away in False, False, True:
            super().setUp()
            self.limit(units=1000)
            self.limit(meter="other")
            self.reserve("long", 1, ttl=LONG)
            if away:
                self.away()
            self.make_due("long", copies=999)
            self.assertEqual(self.reserve("all", 1000).decision, quota.DECISION_WARN)

    def test_a_commit_finds_room_in_all_that_is_due(self):
        for _ in range(3):
            super().setUp()
            self.limit(units=1000)
            self.reserve("long", 1, ttl=LONG)
            held = self.reserve("job", 1)
            self.make_due("long", copies=900)
            done = self.commit("job", 1000, reservation_id=held.reservation_id)
            self.assertEqual(done.committed[0].debt, 0)

    def test_a_tenant_with_a_locked_row_and_many_due_keeps_no_other_waiting(self):
        self.limit(units=1000)
        self.reserve("long", 1, ttl=LONG)
        locked = threading.Event()
        query = (f"BEGIN; SELECT FROM quota WHERE {self.mine()} FOR UPDATE;"
                 " SELECT pg_sleep(6); COMMIT")
        self.make_due("long", copies=900, in_ms=2500)
        keeper = threading.Thread(target=lambda: (locked.set(), sql(query)))
        keeper.start()
        locked.wait()
        time.sleep(3.5)  # they are due now, and their turn has come
        stuck = self.tenant
        super().setUp()
        self.limit(units=100)
        for n in range(4):
            begun = time.monotonic()
            self.reserve(f"b-{n}", 100, ttl={"nanos": 100 * 1000 * 1000})
            self.until(lambda: int(sql("SELECT count(*) FROM expired_hold WHERE"
                                       f" {self.mine()} AND job_id = 'b-{n}'")[0]) == 1, 5)
            self.assertLess(time.monotonic() - begun, 0.1 + 2.0 + 0.5)
        keeper.join()
        self.until(lambda: sql("SELECT count(*) FROM pg_hold WHERE "
                               + OF_TENANT.format(stuck)) == ["0"], 20)

    def in_both(self, job):
        first = self.reserve(job, 10)
        self.away()
        second = self.reserve(job, 10)
        self.assertNotEqual(first.attempt, second.attempt)
        self.back()
        return first, second

    def test_a_release_by_job_ends_both_attempts(self):
        self.limit(units=1000)
        self.limit(meter="other")
        first, second = self.in_both("a")
        server.quota.Release(service.ReleaseRequest(tenant=self.tenant, job_id="a"), timeout=10)
        self.assertEqual(server.quota.GetReservation(service.GetReservationRequest(
            tenant=self.tenant, job_id="a")).reservation.state, quota.RESERVATION_STATE_RELEASED)
        for held in first, second:
            self.error(lambda: self.commit("a", 10, reservation_id=held.reservation_id),
                       grpc.StatusCode.FAILED_PRECONDITION, "RELEASED")
        self.error(lambda: self.commit("a", 10), grpc.StatusCode.FAILED_PRECONDITION, "RELEASED")
        self.assertEqual(self.usage().held, 0)
        self.assertFalse(self.reserve("a", 10).replayed)

    def test_a_commit_by_job_means_the_attempt_that_is_live(self):
        self.limit(units=1000)
        self.limit(meter="other")
        self.in_both("a")
        sql("UPDATE pg_hold SET deadline_ms = n, hold = regexp_replace(hold, '^(\\d+:\\d+):\\d+:',"
            " '\\1:' || n || ':') FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            f" - 1 AS n) c WHERE {self.mine()} AND job_id = 'a'")
        self.assertFalse(self.commit("a", 10).late)

    def pages(self, size):
        """Job ids, and whether a page was degraded."""
        jobs, degraded, token = [], False, ""
        while True:
            page = server.quota.ListReservations(service.ListReservationsRequest(
                tenant=self.tenant, page_size=size, page_token=token), timeout=10)
            jobs += [each.job_id for each in page.reservations]
            degraded |= page.degraded
            token = page.next_page_token
            if not token:
                return jobs, degraded

    def test_a_list_goes_on_behind_what_nobody_can_read(self):
        self.limit(units=1000)
        jobs = [f"job-{n}" for n in range(6)]
        for job in jobs:
            self.reserve(job, 1, ttl=LONG)
        sql(f"UPDATE pg_hold SET hold = 'x' WHERE {self.mine()} AND job_id IN ('job-1', 'job-2')")
        left = [job for job in jobs if job not in ("job-1", "job-2")]
        for size in 1, 2, 3, 10:
            self.assertEqual(self.pages(size), (left, False))
        sql(f"DELETE FROM pg_hold WHERE {self.mine()}")
        sql(f"UPDATE quota SET pg_held = 0 WHERE {self.mine()}")

    def test_what_postgres_holds_is_listed_while_redis_is_away(self):
        self.limit(units=1000)
        self.limit(meter="other")
        self.reserve("here", 1)
        self.reserve("long", 1, ttl=LONG)
        self.assertEqual(self.pages(1), (["here", "long"], False))
        self.away()
        jobs, degraded = self.pages(1)
        self.assertTrue(degraded)
        self.assertIn("long", jobs)
        self.assertNotIn("here", jobs)
        self.back()
        self.until(lambda: {"here", "long"} <= set(self.pages(1)[0]), 5)
        self.assertFalse(self.pages(1)[1])

    def test_a_long_one_without_room_in_either_place_is_refused(self):
        self.limit(units=60)
        self.reserve("a", 60)
        for _ in range(2):
            refused = self.reserve("b", 10, ttl=LONG)
            self.assertEqual(refused.decision, quota.DECISION_REJECT)
        self.assertIsNone(server.process.poll())

    def test_a_refusal_of_a_long_one_is_not_degraded(self):
        self.limit(units=100)
        self.reserve("a", 100, ttl=LONG)
        refused = self.reserve("b", 100, ttl=LONG)
        self.assertEqual((refused.decision, refused.degraded), (quota.DECISION_REJECT, False))

    def test_who_was_missed_for_a_moment_has_not_recovered(self):
        self.limit(units=1000)
        alone = Server("--redis", "unix:/nonexistent")
        self.addCleanup(lambda: alone.process.poll() is None and alone.stop())
        self.assertTrue(self.reserve("a", 1, on=alone).degraded)
        told = [quota.EVENT_KIND_DEGRADED]
        self.until(self.events, 10)
        time.sleep(1)
        self.assertEqual(self.events(), told)
        alone.process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        alone.process.send_signal(signal.SIGCONT)
        self.assertTrue(self.reserve("b", 1, on=alone).degraded)
        time.sleep(0.5)
        self.assertEqual(self.events(), told)
        alone.process.kill()
        told.append(quota.EVENT_KIND_RECOVERED)
        self.until(lambda: self.events() == told, 15)

    def test_what_ends_while_redis_is_away_is_reaped_as_soon_as_otherwise(self):
        self.limit(units=1000)
        self.limit(meter="other")
        self.away()
        late = []
        for n in range(9):
            self.reserve(f"ends-{n}", 1, ttl={"nanos": 300 * 1000 * 1000})
            ends = time.monotonic() + 0.3
            self.until(lambda: sql(f"SELECT count(*) FROM pg_hold WHERE {self.mine()}"
                                   " AND job_id LIKE 'ends-%'") == ["0"], 15)
            late.append(time.monotonic() - ends)
        print("reaped after", sorted(round(each, 2) for each in late))
        self.assertLess(sorted(late)[len(late) // 2], 0.9)  # after REAP_LATE_MS another server would do it

    def test_an_absence_that_follows_soon_is_told_too(self):
        self.limit(units=1000)
        self.limit(meter="other")
        for turn in 1, 2, 3:
            self.away()
            self.reserve(f"job-{turn}", 1)
            self.back()
            self.until(lambda: self.events().count(quota.EVENT_KIND_DEGRADED) == turn, 10)
            self.until(lambda: self.events().count(quota.EVENT_KIND_RECOVERED) == turn, 10)


if __name__ == "__main__":
    harness.main()
