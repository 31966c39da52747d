"""Crossings of what is reserved: told once, within milliseconds, whoever counted them."""
import os
import subprocess
import threading
import time

import grpc

import harness
from harness import Case, Server, quota, redis, server, service, sql, stores

UP, DOWN = quota.DIRECTION_UP, quota.DIRECTION_DOWN
SOFT, HARD, CAP = (quota.EVENT_KIND_SOFT_STOP, quota.EVENT_KIND_HARD_STOP,
                   quota.EVENT_KIND_HARD_CAP)


class Stream:
    """What a watcher is told of what is reserved, and when."""

    def __init__(self, on, tenant, **more):
        self.stream = on.quota.Watch(service.WatchRequest(tenant=tenant, **more), timeout=100)
        self.seen, self.all = [], []
        self.thread = threading.Thread(target=self.read)
        self.first = next(self.stream)
        self.thread.start()

    def read(self):
        try:
            for frame in self.stream:
                if frame.HasField("event"):
                    self.all.append(frame.event)
                    if frame.event.basis == quota.BASIS_RESERVED:
                        self.seen.append((time.monotonic(), frame.event))
        except Exception:  # it was cancelled, or its server is gone
            pass

    def kinds(self):
        return [(event.kind, event.direction) for _, event in self.seen]

    def close(self):
        self.stream.cancel()
        self.thread.join()


