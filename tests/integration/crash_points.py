"""A server ends at each point where it can die, in each operation that passes it, with another server alive or
not; callers repeat what was not answered, at that server or at the same one restarted; then the books are judged.

Points and what passes them: MATRIX. A point that its operation does not reach is a failure. CI passes each point
once, in an operation that changes from day to day; HOLDFAST_TEST_SEED repeats it. HOLDFAST_TEST_ROUNDS=full is all
of it, a number that many. HOLDFAST_TEST_SHARE=N/K is the N-th of K shares of the points, HOLDFAST_TEST_ONLY=WORD
what has the word in its name.
"""
import os
import random
import re
import signal
import socket
import sys
import time

import grpc

import harness
from harness import Case, admin, quota, redis, service, sql, stores

CAP = 1000
SOON_S = 20       # on a busy machine; nothing below waits longer than it must
REPEATED_S = 30
DAY_S = 86_400

HELD, LONG, BRIEF = 60_000, 3_600_000, 400  # ttl in ms: in Redis, in Postgres, over soon


class Server(harness.Server):
    """One that may end while it starts."""

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = harness.subprocess.Popen(
                harness.command(self.address, *self.args), stdin=harness.subprocess.DEVNULL, stdout=log, stderr=log)
        self.channel = None
        end = time.monotonic() + 60
        while self.channel is None and self.process.poll() is None:
            assert time.monotonic() < end, "it does not serve"
            try:
                self.dial()
            except grpc.FutureTimeoutError:
                self.channel = None

    def dial(self):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50),
                   ("grpc.max_reconnect_backoff_ms", 100)]
        self.channel = (grpc.secure_channel(self.address, harness.TLS, options) if harness.TLS
                        else grpc.insecure_channel(self.address, options))
        grpc.channel_ready_future(self.channel).result(timeout=1)
        self.quota = harness.service_grpc.QuotaServiceStub(self.channel)
        self.admin = harness.admin_grpc.AdminServiceStub(self.channel)

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self.channel:
            self.channel.close()

    def begin(self, faults=None):
        """Anew, with these faults."""
        self.kill()
        if faults:
            os.environ["HOLDFAST_FAULTS"] = faults
        try:
            self.start()
        finally:
            os.environ.pop("HOLDFAST_FAULTS", None)

    def died(self):
        return self.process.poll() is not None


