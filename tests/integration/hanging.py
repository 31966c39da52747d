"""A Postgres that hangs: all its processes are stopped under load, and go on later.

Reserves go on inside the leases. Commits are told within HANG_WITHIN_MS that it is away, then at once;
what was sent before is resolved. Nothing is left to do by hand, and the books are right."""
import os
import pathlib
import signal
import threading
import time
import unittest

import grpc

import harness
from harness import DIR, Case, admin, error_info, quota, server, service, sql

NOTICED = 2.0  # HANG_WITHIN_MS, quota/times.h
AT_ONCE = 0.5
SLOW = 3.0  # what a busy machine may add
CALLERS = 4


def postgres_processes():
    """The postmaster and all it has started."""
    master = int((DIR / "data" / "postmaster.pid").read_text().splitlines()[0])
    found = [master]
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text()
        except OSError:
            continue
        if int(stat.rsplit(")", 1)[1].split()[1]) == master:
            found.append(int(path.name))
    return found


class Hang:
    """Stopped until the end of the with; the postmaster first, so that nobody is born meanwhile."""

    def __enter__(self):
        self.stopped = postgres_processes()[:1]
        os.kill(self.stopped[0], signal.SIGSTOP)
        for pid in postgres_processes()[1:]:
            os.kill(pid, signal.SIGSTOP)
            self.stopped.append(pid)

    def __exit__(self, *_):
        for pid in self.stopped:
            os.kill(pid, signal.SIGCONT)


class Caller(threading.Thread):
    """Reserves and commits one unit, again and again; repeats what is not known until it is."""

    def __init__(self, case, name):
        super().__init__(daemon=True)
        self.case, self.name_, self.over = case, name, False
        self.committed, self.failures, self.unexpected = [], [], []
        self.reserves = []

    def run(self):
        number = 0
        while not self.over:
            number += 1
            job = f"{self.name_}-{number}"
            try:
                held = self.timed(self.reserves, self.reserve, job)
                if held is None:
                    continue
                while not self.commit(job, held) and not self.over:
                    time.sleep(0.05)
            except grpc.RpcError as error:
                self.unexpected.append((job, error.code(), error.details()))
                return

    def timed(self, into, call, *args):
        begun = time.monotonic()
        answer = call(*args)
        into.append((begun, time.monotonic() - begun))
        return answer

    def reserve(self, job):
        answer = self.case.reserve(job, 1)
        assert answer.decision in (quota.DECISION_ALLOW, quota.DECISION_WARN), answer
        return answer

    def commit(self, job, held):
        begun = time.monotonic()
        try:
            server.quota.Commit(service.CommitRequest(
                tenant=self.case.tenant, job_id=job, reservation_id=held.reservation_id,
                actual=[service.ActualAmount(meter="tokens", units=1)]), timeout=30)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            effect = error_info(error).metadata["effect"]
            self.failures.append((begun, time.monotonic() - begun, effect))
            return False
        self.committed.append(job)
        return True


class Hanging(Case):
    def setUp(self):
        self.until(self.postgres_serves, 20)  # the test before may have stopped it a moment ago
        super().setUp()
        self.limit(units=1_000_000)

    def postgres_is_up(self):
        reply = server.admin.GetStatus(admin.GetStatusRequest(), timeout=30)
        return next(store.up for store in reply.stores if store.store == "postgres")

    def commits(self, job):
        """How long it took, and None or the effect of UNAVAILABLE."""
        held = self.reserve(job, 1)
        caller, begun = Caller(self, job), time.monotonic()
        if caller.commit(job, held):
            return time.monotonic() - begun, None
        return caller.failures[0][1:]

    def books(self):
        return sql("SELECT q.committed, q.debt, (SELECT count(*) FROM ledger l WHERE l.tenant_id ="
                   " t.tenant_id) FROM quota q JOIN tenant t USING (tenant_id)"
                   f" WHERE t.name = '{self.tenant}'")[0]

    def test_under_load(self):
        callers = [Caller(self, f"load-{i}") for i in range(CALLERS)]
        for each in callers:
            each.start()
        self.until(lambda: all(len(each.committed) > 20 for each in callers), 30)
        with Hang():
            begun = time.monotonic()
            self.until(lambda: any(each.failures for each in callers) or
                       time.monotonic() > begun + NOTICED, NOTICED + SLOW)
            time_of_probe, effect = self.commits("probe")
            noticed = time.monotonic() - begun
            self.assertEqual(effect, "definite")
            self.assertLess(noticed, NOTICED + SLOW)
            # Known by now: at once, again and again, and nothing of it happens.
            took = [self.commits(f"refused-{i}") for i in range(20)]
            self.assertEqual({effect for _, effect in took}, {"definite"})
            self.assertLess(sorted(seconds for seconds, _ in took)[10], AT_ONCE)
            self.assertFalse(self.postgres_is_up())
            # Long enough for what was sent to be given up.
            self.until(lambda: all(each.failures for each in callers), 10 + SLOW)
        back = time.monotonic()
        self.until(lambda: self.commits(f"after-{time.monotonic()}")[1] is None, 1 + SLOW)
        back = time.monotonic() - back
        self.until(self.postgres_serves, 1 + SLOW)
        self.until(self.postgres_is_up, 1 + SLOW)
        before = [len(each.committed) for each in callers]
        self.until(lambda: all(len(each.committed) > was + 20
                               for each, was in zip(callers, before)), 30)
        for each in callers:
            each.over = True
        for each in callers:
            each.join()
            self.assertEqual(each.unexpected, [])
        count = sum(len(each.committed) for each in callers)
        extra = int(self.books().split("|")[2]) - count
        print(f"noticed {noticed:.2f} s, then {sorted(took)[10][0] * 1000:.0f} ms a Commit; probe"
              f" {time_of_probe:.2f} s; back {back:.2f} s; slowest Reserve"
              f" {max(s for each in callers for _, s in each.reserves):.3f} s; {count} commits; effects"
              f" {sorted({f[2] for each in callers for f in each.failures})}", flush=True)
        # What the callers were told is there, once, with the commits of this test itself.
        rows = sql("SELECT l.job_id FROM ledger l JOIN tenant t USING (tenant_id)"
                   f" WHERE t.name = '{self.tenant}'")
        self.assertEqual(len(rows), len(set(rows)))
        self.assertEqual({job for each in callers for job in each.committed} - set(rows), set())
        self.assertFalse([job for job in rows if job.startswith(("refused", "probe"))])
        self.assertEqual(self.books(), f"{count + extra}|0|{count + extra}")
        self.assertEqual(extra, len([job for job in rows if job.startswith("after")]))

    def test_short_stops_are_no_hang(self):
        """Half a second without an answer refuses nobody."""
        for i in range(3):
            held = self.reserve(f"short-{i}", 1)
            with Hang():
                caller = Caller(self, "short")
                timer = threading.Thread(target=caller.commit, args=(f"short-{i}", held))
                timer.start()
                time.sleep(0.5)
            timer.join()
            self.assertEqual((caller.failures, caller.committed), ([], [f"short-{i}"]))

    def test_an_idle_server_says_that_it_is_away(self):
        self.until(self.postgres_is_up, 10)
        with Hang():
            begun = time.monotonic()
            self.assertFalse(self.postgres_is_up())
            self.assertLess(time.monotonic() - begun, NOTICED + SLOW)
        self.until(self.postgres_serves, 1 + SLOW)
        self.until(self.postgres_is_up, 1 + SLOW)


if __name__ == "__main__":
    harness.main()
