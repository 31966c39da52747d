"""What is done to servers and stores while callers go on (protocol.md's F1 to F44, as far as one machine
without netem and device-mapper can do them). Each is a method; it returns when the trouble is over.

Not done here: slow or full disks, packet loss and reordering, clocks that jump (time namespaces do not have
CLOCK_REALTIME), Cluster, certificates.
"""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time

from harness import DIR, admin, free_port, quota, sql, stores

CRASHES = ("commit.before_commit", "commit.after_commit_sent", "commit.after_commit", "grant.between",
           "notify.lost", "reap.between", "recall.between", "recover.between", "extend.between",
           "extend.after_retake", "extend.before_facts", "mend.between", "limit.between", "periods.made")


class Store:
    """A Redis of ours beside the one of with_stores: a replica that may be promoted."""

    def __init__(self, name):
        self.home = DIR / name
        self.home.mkdir()
        self.socket = self.home / "redis.sock"
        self.port = free_port()
        self.process = None

    def start(self, primary):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--unixsocket", str(self.socket), "--dir", str(self.home),
             "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
             "--maxmemory-policy", "noeviction", "--zset-max-listpack-entries", "33",
             "--hash-max-listpack-entries", "32", "--hash-max-listpack-value", "128",
             "--replicaof", "127.0.0.1", primary],
            stdin=subprocess.DEVNULL, stdout=open(DIR / f"{self.home.name}.log", "ab"),
            stderr=subprocess.STDOUT)

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-s", str(self.socket), *words], text=True,
                              capture_output=True, timeout=20).stdout.strip()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()