class Book:
    """A tenant, and what its callers were told."""

    def __init__(self, name):
        self.tenant, self.cap = name, CAP
        self.corrections = set()           # that are made, or are to be
        self.held, self.acked, self.asked = {}, {}, {}  # job -> reservation id; units acknowledged; units asked
        self.released, self.unanswered, self.wrong = set(), [], []
        self.lost = self.forgets = False   # Redis lost something; who reserved does not repeat
        self.jobs = 0

    def ask(self, on, method, request, timeout=5):
        """The answer, or None: it is not known what became of it."""
        try:
            reply = getattr(on.admin if hasattr(on.admin, method) else on.quota, method)(request, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                                grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED):
                self.unanswered.append((method, request))
                self.last = f"{error.code().name} {error.details()}"
            else:
                self.wrong.append(f"{method} was refused: {error.code().name} {error.details()}")
            return None
        self.note(method, request, reply)
        return reply

    def note(self, method, request, reply):
        job = getattr(request, "job_id", "")
        if method == "Reserve":
            if reply.decision == quota.DECISION_ALREADY_COMMITTED:
                if job not in self.asked:
                    self.wrong.append(f"I9 {job} is committed, and nobody asked")
            elif reply.decision != quota.DECISION_REJECT:
                self.held[job] = reply.reservation_id
        elif method == "Commit":
            units = sum(each.committed + each.debt for each in reply.committed)
            if self.acked.setdefault(job, units) != units:
                self.wrong.append(f"I1 {job}: {units} were committed, then {self.acked[job]}")
            self.held.pop(job, None)
        elif method == "Release":
            self.released.add(job)
            self.held.pop(job, None)

    def job(self):
        self.jobs += 1
        return f"job-{self.jobs}"

    # ---- calls

    def reserve(self, on, units=10, ttl=HELD, job=None, meter="tokens"):
        job = job or self.job()
        request = service.ReserveRequest(tenant=self.tenant, job_id=job,
                                         amounts=[quota.Amount(meter=meter, units=units)])
        request.ttl.FromMilliseconds(ttl)
        self.ask(on, "Reserve", request)
        return job

    def commit(self, on, job, units=7, by_job=False, meter="tokens"):
        self.asked[job] = units
        self.ask(on, "Commit", service.CommitRequest(
            tenant=self.tenant, job_id=job, reservation_id="" if by_job else self.held.get(job, ""),
            actual=[service.ActualAmount(meter=meter, units=units)]))

    def release(self, on, job):
        self.ask(on, "Release", service.ReleaseRequest(
            tenant=self.tenant, job_id=job, reservation_id=self.held.get(job, "")))

    def release_twin(self, on, job):
        """A repeat may be held in both places, and a token means one of them: by job the other one is meant."""
        try:
            on.quota.Release(service.ReleaseRequest(tenant=self.tenant, job_id=job), timeout=10)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                self.wrong.append(f"Release by job was refused: {error.code().name} {error.details()}")

    def extend(self, on, job, ttl):
        request = service.ExtendRequest(tenant=self.tenant, job_id=job, reservation_id=self.held.get(job, ""))
        request.ttl.FromMilliseconds(ttl)
        self.ask(on, "Extend", request)

    def limit(self, on, units, name="tokens", period=quota.PERIOD_NEVER, meter="tokens", **more):
        if name == "tokens":
            self.cap = units
        self.ask(on, "PutLimit", admin.PutLimitRequest(limit=admin.Limit(
            limit_id=name, tenant=self.tenant, meter=meter, period=period, units=units, **more)))

    # ---- afterwards

    def repeat(self, on):
        """Whatever was not answered, until it is."""
        end = time.monotonic() + REPEATED_S
        while self.unanswered:
            method, request = self.unanswered.pop(0)
            if method == "Reserve" and self.forgets:
                continue
            if self.ask(on, method, request, timeout=10) is None and self.unanswered:
                if time.monotonic() > end:
                    self.wrong.append(f"I11 {method} gets no answer: {self.last}")
                    return
                time.sleep(0.02)

    def number(self):
        return int(sql(f"SELECT tenant_id FROM tenant WHERE name = '{self.tenant}'")[0])

    def usage(self, on):
        return next(each for each in on.quota.GetUsage(service.GetUsageRequest(
            tenant=self.tenant, meter="tokens"), timeout=5).quotas if each.limit_id == "tokens")

    def rests(self, on):
        """Nothing is held and nothing set aside, in time."""
        end, seen = time.monotonic() + SOON_S, None
        while time.monotonic() < end:
            if self.lost:  # leases are set aside one by one, as each is touched
                sql(f"UPDATE old_lease SET deadline_ms = 1 WHERE tenant_id = {self.number()} AND deadline_ms > 1")
            try:
                seen = self.usage(on)
                if not (seen.held or seen.set_aside or seen.held_is_upper_bound):
                    return True
            except grpc.RpcError as error:
                seen = error
            time.sleep(0.05)
        placed = sql(f"SELECT job_id, deadline_ms FROM pg_hold WHERE tenant_id = {self.number()}")
        self.wrong.append(f"I7 at rest: {seen}, in Postgres: {placed}")
        return False

    def judge(self, on):
        self.repeat(on)
        held = list(self.held)
        for job in held:
            self.release(on, job)
        self.repeat(on)
        for job in held:
            self.release_twin(on, job)
        if self.rests(on):
            self.judge_room(on)
        self.judge_rows()
        books = list(on.admin.VerifyTenant(admin.VerifyTenantRequest(tenant=self.tenant), timeout=30))[-1]
        self.wrong += [f"I4 {finding}" for finding in books.findings]
        return self.wrong

    def judge_room(self, on):
        """I7: all that the record leaves, and not one more."""
        seen = self.usage(on)
        if seen.hard_cap != self.cap:
            self.wrong.append(f"the limit is {seen.hard_cap}, acknowledged was {self.cap}")
        left = max(0, self.cap - seen.committed - seen.debt)
        every = self.reserve(on, left, job="every-unit")
        self.repeat(on)
        if every not in self.held:
            self.wrong.append(f"I7 {left} of {self.cap} are free and cannot be had: {self.usage(on)}")
        more = self.reserve(on, 1, job="one-more")
        self.repeat(on)
        if more in self.held:
            self.wrong.append("I3 one more than the limit was admitted")

    def judge_rows(self):
        rows, of = {}, self.number()
        for line in sql(f"SELECT job_id, amount + debt FROM ledger WHERE tenant_id = {of}"):
            job, units = line.split("|")
            if job in rows:
                self.wrong.append(f"I2 {job} is recorded twice")
            rows[job] = int(units)
        made = sql(f"SELECT id FROM ledger_change WHERE tenant_id = {of} ORDER BY 1")
        if made != sorted(self.corrections):
            self.wrong.append(f"I1 corrections {sorted(self.corrections)} were acknowledged, recorded {made}")
        for job, units in self.acked.items():
            if rows.get(job) != units:
                self.wrong.append(f"I1 {job}: acknowledged {units}, recorded {rows.get(job)}")
        for job in rows.keys() - self.asked.keys():
            self.wrong.append(f"I9 {job} is recorded, and nobody asked")
        for job in rows.keys() & self.released:
            self.wrong.append(f"I5 {job} was released, and is recorded")
        self.wrong += [f"I4 {line}" for line in sql(
            "SELECT 'leased is ' || q.leased || ', lent ' || s.lent || ', held ' || q.pg_held || ' of ' || s.placed"
            " FROM quota q, LATERAL (SELECT q.granted - q.returned - q.spent + coalesce((SELECT sum(granted"
            " - returned - spent) FROM old_lease o WHERE (o.tenant_id, o.limit_id, o.period_start_ms) ="
            " (q.tenant_id, q.limit_id, q.period_start_ms)), 0) AS lent, (SELECT CASE WHEN count(*) = 0 THEN 0 ELSE"
            f" q.pg_held END FROM pg_hold WHERE tenant_id = {of}) AS placed) s"
            f" WHERE q.tenant_id = {of} AND (q.leased <> s.lent OR q.pg_held <> s.placed)")]
        events, last = sql(f"SELECT count(*), coalesce(max(seq), 0) FROM event WHERE tenant_id = {of}")[0].split("|")
        if events != last:
            self.wrong.append(f"I8 {events} events, the last is {last}")


