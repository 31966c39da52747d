"""Every way in which a Redis forgets, or is another one than before, with real Redis, replicas and Sentinel:
live holds commit by their reservation ids, nothing is admitted twice, and service comes back by itself.

The server has one address for Redis. Behind it stands what a deployer puts there: a relay, which leads new
connections to the primary of the day and leaves those alone that it has."""
import select
import signal
import socket
import subprocess
import threading
import time
import unittest

import grpc

import harness
from harness import DIR, Case, Server, free_port, quota, service, sql

BACK = 8  # seconds until a Reserve is admitted again
UNITS = 1000


def setUpModule():
    harness.server.stop()  # it has another Redis, and would take the shards back and forth


class Node:
    """A redis-server of this test."""

    def __init__(self, *args):
        self.port, self.args, self.process = free_port(), args, None
        self.folder = DIR / f"node-{self.port}"
        self.folder.mkdir()
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--dir", str(self.folder),
                   "--logfile", str(self.folder / "log"), "--maxmemory-policy", "noeviction",
                   "--repl-diskless-sync-delay", "0", *self.args]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while self.try_cli("PING") != "PONG":
            assert time.monotonic() < end, f"no Redis at {self.port}"
            time.sleep(0.02)

    def try_cli(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], text=True,
                              capture_output=True, timeout=20).stdout.strip()

    def cli(self, *words):
        answer = self.try_cli(*words)
        assert not answer.startswith("ERR"), f"{words}: {answer}"
        return answer

    def info(self, section, name):
        for line in self.cli("INFO", section).splitlines():
            if line.startswith(name + ":"):
                return line[len(name) + 1:].strip()
        return ""

    def scripts(self):
        counts = self.info("commandstats", "cmdstat_evalsha")
        return int(counts.split("calls=")[1].split(",")[0]) if counts else 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


class Relay:
    """Leads who connects now to the node of now."""

    def __init__(self, node):
        self.node, self.pairs, self.over = node, {}, False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over:
            ready, _, _ = select.select([self.listener, *self.pairs], [], [], 0.05)
            for one in ready:
                if one is self.listener:
                    self.accept()
                elif one in self.pairs:
                    self.carry(one)

    def accept(self):
        client, _ = self.listener.accept()
        try:
            upstream = socket.create_connection(("127.0.0.1", self.node.port), timeout=1)
        except OSError:
            client.close()
            return
        for one in (client, upstream):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upstream.settimeout(None)
        self.pairs[client], self.pairs[upstream] = upstream, client

    def carry(self, one):
        other = self.pairs[one]
        try:
            data = one.recv(1 << 16)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        for each in (one, other):
            self.pairs.pop(each, None)
            each.close()

    def end(self):
        self.over = True
        self.thread.join()
        for one in (self.listener, *self.pairs):
            one.close()