class Trouble:
    def __init__(self, seed, servers, relays, tenants):
        self.random = random.Random(f"{seed} trouble")
        self.servers, self.relays, self.tenants = servers, relays, tenants
        self.done, self.lost, self.log, self.failures = {}, [], [], []
        self.locks = {name: threading.Lock() for name in ("redis", "postgres", "server-0", "server-1")}
        self.primary = f"unix:{os.environ['HOLDFAST_TEST_REDIS'][5:]}"
        self.main = self.primary[5:]
        self.second, self.failed_over = None, False
        self.over = threading.Event()

    # ---- helpers

    def pause(self, shortest, longest):
        self.over.wait(self.random.uniform(shortest, longest))

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-s", self.primary[5:], *words], text=True,
                              capture_output=True, timeout=30).stdout.strip()

    @contextlib.contextmanager
    def losing(self):
        """Redis may forget what it had, from a second before until it serves again."""
        begun = time.time()
        yield
        self.lost.append((begun - 1, time.time() + 1))

    def either(self):
        number = self.random.randrange(len(self.servers))
        return number, self.servers[number]

    def link(self, kind):
        return f"{kind}-{self.random.randrange(len(self.servers))}"

    # ---- servers

    def server_killed(self, number):
        server = self.servers[number]
        crash = self.random.choice(CRASHES)
        server.kill()
        self.pause(0, 1)
        # It comes back with a point at which it dies by itself, one time in two.
        armed = self.random.random() < 0.5
        if armed:
            os.environ["HOLDFAST_FAULTS"] = f"{crash}=crash@{self.random.randint(1, 20)}"
        try:
            server.start_unconnected()
        finally:
            os.environ.pop("HOLDFAST_FAULTS", None)
        if armed:
            self.count(f"crash at {crash}", 0)
            until = time.monotonic() + 4
            while server.process.poll() is None and time.monotonic() < until:
                self.over.wait(0.05)
            if server.process.poll() is not None:
                self.count(f"crash at {crash}")
            else:
                server.kill()
            server.start_unconnected()

    def server_stopped(self, number):
        process = self.servers[number].process
        process.send_signal(signal.SIGSTOP)
        self.pause(0.1, 3)
        process.send_signal(signal.SIGCONT)

    def server_drained(self, number):
        server = self.servers[number]
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=30)
        server.start_unconnected()

    # ---- Redis

    def redis_killed(self):
        with self.losing():  # the log is written once a second
            if self.failed_over:
                return self.redis_flushed()
            stores("kill-redis")
            self.pause(0, 2)
            stores("start-redis")

    def redis_lost(self):
        with self.losing():
            if self.failed_over:
                return self.redis_flushed()
            stores("kill-redis")
            shutil.rmtree(DIR / "redis", ignore_errors=True)
            stores("start-redis")

    def redis_old(self):
        """A dump of some seconds ago comes back."""
        if self.failed_over:
            return self.redis_flushed()
        copy = DIR / "redis-old"
        shutil.rmtree(copy, ignore_errors=True)
        stores("stop-redis")
        shutil.copytree(DIR / "redis", copy)
        stores("start-redis")
        self.pause(1, 5)
        with self.losing():
            stores("kill-redis")
            shutil.rmtree(DIR / "redis")
            shutil.copytree(copy, DIR / "redis")
            stores("start-redis")

    def redis_flushed(self):
        with self.losing():
            self.cli("flushall")

    def redis_scripts_flushed(self):
        self.cli("script", "flush")

    def redis_full(self):
        self.cli("config", "set", "maxmemory", "1")
        self.pause(0.1, 2)
        self.cli("config", "set", "maxmemory", "0")

    def redis_asleep(self):
        self.cli("debug", "sleep", f"{self.random.uniform(0.1, 1.5):.2f}")

    def redis_paused(self):
        self.cli("client", "pause", str(self.random.randint(50, 1500)), "all")

    def redis_clients_killed(self):
        self.cli("client", "kill", "type", "normal")

    def redis_failed_over(self):
        """The replica becomes the primary; the old one goes on for a while for who is connected there."""
        if not self.second:
            return
        with self.losing():
            old, new = self.primary, (f"unix:{self.second.socket}" if not self.failed_over
                                      else f"unix:{self.main}")
            subprocess.run(["redis-cli", "-s", new[5:], "replicaof", "no", "one"], capture_output=True,
                           timeout=20)
            for number in range(len(self.servers)):
                self.relays.act(f"redis-{number}", "target", new)
            self.primary, self.failed_over = new, not self.failed_over
            self.pause(0, 2)
            subprocess.run(["redis-cli", "-s", old[5:], "replicaof", "127.0.0.1",
                            self.port_of(new)], capture_output=True, timeout=20)
            subprocess.run(["redis-cli", "-s", old[5:], "client", "kill", "type", "normal"],
                           capture_output=True, timeout=20)

    def port_of(self, address):
        if address[5:] == self.main:
            return os.environ["HOLDFAST_TEST_REDIS_PORT"]
        return str(self.second.port)

    # ---- Postgres

    def postgres_killed(self):
        stores("kill-postgres")
        self.pause(0, 1)
        stores("start-postgres")

    def postgres_restarted(self):
        stores("stop-postgres")
        stores("start-postgres")

    def backends_ended(self):
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                 " AND backend_type = 'client backend'")

    def row_locked(self):
        tenant = self.random.choice(self.tenants).name
        seconds = self.random.uniform(0.5, 4)
        self.sql(f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT 1 FROM quota q JOIN tenant t"
                 f" USING (tenant_id) WHERE t.name = '{tenant}' FOR UPDATE OF q; SELECT pg_sleep({seconds:.1f});"
                 " COMMIT")

    def postgres_stopped(self):
        """As a machine that hangs: postmaster and backends."""
        pids = [int(line) for line in subprocess.run(
            ["pgrep", "-f", f"^postgres: {DIR.name}: |-D {DIR}/data"], text=True,
            capture_output=True).stdout.split()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self.pause(0.1, 2.5)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def sql(self, text):
        with contextlib.suppress(subprocess.CalledProcessError):
            sql(text)

    # ---- between them

    def link_delayed(self, kind):
        name = self.link(kind)
        self.relays.act(name, "delay", self.random.choice((0.005, 0.02, 0.1, 0.3)))
        self.pause(0.2, 2)
        self.relays.act(name, "delay", 0.0)

    def link_one_way(self, kind):
        seconds = self.random.uniform(0.1, 3)
        self.relays.act(self.link(kind), self.random.choice(("hold_up", "hold_down")), seconds)
        self.over.wait(seconds)

    def link_reply_lost(self, kind):
        self.relays.act(self.link(kind), "lose_reply", self.random.randint(1, 200))

    def link_cut(self, kind):
        self.relays.act(self.link(kind), "cut_bytes", self.random.randint(1, 100000))

    def link_refused(self, kind):
        name = self.link(kind)
        self.relays.act(name, "refuse", self.random.uniform(0.1, 2))
        self.relays.act(name, "reset")

    def commit_unheard(self, kind):
        self.relays.act(self.link(kind), "lose_commit", self.random.randint(1, 50))

    # ---- limits

    def limit_changed(self):
        tenant = self.random.choice([each for each in self.tenants if each.changes])
        server = self.either()[1]
        units = self.random.randint(tenant.cap // 2, tenant.cap)
        with contextlib.suppress(Exception):  # it may be away: nothing depends on this one
            server.admin.PutLimit(admin.PutLimitRequest(limit=admin.Limit(
                tenant=tenant.name, limit_id="tokens", meter="tokens", period=quota.PERIOD_NEVER,
                units=units)), timeout=3)

    # ---- the schedule

    def count(self, name, by=1):
        self.done[name] = self.done.get(name, 0) + by

    def one(self, kind):
        try:
            self.do(*kind)
        except Exception as error:  # told at the end: the trouble could not be made
            self.failures.append(f"{kind[0]}: {error!r}")

    def do(self, name, what, method):
        if what == "server":
            number = self.random.randrange(len(self.servers))
            with self.locks[f"server-{number}"]:
                self.note(name, number)
                method(self, number)
        elif what in self.locks:
            with self.locks[what]:
                self.note(name)
                method(self)
        elif what:
            self.note(name)
            method(self, what[:-5])
        else:
            self.note(name)
            method(self)
        self.count(name)

    def note(self, *what):
        self.log.append((time.time(), *what))

    def run(self, until):
        """Alone, in pairs, and now and then many at once."""
        while time.monotonic() < until and not self.over.is_set():
            draw = self.random.random()
            count = 1 if draw < 0.6 else 2 if draw < 0.9 else self.random.randint(3, 5)
            turns = [threading.Thread(target=self.one, args=(self.random.choice(KINDS),))
                     for _ in range(count)]
            for turn in turns:
                turn.start()
            for turn in turns:
                turn.join()
            self.pause(0.2, 2.5)


# What it is called, what it takes for itself, how it is done.
KINDS = (
    ("server killed", "server", Trouble.server_killed), ("server stopped", "server", Trouble.server_stopped),
    ("server drained", "server", Trouble.server_drained),
    ("redis killed", "redis", Trouble.redis_killed), ("redis lost", "redis", Trouble.redis_lost),
    ("redis old", "redis", Trouble.redis_old), ("redis flushed", "redis", Trouble.redis_flushed),
    ("redis scripts flushed", "redis", Trouble.redis_scripts_flushed), ("redis full", "redis", Trouble.redis_full),
    ("redis asleep", "redis", Trouble.redis_asleep), ("redis paused", "redis", Trouble.redis_paused),
    ("redis clients killed", "redis", Trouble.redis_clients_killed),
    ("redis failed over", "redis", Trouble.redis_failed_over),
    ("postgres killed", "postgres", Trouble.postgres_killed),
    ("postgres restarted", "postgres", Trouble.postgres_restarted),
    ("postgres stopped", "postgres", Trouble.postgres_stopped),
    ("backends ended", None, Trouble.backends_ended), ("row locked", None, Trouble.row_locked),
    ("limit changed", None, Trouble.limit_changed),
    *((f"{store} {name}", store + "-link", method) for store in ("redis", "postgres")
      for name, method in (("delayed", Trouble.link_delayed), ("one way", Trouble.link_one_way),
                           ("reply lost", Trouble.link_reply_lost), ("cut", Trouble.link_cut),
                           ("refused", Trouble.link_refused))),
    ("postgres commit unheard", "postgres-link", Trouble.commit_unheard),
)