# ---- operations -----------------------------------------------------------------------------------------------
# (before, drive): before(book, on) with a server without faults, then drive(book, on) at the one that will die,
# again and again until it does. PATIENT: its janitor does it. ALONE: another server's janitor would as well, and
# is stopped meanwhile.

def hold(units=10, ttl=HELD, count=3):
    def before(book, on):
        for _ in range(count):
            book.reserve(on, units, ttl)
    return before


def each_held(call):
    """One job after the other that is held."""
    def drive(book, on):
        for job in list(book.held):
            if not on.died():
                call(book, on, job)
    return drive


def reserve(book, on):
    book.reserve(on)


def reserve_forgotten(book, on):
    book.forgets = True
    book.reserve(on, ttl=2000)


def reserve_placed(book, on):
    """Who repeats it within a beat of Redis' return may not know of the hold in Postgres (PROTOCOL.md, twice held):
    that ends by itself, sooner than judge gives up."""
    book.reserve(on, ttl=SOON_S * 1000 // 2)


def reserve_long(book, on):
    book.reserve(on, ttl=LONG)


def reserve_held(book, on):
    for job in list(book.held):
        if not on.died():
            book.reserve(on, job=job)


def reserve_more(book, on):
    """More than is lent."""
    left = CAP - sum(10 for _ in book.held)
    job = book.reserve(on, left)
    book.release(on, job)


def reserve_crowded(book, on):
    """Room is among what is due."""
    book.reserve(on, 600)
    book.unanswered = [each for each in book.unanswered if each[0] != "Reserve"] + book.unanswered[-1:]


def expire(book, on):
    hold(300, BRIEF)(book, on)
    book.held.clear()


def be_late(book, on):
    """Their holds are over, and reaped."""
    held = hold(10, BRIEF)
    held(book, on)
    until(lambda: int(sql(f"SELECT count(*) FROM expired_hold WHERE tenant_id = {book.number()}")[0]) == 3)


def commit_placed_ready(book, on):
    hold(10, LONG)(book, on)


def flush():
    """At once: redis-cli takes longer to start than a server to notice."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(os.environ["HOLDFAST_TEST_REDIS"][len("unix:"):])
        link.sendall(b"FLUSHALL\r\n")
        assert link.recv(64) == b"+OK\r\n"


def lose_all(then):
    def drive(book, on):
        book.lost = True
        flush()
        then(book, on)
    return drive


def lose_each(call):
    """Before each job that is held: the beat may be what notices the first loss."""
    return each_held(lambda book, on, job: lose_all(lambda *_: call(book, on, job))(book, on))


def away(then):
    """While Redis is away; it is back afterwards."""
    def drive(book, on):
        book.lost = True
        stores("kill-redis")
        try:
            then(book, on)
        finally:
            stores("start-redis")
    return drive


def limit_lower(book, on):
    book.limit(on, CAP - 100 - book.jobs)
    book.jobs += 1


def limit_more(book, on):
    book.limit(on, 5000, "another")


def limit_deleted(book, on):
    book.ask(on, "DeleteLimit", admin.DeleteLimitRequest(
        tenant=book.tenant, limit_id="another", note=admin.ChangeNote(request_id=f"{book.tenant}-deletes")))


def tenant_changed(book, on):
    book.ask(on, "UpdateTenant", admin.UpdateTenantRequest(tenant=admin.Tenant(
        tenant=book.tenant, state=admin.TENANT_STATE_ACTIVE)))


def nothing(book, on):
    pass


def limit_that_tells(book, on):
    book.limit(on, CAP, reserved_crossings=True)


def cross(book, on):
    book.reserve(on, 950)


def idle(book, on):
    job = book.reserve(on, 600)
    book.reserve(on, 10)
    book.release(on, job)


def lost_hash(book, on):
    lose_key(book, "t:%d")


def lost_index(book, on):
    lose_key(book, "d:%d:0")


def lose_key(book, key):
    book.lost = True
    shard = int(sql(f"SELECT shard FROM tenant WHERE name = '{book.tenant}'")[0])
    name = f"q:{{{shard // 16}}}:2:{key % book.number()}"
    assert redis("del", name) == ["1"], f"there is no {name}: {redis('keys', '*')}"


def limit_of_hours(book, on):
    """Of a meter of its own: Redis is not told that its period ends."""
    book.limit(on, CAP, "hourly", quota.PERIOD_HOUR, "hours")


def period_over(book, on):
    """It was used and ended an hour ago, before anybody can have sealed it."""
    book.commit(on, book.reserve(on, meter="hours"), meter="hours")
    of = book.number()
    sql("SET session_replication_role = replica; BEGIN;"
        f" UPDATE quota SET period_start_ms = period_start_ms - 3600000, period_end_ms = period_end_ms - 3600000"
        f" WHERE tenant_id = {of} AND period_start_ms > 0;"
        f" UPDATE ledger SET counted = (SELECT array_agg(CASE WHEN at % 5 = 2 AND value > 0 THEN value - 3600000"
        " ELSE value END ORDER BY at) FROM unnest(counted) WITH ORDINALITY u(value, at))"
        f" WHERE tenant_id = {of}; COMMIT")


def used(book, on):
    book.commit(on, book.reserve(on))


def set_aside(book, on):
    hold()(book, on)
    lose_all(reserve)(book, on)
    book.repeat(on)
    until(lambda: sql(f"SELECT 1 FROM old_lease WHERE tenant_id = {book.number()}"))


def repair(book, on):
    """Of a quota that a hand was in."""
    book.lost = True
    sql(f"UPDATE quota SET leased = leased + 9 WHERE tenant_id = {book.number()}")
    book.ask(on, "RepairDrift", admin.RepairDriftRequest(
        tenant=book.tenant, note=admin.ChangeNote(request_id=f"{book.tenant}-repairs-{book.jobs}")))
    book.jobs += 1


def recorded(book, on):
    for _ in range(3):
        book.commit(on, book.reserve(on))


def correct(book, on):
    """Each job once by each turn; what is repeated is made once."""
    for job in list(book.acked):
        if not on.died():
            name = f"{job}-{len(book.corrections)}"
            book.corrections.add(name)
            book.ask(on, "Adjust", admin.AdjustRequest(
                tenant=book.tenant, adjust_id=name, job_id=job, changes=[admin.Change(meter="tokens", delta=-1)]))


def old_lease(book, on):
    """A lease that was set aside is over."""
    sql(f"UPDATE old_lease SET deadline_ms = 1 WHERE tenant_id = {book.number()}")


def released(book, on):
    book.release(on, book.reserve(on))


def taken_over(book, on):
    """The database is of another history than the one that was compared last."""
    sql("UPDATE history SET timeline = timeline + 1")


def old_rows(book, on):
    """A fence may go."""
    sql(f"UPDATE job_fence SET purge_after = now() - interval '1 hour' WHERE tenant_id = {book.number()}")


def until(condition):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() < begun + SOON_S, "not in time"
        harness.look_later(begun)


commit = each_held(lambda book, on, job: book.commit(on, job))
commit_by_job = each_held(lambda book, on, job: book.commit(on, job, by_job=True))
commit_more = each_held(lambda book, on, job: book.commit(on, job, CAP))
release = each_held(lambda book, on, job: book.release(on, job))
extend = each_held(lambda book, on, job: book.extend(on, job, HELD + 1000))
extend_far = each_held(lambda book, on, job: book.extend(on, job, 600_000))

PATIENT = {"reap", "crossings", "idle return", "look at keys", "look at an index", "period", "seal", "close", "retention",
           "begin of an epoch", "comparing"}
ALONE = PATIENT | {"reserve with room among what is due"}
OPERATIONS = {
    "reserve": (nothing, reserve),
    "reserve, not repeated": (nothing, reserve_forgotten),
    "reserve again": (hold(), reserve_held),
    "reserve of more than is lent": (hold(), reserve_more),
    "reserve with room among what is due": (expire, reserve_crowded),
    "reserve for long": (nothing, reserve_long),
    "reserve without Redis": (hold(), away(reserve_placed)),
    "reserve after a loss": (hold(), lose_all(reserve)),
    "commit": (hold(), commit),
    "commit by job": (hold(), commit_by_job),
    "commit, late": (be_late, commit),
    "commit, late, without Redis": (be_late, away(commit)),
    "commit of a hold in Postgres": (commit_placed_ready, commit),
    "commit of more than is held": (hold(count=1), commit_more),
    "commit after a loss": (hold(), lose_each(lambda book, on, job: book.commit(on, job))),
    "release": (hold(), release),
    "release of a hold in Postgres": (commit_placed_ready, release),
    "release after a loss": (hold(), lose_each(lambda book, on, job: book.release(on, job))),
    "extend": (hold(), extend),
    "extend past the lease": (hold(), extend_far),
    "extend after a loss": (hold(), lose_each(lambda book, on, job: book.extend(on, job, HELD + 1000))),
    "limit lowered": (hold(), limit_lower),
    "limit added": (hold(), limit_more),
    "limit deleted": (limit_more, limit_deleted),
    "tenant changed": (hold(), tenant_changed),
    "repair": (hold(), repair),
    "adjust": (recorded, correct),
    "reap": (expire, nothing),
    "crossings": (limit_that_tells, cross),
    "idle return": (idle, nothing),
    "look at keys": (hold(), lost_hash),
    "look at an index": (hold(), lost_index),
    "period": (limit_of_hours, period_over),
    "seal": (nothing, used),
    "close": (set_aside, old_lease),
    "retention": (released, old_rows),
    "begin of an epoch": (hold(), lose_all(nothing)),
    "comparing": (hold(), taken_over),
}
COMMITS = ("commit", "commit by job", "commit, late", "commit of a hold in Postgres", "commit of more than is held",
           "release", "release of a hold in Postgres")
# `point@N` is its N-th passage: the first Reserve of a server that knows nothing yet takes another way.
MATRIX = {
    "reserve.before_script": ("reserve", "reserve, not repeated", "reserve again"),
    "reserve.after_script": ("reserve", "reserve, not repeated", "reserve again", "reserve after a loss"),
    "reserve.after_script@2": ("reserve", "reserve, not repeated", "reserve again"),
    "grant.between": ("reserve", "reserve, not repeated", "reserve of more than is lent", "reserve after a loss"),
    "place.before": ("reserve for long", "reserve without Redis"),
    "place.after": ("reserve for long", "reserve without Redis"),
    "commit.before_commit": COMMITS,
    "commit.after_commit_sent": COMMITS,
    "commit.after_commit": COMMITS,
    "commit.result_is_error": ("commit", "release"),
    "database.commit_error": ("reserve", "reserve for long", "limit lowered", "reap"),
    "notify.lost": ("commit", "commit by job", "commit, late", "release"),
    "notify.given_up": ("commit after a loss", "release after a loss"),
    "notify.marks": ("commit, late, without Redis",),
    "reap.between": ("reap", "reserve with room among what is due"),
    "mend.between": ("look at keys",),
    "repair.between": ("repair",),
    "adjust.before_commit": ("adjust",),
    "adjust.between": ("adjust",),
    "mend.rebuild": ("look at an index",),
    "extend.before_facts": ("extend", "extend past the lease"),
    "extend.before_retake": ("extend after a loss",),
    "extend.after_retake": ("extend after a loss",),
    "extend.between": ("extend past the lease",),
    "recover.bumped": ("begin of an epoch", "reserve after a loss", "extend after a loss"),
    "recover.between": ("begin of an epoch", "reserve after a loss", "commit after a loss", "release after a loss",
                        "extend after a loss"),
    "losses.before_compared": ("comparing",),
    "periods.made": ("period",),
    "seal.before_commit": ("seal",),
    "recall.between": ("limit lowered", "commit of more than is held", "idle return"),
    "limit.between": ("limit lowered", "limit added", "limit deleted", "tenant changed"),
    "crossings.before_write": ("crossings",),
    "crossings.after_write": ("crossings",),
    "close.between": ("close",),
    "retention.between": ("retention",),
}


def choose():
    seed = int(os.environ.get("HOLDFAST_TEST_SEED", time.time() // DAY_S))
    chance, rounds = random.Random(seed), os.environ.get("HOLDFAST_TEST_ROUNDS")
    share, of = map(int, os.environ.get("HOLDFAST_TEST_SHARE", "1/1").split("/"))
    rows = [[(point, operation, beside) for operation in row for beside in (False, True)
             if os.environ.get("HOLDFAST_TEST_ONLY", "") in name_of(point, operation, beside)]
            for point, row in list(MATRIX.items())[share - 1::of]]
    every = [each for row in rows for each in row]
    if rounds is None:
        chosen = [chance.choice(row) for row in rows if row]
    else:
        chosen = every if rounds == "full" else chance.sample(every, min(int(rounds), len(every)))
    print(f"seed {seed}: {len(chosen)} of {len(every)}", file=sys.stderr)
    return chosen


class CrashPoints(Case):
    def test_every_point_stands_here(self):
        found = set()
        for path in (harness.ROOT / "src").rglob("*.c"):
            if path.name != "fault.c":
                found |= set(re.findall(r'\bFAULT\("([^"]+)"\)', path.read_text()))
        self.assertEqual(found, {point.split("@")[0] for point in MATRIX})
        self.assertEqual({each for row in MATRIX.values() for each in row}, OPERATIONS.keys())

    def test_a_server_ends_at_each(self):
        chosen = choose()
        harness.server.stop()
        harness.server = self.other = Server(listen=harness.server.address)
        self.victim = Server()
        self.addCleanup(self.other.begin)
        self.addCleanup(self.victim.kill)
        fired = failed = 0
        for number, each in enumerate(sorted(chosen, key=lambda each: each[2])):
            begun = time.monotonic()
            try:
                wrong = self.one(number, *each)
            except Exception as error:  # the others still have their turn
                wrong = [f"{type(error).__name__}: {error}"]
            fired += not any("not reached" in text for text in wrong)
            failed += bool(wrong)
            print(f"{name_of(*each)}: {time.monotonic() - begun:.1f} s {wrong or 'holds'}", file=sys.stderr, flush=True)
        print(f"{len(chosen)} combinations, {fired} fired, {failed} with violations", file=sys.stderr)
        self.assertEqual(failed, 0)

    def one(self, number, point, operation, beside):
        before, drive = OPERATIONS[operation]
        patient = operation in PATIENT
        book = Book(f"crash-{number}")
        self.other.kill()
        self.victim.kill()
        ready = self.other if beside else self.victim
        ready.start()
        book.ask(ready, "CreateTenant", admin.CreateTenantRequest(tenant=admin.Tenant(tenant=book.tenant)))
        book.limit(ready, CAP)
        frozen = beside and operation in ALONE
        before(book, ready)
        book.repeat(ready)
        if frozen:
            ready.process.send_signal(signal.SIGSTOP)
        try:
            name, _, passage = point.partition("@")
            self.victim.begin(f"{name}=crash@{passage or 1}")
            if not self.drive_until_it_dies(book, drive, patient):
                return [f"not reached; {book.wrong}"]
        finally:
            if frozen:
                ready.process.send_signal(signal.SIGCONT)
        if self.victim.process.returncode != -signal.SIGKILL:
            return [f"it ended with {self.victim.process.returncode}"]
        if not beside:
            self.victim.begin()
        return book.judge(ready)

    def drive_until_it_dies(self, book, drive, patient):
        for turn in range(4):
            if self.victim.died():
                return True
            if turn == 0 or not patient:
                drive(book, self.victim)
                # What cannot be answered since it is over is asked again by judge.
        end = time.monotonic() + SOON_S
        while not self.victim.died() and time.monotonic() < end:
            time.sleep(0.02)
        return self.victim.died()


def name_of(point, operation, beside):
    return f"{point} in {operation}, {'beside another' if beside else 'alone'}"


if __name__ == "__main__":
    harness.main()