class Losing(Case):
    def setUp(self):
        self.cleaned, self.number = [], 0
        self.primary = self.node("--save", "")
        self.relay = Relay(self.primary)
        self.cleaned.append(self.relay.end)
        self.servers = [Server("--redis", f"127.0.0.1:{self.relay.port}") for _ in range(2)]
        for each in self.servers:
            self.cleaned.append(each.stop)
        self.until(self.serves_plan, 20)

    def tearDown(self):
        for clean in reversed(self.cleaned):
            clean()

    def node(self, *args):
        node = Node(*args)
        self.cleaned.append(node.end)
        return node

    def replica(self, *args):
        node = self.node("--save", "", "--replicaof", "127.0.0.1", str(self.primary.port), *args)
        self.until(lambda: node.info("replication", "master_link_status") == "up", 20)
        return node

    def serves_plan(self):
        self.tenant = f"losing-{next(harness.ids)}"
        admin = self.servers[0].admin
        admin.CreateTenant(harness.admin.CreateTenantRequest(
            tenant=harness.admin.Tenant(tenant=self.tenant)))
        admin.PutLimit(harness.admin.PutLimitRequest(limit=harness.admin.Limit(
            limit_id="tokens", tenant=self.tenant, meter="tokens", period=quota.PERIOD_NEVER,
            units=UNITS)))
        return True

    def try_reserve(self, units, job=None):
        """The answer, or None where it was UNAVAILABLE."""
        self.number += 1
        on = self.servers[self.number % 2]
        try:
            return self.reserve(job or f"job-{self.number}", units, on=on)
        except grpc.RpcError as error:
            self.assertIn(error.code(), (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED,
                                         grpc.StatusCode.RESOURCE_EXHAUSTED), error.details())
            return None

    def admits(self, units=1):
        answer = self.try_reserve(units)
        return answer is not None and answer.decision in (quota.DECISION_ALLOW,
                                                          quota.DECISION_WARN)

    def noticed(self):
        """Redis does not take it: Postgres holds, or nobody."""
        answer = self.try_reserve(1)
        return answer is None or answer.degraded

    def commit_by_id(self, held, job, units):
        return self.servers[0].quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id=job, reservation_id=held.reservation_id,
            actual=[service.ActualAmount(meter="tokens", units=units)]), timeout=10)

    def epochs(self):
        """Of the tenant's shard."""
        return int(sql("SELECT a.epoch FROM shard_authority a JOIN tenant t USING (shard)"
                       f" WHERE t.name = '{self.tenant}'")[0])

    def through(self, lose, epochs):
        """A live hold and a record before, service and the right books afterwards."""
        self.until(self.admits, BACK)
        held = self.try_reserve(300, "held")
        self.assertIsNotNone(held)
        done = self.try_reserve(100, "done")
        self.commit_by_id(done, "done", 100)
        before = self.epochs()
        lose()
        self.until(self.admits, BACK)
        self.assertLessEqual(self.epochs() - before, epochs)
        # What is held and recorded is not there for others, whatever Redis remembers.
        answer = self.try_reserve(UNITS - 300 - 100 + 1)
        self.assertTrue(answer is None or answer.decision == quota.DECISION_REJECT)
        record = self.commit_by_id(held, "held", 300)
        self.assertFalse(record.late)
        self.assertEqual([(each.committed, each.debt) for each in record.committed], [(300, 0)])
        self.assertEqual(self.books(), "400|0|t")

    def books(self):
        return sql("SELECT q.committed, q.debt, q.leased = q.granted - q.returned - q.spent +"
                   " coalesce((SELECT sum(o.granted - o.returned - o.spent) FROM old_lease o"
                   " WHERE o.tenant_id = q.tenant_id), 0) FROM quota q JOIN tenant t"
                   f" USING (tenant_id) WHERE t.name = '{self.tenant}'")[0]

    def test_an_old_snapshot(self):
        self.until(self.admits, BACK)
        self.primary.cli("SAVE")

        def lose():
            self.primary.kill()
            self.primary.start()

        self.through(lose, 1)

    def test_a_stale_replica_is_promoted(self):
        stale = self.replica()
        self.until(self.admits, BACK)
        stale.cli("CONFIG", "SET", "masterauth", "wrong")
        self.primary.cli("CONFIG", "SET", "requirepass", "")
        stale.cli("REPLICAOF", "127.0.0.1", "1")  # it hears of nothing from here on

        def lose():
            stale.cli("REPLICAOF", "NO", "ONE")
            self.relay.node = stale
            self.primary.kill()

        self.through(lose, 1)

    def test_a_primary_is_demoted_and_promoted_again(self):
        other = self.node("--save", "")  # with nothing in it

        def lose():
            self.primary.cli("REPLICAOF", "127.0.0.1", str(other.port))
            self.until(lambda: self.primary.info("replication", "master_link_status") == "up", 20)
            self.primary.cli("REPLICAOF", "NO", "ONE")

        self.through(lose, 1)

    def test_it_cannot_write_its_disk(self):
        def lose():
            stands_there = self.primary.folder / "dump.rdb"
            stands_there.mkdir()
            self.primary.cli("CONFIG", "SET", "save", "3600 1")
            self.primary.try_cli("BGSAVE")
            self.until(lambda: self.primary.info("persistence", "rdb_last_bgsave_status")
                       == "err", 10)
            self.until(self.noticed, 10)
            stands_there.rmdir()
            self.primary.cli("BGSAVE")
            self.until(lambda: self.primary.info("persistence", "rdb_last_bgsave_status")
                       == "ok", 10)

        self.through(lose, 0)

    def test_it_is_full(self):
        def lose():
            self.primary.cli("CONFIG", "SET", "maxmemory", "1")
            self.until(self.noticed, 10)
            self.primary.cli("CONFIG", "SET", "maxmemory", "0")

        self.through(lose, 0)

    def test_a_script_of_somebody_keeps_it_busy(self):
        def lose():
            self.primary.cli("CONFIG", "SET", "busy-reply-threshold", "100")
            busy = subprocess.Popen(["redis-cli", "-p", str(self.primary.port), "EVAL",
                                     "while true do end", "0"], stdout=subprocess.DEVNULL)
            self.until(self.noticed, 10)
            self.until(lambda: self.primary.try_cli("SCRIPT", "KILL") == "OK", 10)
            busy.wait()

        self.through(lose, 0)

    def sentinel(self):
        """One that follows this primary."""
        port, folder = free_port(), DIR / f"sentinel-{self.primary.port}"
        folder.mkdir()
        conf = folder / "conf"
        conf.write_text(f"port {port}\ndir {folder}\nlogfile {folder}/log\n"
                        f"sentinel monitor one 127.0.0.1 {self.primary.port} 1\n"
                        "sentinel down-after-milliseconds one 1000\n"
                        "sentinel failover-timeout one 10000\n")
        process = subprocess.Popen(["redis-server", str(conf), "--sentinel"],
                                   stdin=subprocess.DEVNULL)
        self.cleaned.append(lambda: (process.kill(), process.wait()))
        return port

    def test_sentinel_moves_it_while_the_old_one_still_answers(self):
        old, new = self.primary, self.replica()
        port = self.sentinel()

        def ask(*words):
            return subprocess.run(["redis-cli", "-p", str(port), *words], text=True,
                                  capture_output=True, timeout=20).stdout

        def follow():  # what the relay does on +switch-master
            lines = ask("SENTINEL", "get-master-addr-by-name", "one").split()
            return len(lines) == 2 and lines[1] == str(new.port)

        self.until(lambda: "num-slaves\n1" in ask("SENTINEL", "master", "one"), 20)

        def lose():
            old.process.send_signal(signal.SIGSTOP)
            self.until(follow, 30)
            self.relay.node = new
            old.process.send_signal(signal.SIGCONT)
            awake = time.monotonic()
            self.until(self.admits, BACK)
            # All are at the new one within 2 s; the old one is asked for nothing more.
            while time.monotonic() < awake + 2:
                self.try_reserve(0)
            before = old.scripts()
            while time.monotonic() < awake + 4:
                self.assertIsNotNone(self.try_reserve(0))
            self.assertEqual(old.info("replication", "role"), "master", "Sentinel was faster")
            self.assertEqual(old.scripts(), before)

        self.through(lose, 2)


if __name__ == "__main__":
    harness.main()
