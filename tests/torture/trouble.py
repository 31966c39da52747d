"""What is done to servers and stores while callers go on (protocol.md's F1 to F44, as far as one machine
without netem and device-mapper can do them). Each is a method; it returns when the trouble is over.

Not done here: slow or full disks, packet loss and reordering, clocks that jump (time namespaces do not have
CLOCK_REALTIME), Cluster, certificates; a standby that lacks what was acknowledged (integration/lagging.py).
"""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time

from harness import DIR, admin, quota, sql

CRASHES = ("commit.before_commit", "commit.after_commit_sent", "commit.after_commit", "grant.between",
           "notify.lost", "reap.between", "recall.between", "recover.between", "extend.between",
           "extend.after_retake", "extend.before_facts", "mend.between", "limit.between", "periods.made",
           "reserve.after_script", "place.before", "place.after", "losses.before_compared", "recover.bumped")


class Trouble:
    def __init__(self, seed, servers, relays, tenants, redis, postgres):
        self.random = random.Random(f"{seed} trouble")
        self.servers, self.relays, self.tenants = servers, relays, tenants
        self.done, self.lost, self.log, self.failures = {}, [], [], []
        self.locks = {name: threading.Lock() for name in ("redis", "postgres", "server-0", "server-1")}
        self.redis, self.postgres = redis, postgres
        self.over = threading.Event()
        self.apart_since = None
        redis.on_switch, redis.on_joined = self.follow_redis, self.joined_redis
        postgres.on_node = self.follow_postgres
        redis.thread.start()

    # ---- helpers

    def pause(self, shortest, longest):
        self.over.wait(self.random.uniform(shortest, longest))

    def cli(self, *words):
        return self.redis.primary.cli(*words)

    def follow_redis(self):
        """Sentinel has moved it; what the old one was told meanwhile is lost."""
        for number in range(len(self.servers)):
            self.relays.act(f"redis-{number}", "target", self.redis.address())
        self.apart_since = self.apart_since or time.time() - 5
        self.count("switches of Redis")

    def joined_redis(self):
        """The old one is demoted: until now, who could not ask Postgres for the new epoch went on with it."""
        if self.apart_since:
            self.lost.append((self.apart_since, time.time() + 5))
            self.apart_since = None

    def follow_postgres(self, port, there):
        for number in range(len(self.servers)):
            self.relays.act(f"postgres-{number}-{self.postgres.ports.index(port)}", "open" if there else "shut")

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
        name = f"{kind}-{self.random.randrange(len(self.servers))}"
        if kind == "postgres":
            return f"{name}-{self.postgres.ports.index(self.postgres.primary.port)}"
        return name

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
        node = self.redis.primary
        with self.losing():  # the log is written once a second
            node.end()
            self.pause(0, 3)
            node.start()

    def redis_lost(self):
        node = self.redis.primary
        with self.losing():
            node.end()
            shutil.rmtree(node.data)
            node.start()

    def redis_old(self):
        """A dump of some seconds ago comes back."""
        node, copy = self.redis.primary, DIR / "redis-old"
        shutil.rmtree(copy, ignore_errors=True)
        with self.losing():
            node.end(signal.SIGTERM)
            shutil.copytree(node.data, copy)
            node.start()
            self.pause(1, 5)
            node.end()
            shutil.rmtree(node.data)
            shutil.copytree(copy, node.data)
            node.start()

    def redis_flushed(self):
        with self.losing():
            self.cli("flushall")

    def redis_scripts_flushed(self):
        self.cli("script", "flush")

    def redis_full(self):
        node = self.redis.primary
        node.cli("config", "set", "maxmemory", "1")
        self.pause(0.1, 2)
        node.cli("config", "set", "maxmemory", "0")

    def redis_asleep(self):
        self.cli("debug", "sleep", f"{self.random.uniform(0.1, 1.5):.2f}")

    def redis_paused(self):
        self.cli("client", "pause", str(self.random.randint(50, 1500)), "all")

    def redis_clients_killed(self):
        self.cli("client", "kill", "type", "normal")

    def redis_failed_over(self):
        """Sentinel is asked to; the old one goes on for a while for who is connected there."""
        before = self.redis.switches
        if not self.redis.ask("failover", "one").startswith("OK"):
            self.count("redis failed over, not yet again")
        elif not self.redis.switched(before, 15):
            self.count("redis failed over, in vain")

    def redis_hung(self):
        """Sentinel moves it, and the old one wakes up, a primary as before."""
        node, before = self.redis.primary, self.redis.switches
        node.process.send_signal(signal.SIGSTOP)
        self.redis.switched(before, self.random.uniform(1, 8))
        self.pause(0, 1)
        node.process.send_signal(signal.SIGCONT)

    def replica_killed(self):
        node = self.redis.other
        node.end()
        self.pause(0, 1)
        node.start("--replicaof", "127.0.0.1", str(self.redis.primary.port))

    # ---- Postgres

    def postgres_killed(self):
        self.postgres.kill()
        self.pause(0, 1)
        self.postgres.start()

    def postgres_restarted(self):
        self.postgres.restart("fast")

    def postgres_failed_over(self):
        self.postgres.fail_over(lambda: self.pause(0, 2))

    def postgres_stopped(self):
        """As a machine that hangs: postmaster and backends."""
        self.stop_node(self.postgres.primary)

    def standby_stopped(self):
        """No COMMIT is durable as it should be."""
        self.stop_node(self.postgres.standby)

    def stop_node(self, node):
        node.send(signal.SIGSTOP)
        self.pause(0.1, 2.5)
        node.send(signal.SIGCONT)

    def backends_ended(self):
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                 " AND backend_type = 'client backend'")

    def row_locked(self):
        tenant = self.random.choice(self.tenants).name
        seconds = self.random.uniform(0.5, 4)
        self.sql(f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT 1 FROM quota q JOIN tenant t"
                 f" USING (tenant_id) WHERE t.name = '{tenant}' FOR UPDATE OF q; SELECT pg_sleep({seconds:.1f});"
                 " COMMIT")

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
    ("redis failed over", "redis", Trouble.redis_failed_over), ("redis hung", "redis", Trouble.redis_hung),
    ("replica killed", "redis", Trouble.replica_killed),
    ("postgres killed", "postgres", Trouble.postgres_killed),
    ("postgres restarted", "postgres", Trouble.postgres_restarted),
    ("postgres stopped", "postgres", Trouble.postgres_stopped),
    ("postgres failed over", "postgres", Trouble.postgres_failed_over),
    ("standby stopped", "postgres", Trouble.standby_stopped),
    ("backends ended", None, Trouble.backends_ended), ("row locked", None, Trouble.row_locked),
    ("limit changed", None, Trouble.limit_changed),
    *((f"{store} {name}", store + "-link", method) for store in ("redis", "postgres")
      for name, method in (("delayed", Trouble.link_delayed), ("one way", Trouble.link_one_way),
                           ("reply lost", Trouble.link_reply_lost), ("cut", Trouble.link_cut),
                           ("refused", Trouble.link_refused))),
    ("postgres commit unheard", "postgres-link", Trouble.commit_unheard),
)