class Crossing(Case):
    def watch(self, on=server, **more):
        stream = Stream(on, self.tenant, **more)
        self.addCleanup(stream.close)
        return stream

    def release(self, job):
        server.quota.Release(service.ReleaseRequest(tenant=self.tenant, job_id=job), timeout=10)

    def released(self, job):
        try:
            self.release(job)
        except grpc.RpcError:
            return False
        return True

    def kinds(self):
        return [tuple(map(int, row.split("|"))) for row in sql(
            "SELECT kind, direction FROM event JOIN tenant USING (tenant_id)"
            f" WHERE name = '{self.tenant}' AND basis = 2 ORDER BY seq")]

    def works(self):
        try:
            return server.admin.CreateTenant(harness.admin.CreateTenantRequest(
                tenant=harness.admin.Tenant(tenant=f"works-{next(harness.ids)}")), timeout=5)
        except grpc.RpcError:
            return None

    def settled(self):
        """Redis has nothing left to tell."""
        self.until(lambda: not "".join(redis("KEYS", "q:{*}:2:p")), 10)

    def test_a_hold_crosses_and_a_release_takes_it_back(self):
        self.limit(units=100, overage_units=10, reserved_crossings=True)
        stream = self.watch()
        self.reserve("a", 80)
        self.reserve("b", 10)
        self.until(lambda: stream.kinds() == [(SOFT, UP)], 10)
        event = stream.seen[0][1]
        self.assertEqual((event.quota.committed, event.quota.held, event.quota.limit, event.job_id),
                         (0, 90, 100, ""))
        self.assertIn("90 used and held, at or over the soft stop of 90", event.message)
        self.reserve("c", 20)
        self.release("b")  # 100: the hard stop holds
        self.until(lambda: len(stream.seen) == 4, 10)
        self.release("c")  # 80
        self.until(lambda: len(stream.seen) == 6, 10)
        self.assertEqual(stream.kinds(), [(SOFT, UP), (HARD, UP), (CAP, UP), (CAP, DOWN),
                                          (HARD, DOWN), (SOFT, DOWN)])
        self.commit("a", 80)
        self.reserve("d", 15)
        self.until(lambda: len(stream.seen) == 7, 10)
        self.assertEqual((stream.seen[6][1].quota.committed, stream.seen[6][1].quota.held), (80, 15))
        self.assertEqual(self.kinds(), stream.kinds())
        self.settled()

    def test_limits_that_do_not_want_them_have_none(self):
        self.limit(units=100)
        self.reserve("a", 100)
        self.release("a")
        time.sleep(1.5)
        self.assertEqual(self.kinds(), [])
        self.assertEqual(sql("SELECT count(*) FROM reserved_level JOIN tenant USING (tenant_id)"
                             f" WHERE name = '{self.tenant}'"), ["0"])

    def test_an_expiry_crosses(self):
        self.limit(units=100, reserved_crossings=True)
        self.reserve("a", 95, ttl={"nanos": 500_000_000})
        self.until(lambda: self.kinds() == [(SOFT, UP), (SOFT, DOWN)], 10)

    def test_it_is_told_within_milliseconds(self):
        self.limit(units=100, reserved_crossings=True)
        stream = self.watch()
        took = []
        for n in range(40):
            begun = time.monotonic()
            self.reserve(f"a-{n}", 95)
            self.until(lambda n=n: len(stream.seen) > 2 * n, 10)
            took.append(stream.seen[2 * n][0] - begun)
            self.release(f"a-{n}")
            self.until(lambda n=n: len(stream.seen) > 2 * n + 1, 10)
        took.sort()
        self.assertEqual(stream.kinds(), [(SOFT, UP), (SOFT, DOWN)] * 40)
        print(f"from before the Reserve to the watcher: median {took[20] * 1000:.1f} ms,"
              f" worst of 40 {took[-1] * 1000:.1f} ms")

    def test_limits_change_stop_and_go(self):
        self.limit(units=100, reserved_crossings=True)
        self.reserve("a", 95)
        self.limit(units=200, reserved_crossings=True)
        self.reserve("b", 1)
        self.until(lambda: self.kinds() == [(SOFT, UP), (SOFT, DOWN)], 10)
        self.limit(units=100, reserved_crossings=True)
        self.reserve("c", 1)
        self.until(lambda: len(self.kinds()) == 3, 10)
        self.limit(units=100)  # wants none any more
        self.reserve("d", 1)
        self.until(lambda: self.kinds()[3:] == [(SOFT, DOWN)], 10)
        self.limit(units=100, reserved_crossings=True)
        self.reserve("e", 1)
        self.until(lambda: self.kinds()[4:] == [(SOFT, UP)], 10)
        server.admin.DeleteLimit(harness.admin.DeleteLimitRequest(
            tenant=self.tenant, limit_id="tokens"))
        self.assertEqual(self.kinds()[5:], [(SOFT, DOWN)])

    def test_whoever_counted_it_may_die(self):
        """Redis keeps it, and another server tells it: once."""
        self.limit(units=100, reserved_crossings=True)
        times = 0
        for point in ("crossings.before_write", "crossings.after_write"):
            os.environ["HOLDFAST_FAULTS"] = f"{point}=crash@1"
            try:
                dying = Server()
            finally:
                del os.environ["HOLDFAST_FAULTS"]
            while dying.process.poll() is None:  # the other one's round may come first
                times += 1
                try:
                    self.reserve(f"a-{times}", 95, on=dying)
                except grpc.RpcError:
                    pass  # it died with its answer
                try:
                    dying.process.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    pass
                self.release(f"a-{times}")
            dying.channel.close()
            self.until(lambda: len(self.kinds()) >= 2 * times, 20)
            self.settled()
        self.assertEqual(self.kinds(), [(SOFT, UP), (SOFT, DOWN)] * times)

    def test_a_database_that_is_away_is_told_later(self):
        self.limit(units=100, reserved_crossings=True)
        self.reserve("a", 5)
        self.reserve("b", 90)  # lent by now: what follows needs no grant
        self.release("b")
        self.until(lambda: self.kinds() == [(SOFT, UP), (SOFT, DOWN)], 10)
        for n in range(5):
            stores("kill-postgres")
            try:
                self.reserve(f"c-{n}", 85, ttl={"seconds": 30})
                held = True
            except grpc.RpcError:
                held = False  # what was lent has gone back meanwhile
            finally:
                stores("start-postgres")
            self.until(self.works, 40)
            if held:
                break
            self.reserve(f"d-{n}", 94)
            self.until(lambda n=n: self.released(f"d-{n}"), 20)  # the committer comes back by itself
            self.until(lambda n=n: len(self.kinds()) == 4 + 2 * n, 10)
        self.assertTrue(held)
        self.until(lambda: self.kinds()[2 + 2 * n:] == [(SOFT, UP)], 20)

    def test_redis_that_lost_everything_agrees_again(self):
        self.limit(units=1000, reserved_crossings=True)
        self.reserve("a", 950)
        self.until(lambda: self.kinds() == [(SOFT, UP)], 10)
        redis("FLUSHALL")
        self.until(lambda: self.reserve(f"b-{time.monotonic()}", 1).decision
                   != quota.DECISION_REJECT, 10)
        self.until(lambda: self.kinds()[1:] == [(SOFT, DOWN)], 10)

    def test_a_watcher_resumes_over_them(self):
        self.limit(units=100, reserved_crossings=True)
        first = self.watch()
        for n in range(3):
            self.reserve(f"a-{n}", 95)
            self.release(f"a-{n}")
        self.until(lambda: len(first.seen) == 6, 10)
        cut = first.seen[2][1].seq
        other = Server()
        self.addCleanup(other.stop)
        again = self.watch(other, after_seq=cut)
        self.until(lambda: len(again.seen) == 2, 10)
        self.assertEqual([event.seq for event in again.all],
                         list(range(cut + 2, first.seen[5][1].seq + 1)))


if __name__ == "__main__":
    harness.main()
