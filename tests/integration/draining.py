"""How a holdfastd begins and ends: where it listens, what it promises those who are there at the end."""
import collections
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import harness
from harness import DIR, Case, Server, admin, admin_grpc, free_port, quota, server, service, sql, stores

EX_UNAVAILABLE, EX_CONFIG = 69, 78


class Load:
    """Pairs of Reserve and Commit from several threads until they fail; knows what was answered."""

    def __init__(self, tenant, on, threads):
        self.tenant, self.on = tenant, on
        self.committed, self.unknown, self.errors = set(), set(), []
        self.threads = [threading.Thread(target=self.run, args=(number,))
                        for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        turn = 0
        while True:
            job = f"job-{number}-{turn}"
            turn += 1
            try:
                held = self.on.quota.Reserve(service.ReserveRequest(
                    tenant=self.tenant, job_id=job, brief=True,
                    amounts=[quota.Amount(meter="tokens", units=2)]), timeout=10)
                self.unknown.add(job)
                self.on.quota.Commit(service.CommitRequest(
                    tenant=self.tenant, job_id=job, reservation_id=held.reservation_id,
                    actual=[service.ActualAmount(meter="tokens", units=2)]), timeout=10)
                self.committed.add(job)
            except grpc.RpcError as error:
                self.errors.append(error)
                return

    def join(self):
        for thread in self.threads:
            thread.join()


def threads_of(pid):
    """How many threads of each name."""
    return collections.Counter(name.read_text().strip()
                               for name in pathlib.Path(f"/proc/{pid}/task").glob("*/comm"))


def thread_map():
    """The first two columns of the table of threads in src/README.md."""
    text = (harness.ROOT / "src" / "README.md").read_text()
    rows = text.split("## Threads\n", 1)[1].split("\nWork moves", 1)[0].splitlines()
    rows = [row.split("|") for row in rows if row.startswith("| ")]
    return {row[1].strip(): row[2].strip() for row in rows[1:]}


class Draining(Case):
    def test_threads_have_the_names_of_the_thread_map(self):
        other = Server("--workers", "3")
        self.addCleanup(other.stop)
        named = thread_map()
        self.assertEqual(named.pop("worker"), "`--workers`")
        self.assertEqual(named.pop("main"), "1")  # holdfastd, as a sanitizer's own thread is
        self.assertIn("committer", named)
        wanted = {name: int(count) for name, count in named.items()}
        wanted["worker"] = 3
        # A new thread has its starter's name for a moment.
        self.until(lambda: wanted.items() <= threads_of(other.process.pid).items(), 5)

    def health(self, on, seen):
        """Notes (time, status) of a health Watch until it ends."""
        def run():
            try:
                for reply in stub.Watch(health_pb2.HealthCheckRequest(service="")):
                    seen.append((time.monotonic(), reply.status))
            except grpc.RpcError:
                pass
        stub = health_pb2_grpc.HealthStub(on.channel)
        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)

    def follow(self, stream, frames):
        def run():
            try:
                for frame in stream:
                    frames.append((time.monotonic(), frame))
            except grpc.RpcError as error:
                frames.append((time.monotonic(), error))
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def test_a_drain_under_load_breaks_no_promise(self):
        self.limit(units=2 ** 40)
        other = Server()
        seen, streams = [], []
        self.health(other, seen)
        for number in range(10):
            frames = []
            stream = other.quota.Watch(service.WatchRequest(
                tenant=self.tenant, **({"after_seq": 0} if number % 2 else {})))
            streams.append((self.follow(stream, frames), frames))
        load = Load(self.tenant, other, 64)
        self.until(lambda: len(load.committed) > 200, 20)
        for number in range(3):
            self.limit("other", 100 + number)
        took = other.terminate()
        self.addCleanup(other.channel.close)
        load.join()
        self.assertLess(took, 10)
        rows = set(sql("SELECT job_id FROM ledger JOIN tenant USING (tenant_id) WHERE name ="
                       f" '{self.tenant}'"))
        self.assertLessEqual(load.committed, rows)
        self.assertLessEqual(rows, load.unknown)
        for error in load.errors:
            self.assertIn(error.code(), (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED),
                          error.details())
        self.assertEqual(seen[0][1], health_pb2.HealthCheckResponse.SERVING)
        self.assertEqual(seen[1][1], health_pb2.HealthCheckResponse.NOT_SERVING)
        newest = server.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant)).event_seq
        for thread, frames in streams:
            thread.join()
            _, last = frames[-1]
            self.assertEqual(last.end.cause, service.END_CAUSE_DRAINING)
            self.assertLessEqual(last.end.resume_after_seq, newest)
            told = [frame.seq for _, frame in frames if frame.HasField("event")]
            resumed = server.quota.Watch(service.WatchRequest(
                tenant=self.tenant, after_seq=last.end.resume_after_seq))
            self.addCleanup(resumed.cancel)
            for _ in range(newest - last.end.resume_after_seq):
                told.append(next(resumed).event.seq)
            first = 1 if frames[0][1].prev_seq == 0 and frames[0][1].HasField("event") else \
                frames[0][1].seq + 1
            self.assertEqual(told, list(range(first, newest + 1)))

    def test_a_health_watch_says_not_serving_before_streams_end(self):
        self.limit()
        other = Server()
        seen, frames = [], []
        self.health(other, seen)
        thread = self.follow(other.quota.Watch(service.WatchRequest(tenant=self.tenant)), frames)
        self.until(lambda: frames and seen, 5)
        other.terminate()
        thread.join()
        other.channel.close()
        self.assertEqual(seen[-1][1], health_pb2.HealthCheckResponse.NOT_SERVING)
        # Two streams of one connection, read by two threads: the order is that of the server.
        self.assertLess(seen[-1][0], frames[-1][0] + 0.1)

    def test_clients_that_never_read_do_not_hold_up_a_drain(self):
        other = Server()
        channel = other.connect(options=harness.NARROW)
        stub = harness.service_grpc.QuotaServiceStub(channel)
        self.write_events(900)
        asleep = [stub.Watch(service.WatchRequest(tenant=self.tenant, after_seq=0))
                  for _ in range(8)]
        for stream in asleep:
            self.assertEqual(next(stream).seq, 1)
        took = other.stop()
        print(f"drain beside clients that never read: {took:.1f} s")
        self.assertLess(took, 10)
        channel.close()

    def stuck(self, begin, end, call, code=grpc.StatusCode.UNAVAILABLE):
        """A server with calls that `begin` makes hang is told to stop; `end` undoes it afterwards."""
        other = Server()
        other.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant))
        begin()
        try:
            waiting = [call(other, number) for number in range(3)]
            time.sleep(0.3)  # to get where they hang, which no frozen store would tell
            other.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            errors = []
            for future in waiting:
                try:
                    future.result(timeout=12)
                except grpc.RpcError as error:
                    errors.append(error)
            status = other.process.wait(timeout=12)
            took = time.monotonic() - begun
        finally:
            end()
        other.channel.close()
        print(f"drain: {took:.1f} s")
        self.assertLess(took, 10)
        self.assertEqual(status, 0)
        self.assertNotIn(b"drain.ended", other.log_path.read_bytes())
        for error in errors:
            self.assertIn(error.code(), (code, grpc.StatusCode.UNAVAILABLE), error.details())
            info = harness.error_info(error)
            self.assertIn(info.metadata["effect"], ("definite", "unknown"))
        return errors

    def commit_future(self, job):
        def call(other, number):
            return other.quota.Commit.future(service.CommitRequest(
                tenant=self.tenant, job_id=f"{job}-{number}",
                reservation_id=self.held[number]), timeout=60)
        self.limit()
        self.held = [server.quota.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id=f"{job}-{number}",
            amounts=[quota.Amount(meter="tokens", units=1)])).reservation_id
            for number in range(3)]
        return call

    def locker(self):
        """A session that keeps the tenant's quotas locked."""
        def begin():
            self.session = subprocess.Popen(
                ["psql", "-qAt", os.environ["HOLDFAST_TEST_POSTGRES"]], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True)
            self.session.stdin.write(
                "BEGIN; SELECT count(*) FROM (SELECT 1 FROM limit_ JOIN tenant USING (tenant_id)"
                f" WHERE tenant.name = '{self.tenant}' FOR UPDATE OF limit_) AS l, LATERAL"
                " (SELECT 1 FROM quota JOIN tenant USING (tenant_id)"
                f" WHERE tenant.name = '{self.tenant}' FOR UPDATE OF quota) AS q;\n")
            self.session.stdin.flush()
            self.session.stdout.readline()

        def end():
            self.session.stdin.close()
            self.session.wait(timeout=10)
            self.session.stdout.close()
        return begin, end

    def test_a_locked_row_does_not_hold_up_a_drain(self):
        call = self.commit_future("locked")
        self.assertEqual(len(self.stuck(*self.locker(), call)), 3)
        self.assertEqual(sql("SELECT count(*) FROM ledger JOIN tenant USING (tenant_id) WHERE name ="
                             f" '{self.tenant}'"), ["0"])

    def test_a_desk_that_waits_for_a_lock_does_not_hold_up_a_drain(self):
        self.limit()

        def call(other, number):
            return other.admin.PutLimit.future(admin.PutLimitRequest(limit=admin.Limit(
                tenant=self.tenant, limit_id="tokens", meter="tokens", period=quota.PERIOD_NEVER,
                units=2000 + number)), timeout=60)
        self.stuck(*self.locker(), call, grpc.StatusCode.ABORTED)

    def freeze(self, pid):
        return lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT)

    def test_a_frozen_redis_does_not_hold_up_a_drain(self):
        self.limit()

        def call(other, number):
            return other.quota.Reserve.future(service.ReserveRequest(
                tenant=self.tenant, job_id=f"frozen-{number}",
                amounts=[quota.Amount(meter="tokens", units=1)]), timeout=60)
        self.stuck(*self.freeze(int((DIR / "redis.pid").read_text())), call)

    def test_a_frozen_postgres_does_not_hold_up_a_drain(self):
        call = self.commit_future("frozen")
        postmaster = int((DIR / "data" / "postmaster.pid").read_text().splitlines()[0])

        def begin():
            # Those of the server that is about to be stopped are among them by now.
            children = subprocess.run(["pgrep", "-P", str(postmaster)], capture_output=True,
                                      text=True, check=True).stdout.split()
            self.frozen = [postmaster] + [int(pid) for pid in children]
            for pid in self.frozen:
                os.kill(pid, signal.SIGSTOP)

        def end():
            for pid in self.frozen:
                os.kill(pid, signal.SIGCONT)
        self.assertEqual(len(self.stuck(begin, end, call)), 3)
        self.until(self.postgres_serves, 10)

    def test_a_hangup_does_not_cut_a_drain_short(self):
        call = self.commit_future("hangup")
        begin, end = self.locker()
        other = Server()
        other.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant))
        begin()
        try:
            waiting = call(other, 0)
            time.sleep(0.3)  # to get to the lock, which nothing tells
            other.process.send_signal(signal.SIGTERM)
            self.until(lambda: b"draining" in other.log_path.read_bytes(), 5)
            other.process.send_signal(signal.SIGHUP)
        finally:
            end()
        self.assertEqual(waiting.result(timeout=12).state, quota.RESERVATION_STATE_COMMITTED)
        self.assertEqual(other.process.wait(timeout=12), 0)
        other.channel.close()

    def test_a_second_signal_ends_it_at_once(self):
        self.limit()
        other = Server()
        other.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant))
        redis_pid = int((DIR / "redis.pid").read_text())
        os.kill(redis_pid, signal.SIGSTOP)
        try:
            # Something for the drain to wait for.
            waiting = [other.quota.Reserve.future(service.ReserveRequest(
                tenant=self.tenant, job_id=f"j{number}",
                amounts=[quota.Amount(meter="tokens", units=1)])) for number in range(4)]
            other.process.send_signal(signal.SIGTERM)
            self.until(lambda: b"draining" in other.log_path.read_bytes(), 5)
            other.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            status = other.process.wait(timeout=10)
            self.assertLess(time.monotonic() - begun, 1)
            self.assertIn(status, (0, -signal.SIGTERM))
            del waiting
        finally:
            os.kill(redis_pid, signal.SIGCONT)
        other.channel.close()

    def test_a_stream_that_could_not_begin_has_no_position_but_an_error(self):
        self.limit()
        other = Server()
        other.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant))
        stores("kill-postgres")
        try:
            stream = other.quota.Watch(service.WatchRequest(tenant=self.tenant))
            self.error(lambda: next(stream), grpc.StatusCode.UNAVAILABLE, "POSTGRES_UNAVAILABLE")
            self.assertLess(other.terminate(), 10)
        finally:
            stores("start-postgres")
        other.channel.close()
        self.until(self.serves, 10)

    def serves(self):
        try:
            return self.usage() is not None
        except grpc.RpcError:
            return False

    def test_a_drain_while_a_store_hangs(self):
        self.limit()
        other = Server()
        redis_pid = int((DIR / "redis.pid").read_text())
        os.kill(redis_pid, signal.SIGSTOP)
        try:
            waiting = [other.quota.Reserve.future(service.ReserveRequest(
                tenant=self.tenant, job_id=f"j{number}",
                amounts=[quota.Amount(meter="tokens", units=1)])) for number in range(4)]
            self.assertLess(other.terminate(), 10)
            for call in waiting:  # OK: held in Postgres
                self.assertIn(call.code(), (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE,
                                            grpc.StatusCode.CANCELLED))
        finally:
            os.kill(redis_pid, signal.SIGCONT)
        other.channel.close()


