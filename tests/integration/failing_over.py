"""A Postgres with a standby behind one conninfo: the primary is lost under load, the standby is promoted, and
the servers find it by themselves. With synchronous replication nothing that was acknowledged is lost."""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import threading
import time
import unittest

import grpc

import harness
from harness import DIR, Case, Server, free_port, quota, service

BIN = pathlib.Path(os.environ.get("HOLDFAST_PG_BIN", "/usr/lib/postgresql/15/bin"))
BACK = 5.0  # seconds from the promotion until a Commit is OK
SLOW = 10.0  # what a busy machine may add
CALLERS = 4


def setUpModule():
    harness.server.stop()  # it has another Postgres, and would take the shards back and forth


def as_postgres(*words):
    """Runs it as the user of Postgres, who may not read the current folder."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return subprocess.run([*user, *map(str, words)], cwd="/", check=True, text=True,
                          capture_output=True, timeout=120).stdout


class Node:
    """A cluster of this test, on a port of its own."""

    def __init__(self, name, make, port=None):
        self.port, self.name, self.data = port or free_port(), name, DIR / name
        self.log = DIR / f"{name}.postgres"  # its FATALs on the way are none of ours
        self.data.mkdir()
        self.log.touch()
        self.sockets = DIR / f"{name}.sockets"
        self.sockets.mkdir()
        if os.geteuid() == 0:
            for path in (self.data, self.log, self.sockets):
                shutil.chown(path, pwd.getpwnam("postgres").pw_uid)
        self.data.chmod(0o700)
        make(self)
        self.start()

    def start(self):
        as_postgres(BIN / "pg_ctl", "-D", self.data, "-w", "-s", "-l", self.log, "-o",
                    f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=on"
                    f" -c unix_socket_directories={self.sockets} -c cluster_name={self.name}"
                    " -c wal_receiver_status_interval=1", "start")

    def sql(self, query, database="holdfast"):
        return subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
                               str(self.port), "-U", "postgres", "-d", database, "-c", query],
                              check=True, text=True, capture_output=True,
                              timeout=60).stdout.split("\n")[:-1]

    def processes(self):
        master = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        found = [master]
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                stat = (path / "stat").read_text()
            except OSError:
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == master:
                found.append(int(path.name))
        return found

    def send(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # it ended meanwhile

    def stop(self, how):
        as_postgres(BIN / "pg_ctl", "-D", self.data, "-w", "-s", "-m", how, "stop")

    def promote(self):
        as_postgres(BIN / "pg_ctl", "-D", self.data, "-w", "-s", "promote")

    def end(self):
        if not (self.data / "postmaster.pid").exists():
            return
        try:
            self.send(signal.SIGCONT)
            self.send(signal.SIGKILL)
        except (ProcessLookupError, ValueError):
            pass


def new_cluster(node):
    as_postgres(BIN / "initdb", "-D", node.data, "-A", "trust", "-U", "postgres", "-E", "UTF8",
                "--no-locale", "-N")


def copy_of(primary):
    return lambda node: as_postgres(
        BIN / "pg_basebackup", "-D", node.data, "-R", "-c", "fast", "-X", "stream", "-d",
        f"host=127.0.0.1 port={primary.port} user=postgres application_name={node.name}")


class Caller(threading.Thread):
    """Reserves and commits; of each job it repeats what is not known until it is."""

    def __init__(self, case, server, name):
        super().__init__(daemon=True)
        self.case, self.server, self.name_, self.over = case, server, name, False
        self.committed, self.unexpected = [], []

    def run(self):
        number = 0
        try:
            while not self.over:
                number += 1
                self.one(f"{self.name_}-{number}")
        except Exception as error:  # told by the test's thread
            self.unexpected.append(repr(error))

    def one(self, job):
        held = self.repeat(lambda: self.case.reserve(job, 1, on=self.server))
        if held is not None and self.repeat(lambda: self.commit(job, held)) is not None:
            self.committed.append(job)

    def commit(self, job, held):
        return self.server.quota.Commit(service.CommitRequest(
            tenant=self.case.tenant, job_id=job, reservation_id=held.reservation_id,
            actual=[service.ActualAmount(meter="tokens", units=1)]), timeout=15)

    def repeat(self, call):
        while not self.over:
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED,
                                        grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                time.sleep(0.05)
        return None


class Nodes(Case):
    """Two servers on a primary and its standby."""

    def begin(self):
        self.cleaned, self.name = [], f"over{next(harness.ids)}"
        harness.redis("FLUSHALL")  # the numbers of tenants there are of another database
        self.addCleanup(lambda: [clean() for clean in reversed(self.cleaned)])
        self.primary = self.node("a", new_cluster)
        self.primary.sql("CREATE DATABASE holdfast", "postgres")
        self.standby = self.node("b", copy_of(self.primary))
        self.prepare()
        nodes = (self.standby, self.primary)  # the wrong one first
        conninfo = (f"host=127.0.0.1,127.0.0.1 port={','.join(str(n.port) for n in nodes)}"
                    " user=postgres dbname=holdfast target_session_attrs=read-write")
        self.servers = [Server("--postgres", conninfo) for _ in range(2)]
        for each in self.servers:
            self.cleaned.append(each.stop)

    def prepare(self):
        pass

    def node(self, name, make, port=None):
        node = Node(f"{self.name}{name}", make, port)
        self.cleaned.append(node.end)
        return node

    def follow(self, number):
        """The standby is the primary now, and another one follows it, where the lost one was."""
        lost, self.primary = self.primary, self.standby
        self.standby = self.node(f"next{number}", copy_of(self.primary), lost.port)


class FailingOver(Nodes):
    def setUp(self):
        self.begin()
        self.tenant = self.name
        admin = self.servers[0].admin
        admin.CreateTenant(harness.admin.CreateTenantRequest(
            tenant=harness.admin.Tenant(tenant=self.tenant)))
        admin.PutLimit(harness.admin.PutLimitRequest(limit=harness.admin.Limit(
            limit_id="tokens", tenant=self.tenant, meter="tokens", period=quota.PERIOD_NEVER,
            units=1_000_000)))

    def prepare(self):
        self.primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{self.standby.name}'")
        self.primary.sql("SELECT pg_reload_conf()")
        self.until(lambda: self.primary.sql("SELECT sync_state FROM pg_stat_replication")
                   == ["sync"], 30)

    def through(self, lose):
        callers = [Caller(self, self.servers[i % 2], f"load-{i}") for i in range(CALLERS)]
        for each in callers:
            each.start()
        self.until(lambda: all(len(each.committed) > 20 for each in callers), 30)
        lose()
        self.standby.promote()
        promoted = time.monotonic()
        before = [len(each.committed) for each in callers]
        self.until(lambda: all(len(each.committed) > was for each, was in zip(callers, before)),
                   BACK + SLOW)
        back = time.monotonic() - promoted
        self.until(lambda: all(len(each.committed) > was + 20
                               for each, was in zip(callers, before)), 30)
        for each in self.servers:
            self.until(lambda: "root.failed_over" in each.log_path.read_text(), SLOW)
            reply = each.admin.GetStatus(harness.admin.GetStatusRequest(), timeout=30)
            root = next(store for store in reply.stores if store.store == "postgres")
            system = self.standby.sql("SELECT system_identifier FROM pg_control_system()")[0]
            self.assertEqual((root.identity, root.failovers), (f"{system}/2", 1))
            self.assertIn(f"root.failed_over is={system}/2 was={system}/1",
                          each.log_path.read_text())
        for each in callers:
            each.over = True
        for each in callers:
            each.join()
            self.assertEqual(each.unexpected, [])
        rows = self.standby.sql("SELECT job_id FROM ledger JOIN tenant USING (tenant_id)"
                                f" WHERE name = '{self.tenant}'")
        told = {job for each in callers for job in each.committed}
        print(f"back {back:.2f} s after the promotion; {len(told)} acknowledged", flush=True)
        self.assertEqual(told - set(rows), set(), "acknowledged and lost")
        self.assertEqual(len(rows), len(set(rows)))
        self.assertEqual(
            self.standby.sql("SELECT committed, debt FROM quota JOIN tenant USING (tenant_id)"
                             f" WHERE name = '{self.tenant}'"), [f"{len(rows)}|0"])

    def hold(self, job):
        return self.reserve(job, 1, on=self.servers[0])

    def commits(self, job, held=None):
        """None, or the effect of UNAVAILABLE."""
        held = held or self.hold(job)
        try:
            Caller(self, self.servers[0], job).commit(job, held)
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
            return harness.error_info(error).metadata["effect"]
        return None

    def test_the_standby_is_away(self):
        """No COMMIT is durable as it should be: what was sent is unknown, what comes is refused at once."""
        self.until(lambda: self.commits(f"before-{time.monotonic()}") is None, SLOW)
        held = {job: self.hold(job) for job in ["sent", *(f"refused-{i}" for i in range(10))]}
        self.standby.send(signal.SIGSTOP)
        begun = time.monotonic()
        self.assertEqual(self.commits("sent", held["sent"]), "unknown")
        self.assertLess(time.monotonic() - begun, 6 + SLOW)
        begun = time.monotonic()
        for i in range(10):
            self.assertEqual(self.commits(f"refused-{i}", held[f"refused-{i}"]), "definite")
        self.assertLess(time.monotonic() - begun, SLOW)
        print(f"{(time.monotonic() - begun) * 100:.0f} ms a refused Commit", flush=True)
        self.standby.send(signal.SIGCONT)
        back = time.monotonic()
        self.until(lambda: self.commits("refused-0", held["refused-0"]) is None, BACK + SLOW)
        print(f"back {time.monotonic() - back:.2f} s after the standby", flush=True)
        self.assertIsNone(self.commits("sent", held["sent"]))  # a repeat
        self.assertEqual(self.primary.sql("SELECT count(*) FROM ledger WHERE job_id = 'sent'"),
                         ["1"])
        self.assertEqual(
            self.primary.sql("SELECT job_id FROM ledger WHERE job_id LIKE 'refused%'"),
            ["refused-0"])

    def test_the_primary_is_killed(self):
        self.through(lambda: self.primary.send(signal.SIGKILL))

    def test_the_primary_hangs_and_stays(self):
        """It refuses nobody, it says nothing: who goes on waiting for it never finds the other."""
        self.through(lambda: self.primary.send(signal.SIGSTOP))


if __name__ == "__main__":
    harness.main()
