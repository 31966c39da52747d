"""Each store twice: Redis and a replica under Sentinel, Postgres and a synchronous standby. What a deployer would
have stands between them and the servers: relays that lead to the Redis that Sentinel names, and an address for
each Postgres that refuses whoever connects while nothing is behind it."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from failing_over import Node, copy_of, new_cluster  # noqa: E402
from harness import DIR, free_port  # noqa: E402

READY_S = 60
FOLLOW_S, LOOK_S = 0.05, 0.5
SENTINEL = """port {port}
dir {home}
logfile {home}/log
sentinel monitor one 127.0.0.1 {primary} 1
sentinel down-after-milliseconds one 1000
sentinel failover-timeout one 3000
"""


def until(condition, what):
    end = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


class Redis:
    """One redis-server of a pair."""

    def __init__(self, name, *follows):
        self.home, self.port, self.process = DIR / name, free_port(), None
        self.data = self.home / "data"
        self.home.mkdir()
        self.start(*follows)

    def start(self, *follows):
        self.data.mkdir(exist_ok=True)
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--dir", str(self.data),
                 "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                 "--maxmemory-policy", "noeviction", "--zset-max-listpack-entries", "33",
                 "--hash-max-listpack-entries", "32", "--hash-max-listpack-value", "128",
                 "--repl-diskless-sync-delay", "0", "--enable-debug-command", "local", *follows],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        until(lambda: self.cli("ping") == "PONG", f"no Redis at {self.port}")

    def cli(self, *words):
        """What it answers, or nothing: it hangs, or is not there."""
        try:
            return subprocess.run(["redis-cli", "-p", str(self.port), *words], text=True,
                                  capture_output=True, timeout=30).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def follows(self):
        return "master_link_status:up" in self.cli("info", "replication")

    def end(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()


class RedisPair:
    """Both, a Sentinel, and who tells the relays of every switch."""

    def __init__(self):
        self.primary = Redis("redis-a")
        self.other = Redis("redis-b", "--replicaof", "127.0.0.1", str(self.primary.port))
        until(self.other.follows, "no replica")
        self.port, home = free_port(), DIR / "sentinel"
        home.mkdir()
        (home / "conf").write_text(SENTINEL.format(port=self.port, home=home, primary=self.primary.port))
        self.sentinel = subprocess.Popen(["redis-server", str(home / "conf"), "--sentinel"],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until(lambda: "num-slaves\n1" in self.ask("master", "one"), "no Sentinel")
        self.switches, self.over, self.on_switch, self.on_joined = 0, threading.Event(), None, None
        self.apart, self.looked = False, 0
        self.thread = threading.Thread(target=self.follow, daemon=True)

    def address(self):
        return f"127.0.0.1:{self.primary.port}"

    def ask(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), "sentinel", *words], text=True,
                              capture_output=True, timeout=20).stdout

    def follow(self):
        link = socket.create_connection(("127.0.0.1", self.port))
        while not self.over.wait(FOLLOW_S):
            link.sendall(b"SENTINEL GET-MASTER-ADDR-BY-NAME one\r\n")
            if str(self.other.port).encode() in link.recv(4096).split():
                self.primary, self.other = self.other, self.primary
                self.switches += 1
                self.apart = True  # until the old one is demoted, two take promises
                self.on_switch()
            elif self.apart and time.monotonic() > self.looked + LOOK_S:
                self.looked = time.monotonic()
                if "role:slave" in self.other.cli("info", "replication"):
                    self.apart = False
                    self.on_joined()
        link.close()

    def switched(self, since, seconds):
        """Whether there was a switch since there were so many, perhaps after so long."""
        end = time.monotonic() + seconds
        while self.switches == since and time.monotonic() < end:
            time.sleep(0.02)
        return self.switches != since

    def close(self):
        self.over.set()
        self.thread.join()
        for process in (self.sentinel, self.primary.process, self.other.process):
            process.kill()
            process.wait()


class PostgresPair:
    """Nothing is acknowledged that the standby does not have. A failover waits until it has all of what the
    primary shows: after a crash that may be more than was acknowledged."""

    def __init__(self):
        self.count, self.failovers, self.on_node = 0, 0, lambda port, there: None
        self.primary = self.node(new_cluster)
        self.primary.sql("CREATE DATABASE holdfast", "postgres")
        for setting in ("max_connections = 200", "wal_keep_size = '1GB'", "restart_after_crash = on"):
            self.primary.sql(f"ALTER SYSTEM SET {setting}")
        self.restart("fast")
        self.standby = self.node(copy_of(self.primary))
        self.join()
        ports = f"{self.primary.port},127.0.0.1:{self.standby.port}"
        os.environ["HOLDFAST_TEST_POSTGRES"] = (
            f"postgresql://postgres@127.0.0.1:{ports}/holdfast?target_session_attrs=read-write")
        self.ports = [self.primary.port, self.standby.port]

    def node(self, make, port=None):
        self.count += 1
        return Node(f"postgres{self.count}", make, port)

    def set_standby(self, name):
        self.primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        self.primary.sql("SELECT pg_reload_conf()")

    def join(self):
        """The standby counts, once it follows."""
        self.set_standby(self.standby.name)
        until(self.synchronous, "the standby does not follow")

    def synchronous(self):
        return self.primary.sql("SELECT sync_state FROM pg_stat_replication") == ["sync"]

    def has_all(self, lsn):
        return self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == ["t"]

    def kill(self):
        """The primary, with all its processes."""
        node = self.primary
        self.on_node(node.port, False)
        pids = node.processes()
        node.end()
        until(lambda: all(gone(pid) for pid in pids), "Postgres does not die")
        (node.data / "postmaster.pid").unlink(missing_ok=True)
        for path in node.sockets.iterdir():
            path.unlink()

    def start(self):
        for left in range(5, -1, -1):
            try:
                self.primary.start()
                break
            except subprocess.CalledProcessError:  # a process of the one that was killed is on its way out
                if not left:
                    raise
                time.sleep(0.2)
        self.on_node(self.primary.port, True)

    def restart(self, how):
        self.on_node(self.primary.port, False)
        self.primary.stop(how)
        self.start()

    def fail_over(self, pause):
        """The primary is lost, the standby promoted, and another one made where the primary was."""
        until(self.synchronous, "the standby is not synchronous")
        at = self.primary.sql("SELECT pg_current_wal_insert_lsn()")[0]
        until(lambda: self.has_all(at), "the standby lags")
        self.kill()
        pause()
        lost, self.primary = self.primary, self.standby
        self.set_standby("")
        self.primary.promote()
        self.failovers += 1
        shutil.rmtree(lost.data)
        self.standby = self.node(copy_of(self.primary), lost.port)
        self.on_node(lost.port, True)
        self.join()

    def close(self):
        for node in (self.standby, self.primary):
            pids = node.processes()
            node.end()
            until(lambda: all(gone(pid) for pid in pids), "Postgres does not die")


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