class Listening(Case):
    def start(self, address, *args):
        """Where it is expected to fail: (status, what it said)."""
        done = subprocess.run(harness.command(address, *args), capture_output=True, text=True,
                              timeout=30, env=harness.plaintext())
        return done.returncode, done.stderr

    def test_a_port_in_use(self):
        status, said = self.start(server.address)
        self.assertEqual(status, EX_UNAVAILABLE)
        self.assertIn(server.address, said)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            status, said = self.start(f"127.0.0.1:0,{address}")
            self.assertEqual(status, EX_UNAVAILABLE)
            self.assertIn(address, said)

    def test_addresses_that_others_could_reach_are_refused(self):
        for address in ("0.0.0.0:7071", "[::]:7071", "192.0.2.1:7071",
                        "example.com:7071", "127.example.com:7071", "localhost.example.com:7071",
                        f"127.0.0.1:{free_port()},0.0.0.0:7071"):
            status, said = self.start(address)
            with self.subTest(address=address):
                self.assertEqual(status, EX_CONFIG)
                self.assertIn("loopback", said)

    def test_addresses_that_are_none(self):
        for address in ("127.0.0.1", "127.0.0.1:", ":7071", "*:7071", "127.0.0.1:99999", "127.0.0.1:x", "unix:", ","):
            status, said = self.start(address)
            with self.subTest(address=address):
                self.assertNotEqual(status, 0)
                self.assertTrue(said.startswith("holdfastd: "), said)

    def test_several_addresses_one_of_them_a_socket(self):
        path = DIR / "holdfast.sock"
        addresses = [f"127.0.0.1:{free_port()}", f"unix:{path}", f"[::1]:{free_port()}"]
        if not pathlib.Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").exists():
            addresses.pop()
        other = Server(listen=",".join(addresses))
        for address in addresses:
            channel = other.connect(address)
            admin_grpc.AdminServiceStub(channel).GetStatus(admin.GetStatusRequest(), timeout=5)
            channel.close()
        self.assertIn(f"holdfastd listening on unix:{path}", other.log_path.read_text())
        other.stop()
        again = Server(listen=f"unix:{path}")  # the socket of one that is gone is no obstacle
        again.kill()
        again.start()
        again.stop()


if __name__ == "__main__":
    harness.main()
