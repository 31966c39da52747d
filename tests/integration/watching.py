"""Watch as many clients meet it at once: in time, in order, complete, whoever reads slowly or dies.

An event at will: the quota of a scope of its own, whose one commit crosses the soft stop.
"""
import threading
import time

import grpc

import harness
from harness import Case, Server, admin, quota, server, service, service_grpc, sql, stores

KINDS = {quota.EVENT_KIND_SOFT_STOP: "soft", quota.EVENT_KIND_HARD_STOP: "hard",
         quota.EVENT_KIND_HARD_CAP: "cap", quota.EVENT_KIND_LIMIT_CHANGED: "changed"}


class Reader:
    """One stream, read by a thread of its own; keeps (time, frame)."""

    def __init__(self, tenant, on=None, channel=None, **more):
        stub = service_grpc.QuotaServiceStub(channel) if channel else (on or server).quota
        self.frames = []
        self.error = None
        self.stream = stub.Watch(service.WatchRequest(tenant=tenant, **more))
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            for frame in self.stream:
                self.frames.append((time.monotonic(), frame))
        except grpc.RpcError as error:
            self.error = error

    def events(self):
        return [frame.event for _, frame in list(self.frames) if frame.HasField("event")]

    def last_seq(self):
        return self.frames[-1][1].seq if self.frames else -1

    def cancel(self):
        self.stream.cancel()
        self.thread.join()


class Streams(Case):
    def reader(self, **more):
        reader = Reader(self.tenant, **more)
        self.addCleanup(reader.cancel)
        if "after_seq" not in more:
            self.until(lambda: reader.frames, 10)
        return reader

    def chain(self, reader, first):
        for _, frame in reader.frames:
            self.assertEqual(frame.prev_seq, first)
            first = frame.seq

    def scopes(self, count, first=0):
        for number in range(first, first + count):
            self.limit(units=10, limit_id=f"limit-{number}", scope=f"s-{number}")

    def cross(self, number, on=None):
        """One event; the time of the reply to the commit."""
        stub = (on or server).quota
        held = stub.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id=f"job-{number}", scope=f"s-{number}", brief=True,
            amounts=[quota.Amount(meter="tokens", units=9)]), timeout=10)
        self.assertIn(held.decision, (quota.DECISION_ALLOW, quota.DECISION_WARN))
        stub.Commit(service.CommitRequest(
            tenant=self.tenant, job_id=f"job-{number}", reservation_id=held.reservation_id,
            actual=[service.ActualAmount(meter="tokens", units=9)]), timeout=10)
        return time.monotonic()

    def newest(self):
        return server.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant)).event_seq

    def flood(self, count, readers):
        """100 events at a time; one that reads keeps up."""
        for _ in range(count // 100):
            newest = self.newest()
            self.until(lambda: min(each.last_seq() for each in readers) >= newest - 100, 20)
            self.write_events(100)

    def kinds(self, reader):
        return [(KINDS[event.kind], event.direction == quota.DIRECTION_UP,
                 event.quota.committed + event.quota.debt, event.quota.limit)
                for event in reader.events() if event.kind in KINDS]


class InTime(Streams):
    """Measured, so it runs alone."""

    def test_a_hundred_readers_one_of_which_never_reads(self):
        self.scopes(60)
        idle = server.connect(options=harness.NARROW)
        self.addCleanup(idle.close)
        position = self.newest()
        asleep = service_grpc.QuotaServiceStub(idle).Watch(
            service.WatchRequest(tenant=self.tenant, after_seq=position), timeout=60)
        channels = [server.connect() for _ in range(3)]
        readers = [self.reader(channel=channels[number % 3], after_seq=position)
                   for number in range(99)]
        before_kib = server.rss_kib()
        for first in (0, 20, 40):
            late = self.measure(readers, range(first, first + 20))
            if late < 0.1:
                break  # a busy machine may try again
        self.assertLess(late, 0.1)
        self.flood(1600, readers)
        newest = self.newest()
        self.until(lambda: min(each.last_seq() for each in readers) >= newest, 20)
        for reader in readers:
            self.chain(reader, position)
            self.assertEqual(len(reader.events()), newest - position)
        self.assertLess(server.rss_kib() - before_kib, 64 * 1024)
        frames = list(asleep)  # it wakes up
        self.assertEqual(frames[-1].end.cause, service.END_CAUSE_SLOW_READER)
        resumed = self.reader(after_seq=frames[-1].end.resume_after_seq)
        self.until(lambda: resumed.last_seq() >= newest, 10)
        seqs = [frame.seq for frame in frames if frame.HasField("event")]
        seqs += [event.seq for event in resumed.events()]
        self.assertEqual(seqs, list(range(position + 1, newest + 1)))
        for channel in channels:
            channel.close()

    def measure(self, readers, numbers):
        """p99 of what passes between the reply to a commit and its event, in seconds."""
        took = []
        for number in numbers:
            had = [len(reader.frames) for reader in readers]
            replied = self.cross(number)
            self.until(lambda: all(len(reader.frames) > count
                                   for reader, count in zip(readers, had)), 10)
            took += [max(reader.frames[count][0] - replied, 0)
                     for reader, count in zip(readers, had)]
        took.sort()
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(f"commit to event at 99 readers: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms,"
              f" most {took[-1] * 1e3:.1f} ms")
        return p99


class Watching(Streams):
    # ---- order, and nothing lost ----

    def test_two_servers_stream_the_same(self):
        other = Server()
        self.addCleanup(other.stop)
        self.scopes(40)
        here, there = self.reader(after_seq=0), self.reader(on=other, after_seq=0)
        threads = [threading.Thread(target=lambda first=first: [
            self.cross(number, server if number % 2 else other)
            for number in range(first, 40, 4)]) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        newest = self.newest()
        self.until(lambda: min(here.last_seq(), there.last_seq()) >= newest, 10)
        self.assertEqual([event.seq for event in here.events()], list(range(1, newest + 1)))
        self.assertEqual(here.events(), there.events())
        there.cancel()

    def test_a_cut_and_a_resume_miss_and_repeat_nothing(self):
        other = Server()
        self.addCleanup(other.stop)
        self.scopes(60)
        first = self.reader(on=other, after_seq=0)
        writer = threading.Thread(target=lambda: [self.cross(number) for number in range(60)])
        writer.start()
        self.until(lambda: len(first.events()) > 20, 20)
        other.restart()
        first.thread.join()
        self.assertIsNotNone(first.error)
        self.chain(first, 0)
        second = self.reader(on=other, after_seq=first.last_seq())
        writer.join()
        newest = self.newest()
        self.until(lambda: second.last_seq() >= newest, 10)
        self.chain(second, first.last_seq())
        self.assertEqual([event.seq for event in first.events() + second.events()],
                         list(range(1, newest + 1)))
        second.cancel()

    def test_a_snapshot_is_exact_at_its_seq(self):
        self.scopes(60)
        writer = threading.Thread(target=lambda: [self.cross(number) for number in range(60)])
        writer.start()
        readers = []
        while writer.is_alive():
            readers.append(self.reader())
            time.sleep(0.05)
        writer.join()
        newest = self.newest()
        everything = {f"s-{number}" for number in range(60)}
        for reader in readers:
            self.until(lambda: reader.last_seq() >= newest, 10)
            self.chain(reader, 0)
            snapshot = reader.frames[0][1].snapshot
            self.assertEqual(len(snapshot.quotas), 60)
            told = [each.scope for each in snapshot.quotas if each.committed == 9]
            told += [event.quota.scope for event in reader.events()
                     if event.kind == quota.EVENT_KIND_SOFT_STOP]
            self.assertEqual(sorted(told), sorted(everything))

    def test_a_filtered_stream_proves_that_it_is_complete(self):
        self.scopes(12)
        reader = self.reader(after_seq=0, scopes=["s-3", "s-7"],
                             kinds=[quota.EVENT_KIND_SOFT_STOP])
        for number in range(12):
            self.cross(number)
        newest = self.newest()
        self.until(lambda: reader.last_seq() >= newest, 4)
        self.chain(reader, 0)
        self.assertEqual([event.quota.scope for event in reader.events()], ["s-3", "s-7"])
        self.assertTrue(reader.frames[-1][1].HasField("progress"))
        self.assertGreater(reader.frames[-1][1].progress.server_time.seconds, 1700000000)

    def test_a_position_that_is_no_longer_kept(self):
        self.scopes(5)
        for number in range(5):
            self.cross(number)
        newest = self.newest()
        sql("DELETE FROM event USING tenant t WHERE t.tenant_id = event.tenant_id AND t.name ="
            f" '{self.tenant}' AND seq < {newest}")
        info = self.error(lambda: next(server.quota.Watch(service.WatchRequest(
            tenant=self.tenant, after_seq=newest - 2))), grpc.StatusCode.OUT_OF_RANGE,
            "SEQ_TOO_OLD")
        self.assertEqual(info.metadata["oldest_seq"], str(newest))
        reader = self.reader(after_seq=newest - 1)
        self.until(lambda: [event.seq for event in reader.events()] == [newest], 5)

    def test_a_position_above_the_newest_event(self):
        self.scopes(1)
        self.cross(0)
        newest = self.newest()
        info = self.error(lambda: next(server.quota.Watch(service.WatchRequest(
            tenant=self.tenant, after_seq=newest + 1))), grpc.StatusCode.OUT_OF_RANGE,
            "SEQ_TOO_NEW")
        self.assertEqual(info.metadata["newest_seq"], str(newest))

    def test_a_tenant_that_is_not_known(self):
        self.error(lambda: next(server.quota.Watch(service.WatchRequest(tenant="nobody"))),
                   grpc.StatusCode.NOT_FOUND, "UNKNOWN_TENANT")

    def test_a_store_that_dies_and_comes_back_costs_no_event(self):
        self.scopes(10)
        reader = self.reader(after_seq=0)
        for number in range(5):
            self.cross(number)
        stores("kill-postgres")
        stores("start-postgres")
        self.until(self.crosses, 15)
        newest = self.newest()
        self.until(lambda: reader.last_seq() >= newest, 10)
        self.chain(reader, 0)
        self.assertEqual([event.seq for event in reader.events()], list(range(1, newest + 1)))

    def crosses(self):
        try:
            return self.cross(9) > 0
        except grpc.RpcError:
            return False

    def test_an_event_of_a_kind_that_is_not_known(self):
        reader = self.reader()
        sql("WITH t AS (UPDATE tenant SET event_seq = event_seq + 1 WHERE name ="
            f" '{self.tenant}' RETURNING tenant_id, event_seq) INSERT INTO event (tenant_id, seq,"
            " kind, at) SELECT tenant_id, event_seq, 99, now() FROM t")  # by a newer server
        self.limit()
        newest = self.newest()
        self.until(lambda: reader.last_seq() >= newest, 5)
        self.assertEqual([event.kind for event in reader.events()],
                         [99, quota.EVENT_KIND_LIMIT_CHANGED])
        self.assertTrue(reader.events()[0].message)

    # ---- crossings ----

    def use(self, job, units, reader, crossings):
        self.assertNotEqual(self.reserve(job, units).decision, quota.DECISION_REJECT)
        self.commit(job, units)
        self.until(lambda: len(self.kinds(reader)) >= crossings, 5)
        return self.kinds(reader)[-1] if crossings else None

    def test_each_stop_once_at_its_value(self):
        self.limit(units=1000, overage_percent=10)
        reader = self.reader(kinds=list(KINDS)[:3])
        self.use("a", 899, reader, 0)
        self.assertEqual(self.use("b", 1, reader, 1), ("soft", True, 900, 1000))
        self.use("c", 99, reader, 1)
        self.assertEqual(self.use("d", 1, reader, 2), ("hard", True, 1000, 1000))
        self.use("e", 99, reader, 2)
        self.assertEqual(self.use("f", 1, reader, 3), ("cap", True, 1100, 1000))
        self.assertEqual(self.reserve("g", 1).decision, quota.DECISION_REJECT)
        self.assertEqual([event.job_id for event in reader.events()], ["b", "d", "f"])
        self.assertTrue(all(event.attempt for event in reader.events()))
        self.assertEqual(len(self.kinds(reader)), 3)
        self.chain(reader, 0)

    def test_one_commit_over_all_stops_rises_lowest_first(self):
        self.limit(units=100, overage_percent=10)
        reader = self.reader(kinds=list(KINDS)[:3])
        self.use("a", 110, reader, 3)
        self.assertEqual([kind for kind, *_ in self.kinds(reader)], ["soft", "hard", "cap"])

    def test_a_change_of_the_limit_crosses_with_hysteresis(self):
        self.limit(units=1000, overage_percent=10)
        reader = self.reader()
        self.use("a", 1000, reader, 2)

        def change(units):
            had = len(self.kinds(reader))
            self.limit(units=units, overage_percent=10)
            self.until(lambda: "changed" in [kind for kind, *_ in self.kinds(reader)[had:]], 5)
            newest = self.newest()
            self.until(lambda: reader.last_seq() >= newest, 5)
            return [(kind, up) for kind, up, *_ in self.kinds(reader)[had:] if kind != "changed"]
        # 1,000 used. Hard stop 1,020 less 20 points of hysteresis: still armed. 1,021 - 20 is not.
        self.assertEqual(change(1020), [])
        self.assertEqual(change(1021), [("hard", False)])
        # Soft stop 90 % of 1,136 = 1,023, less 22 = 1,001: disarmed; 1,133: 1,020 - 22 = 998: not.
        self.assertEqual(change(1133), [])
        self.assertEqual(change(1136), [("soft", False)])
        self.assertEqual(change(900), [("soft", True), ("hard", True), ("cap", True)])
        self.assertEqual(change(5000), [("cap", False), ("hard", False), ("soft", False)])
        self.assertEqual({event.job_id for event in reader.events()[2:]}, {""})
        self.chain(reader, 0)

    def test_a_removed_limit_stops_nothing_any_more(self):
        self.limit(units=100, overage_percent=10)
        reader = self.reader()
        self.use("a", 60, reader, 0)
        self.assertNotEqual(self.reserve("b", 50).decision, quota.DECISION_REJECT)
        self.commit("b", 50)
        self.assertEqual(self.reserve("c", 0).decision, quota.DECISION_WARN)
        server.admin.DeleteLimit(admin.DeleteLimitRequest(tenant=self.tenant, limit_id="tokens"))
        reply = server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id="c", actual=[service.ActualAmount(
                meter="tokens", units=500, overrun=service.OVERRUN_POLICY_STRICT)]), timeout=10)
        self.assertEqual((reply.committed[0].committed, reply.committed[0].debt), (500, 0))
        newest = self.newest()
        self.until(lambda: reader.last_seq() >= newest, 5)
        told = [(event.kind, event.direction) for event in reader.events()]
        up, down = quota.DIRECTION_UP, quota.DIRECTION_DOWN
        self.assertEqual(told, [
            (quota.EVENT_KIND_SOFT_STOP, up), (quota.EVENT_KIND_HARD_STOP, up),
            (quota.EVENT_KIND_HARD_CAP, up), (quota.EVENT_KIND_LIMIT_CHANGED, 0),
            (quota.EVENT_KIND_HARD_CAP, down), (quota.EVENT_KIND_HARD_STOP, down),
            (quota.EVENT_KIND_SOFT_STOP, down)])
        removed = reader.events()[3]
        self.assertTrue(removed.limit_removed)
        self.assertTrue(removed.quota.unlimited)
        self.assertEqual((removed.quota.limit_id, removed.message), ("tokens", "tokens: was removed"))
        self.assertFalse(any(event.limit_removed for event in reader.events() if event != removed))
        self.chain(reader, 0)


if __name__ == "__main__":
    harness.main()
