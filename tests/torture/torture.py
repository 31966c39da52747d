"""Real servers, real stores, callers that repeat, and trouble all the while; then the history is judged.

    tests/torture/run [--minutes M] [--seed S] [--callers N] [--each E] [--state FILE]

Two servers, each behind relays of its own to Redis and to Postgres, which both stand there twice (pairs.py): a
replica under Sentinel, and a synchronous standby that the servers find by their conninfo. A seed decides what the callers ask and which trouble comes when; the machine decides how it
falls, so a seed is a theme and no replay. The history is judged by judge.py; at rest everything that is not
recorded can be had again, to the last unit.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import harness  # noqa: E402
import total  # noqa: E402
from harness import DIR, admin, quota, service, sql  # noqa: E402
from judge import Row, Tenant, judge  # noqa: E402
from pairs import PostgresPair, RedisPair  # noqa: E402
from relay import Relays  # noqa: E402
from story import TTL_MAX_S, Caller, Watcher  # noqa: E402
from trouble import Trouble  # noqa: E402

SERVERS = 2
REST_S = 150      # a lease that was set aside ends within this after the last loss
LOOK_S = 0.5


class Server(harness.Server):
    """Callers have connections of their own; ours to it lasts over its restarts."""

    def start_unconnected(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(harness.command(self.address, *self.args),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Kind:
    """What a tenant is like, and what its jobs are."""

    def __init__(self, name, cap, period, units_max, overrun=0, most=None, changes=False):
        self.name, self.cap, self.period, self.units_max = name, cap, period, units_max
        self.overrun, self.most, self.changes = overrun, most, changes

    def actual(self, chance, units):
        """Mostly little, so that a limit lasts; some take all, some more."""
        draw = chance.random()
        if self.most is not None and draw < 0.9:
            return min(self.most, units)
        return units if draw < 0.97 else units + chance.randint(0, 5)

    def create(self, server):
        server.admin.CreateTenant(admin.CreateTenantRequest(tenant=admin.Tenant(tenant=self.name)))
        server.admin.PutLimit(admin.PutLimitRequest(limit=admin.Limit(
            tenant=self.name, limit_id="tokens", meter="tokens", period=self.period, units=self.cap)))


WIDE = 10 ** 12
KINDS = (Kind("wide", WIDE, quota.PERIOD_NEVER, 1000),
         Kind("wide-strict", WIDE, quota.PERIOD_NEVER, 1000, service.OVERRUN_POLICY_STRICT),
         Kind("tight", 400, quota.PERIOD_MINUTE, 60, most=0),
         Kind("tight-cap", 900, quota.PERIOD_MINUTE, 60, service.OVERRUN_POLICY_CAP, most=1),
         Kind("tight-strict", 300, quota.PERIOD_MINUTE, 40, service.OVERRUN_POLICY_STRICT, most=0),
         Kind("never", 20000, quota.PERIOD_NEVER, 200, most=0),
         Kind("changing", 100000, quota.PERIOD_NEVER, 500, most=0, changes=True))


def read_record(kind):
    """What Postgres has of a tenant."""
    of = f"(SELECT tenant_id FROM tenant WHERE name = '{kind.name}')"
    limit = int(sql(f"SELECT limit_id FROM limit_ WHERE tenant_id = {of}")[0])
    tenant = Tenant(kind.name, kind.cap, limit, never=kind.period == quota.PERIOD_NEVER)
    for line in sql("SELECT json_build_array(job_id, hold_epoch || '.' || hold_seq, amount, debt, late, counted)"
                    f" FROM ledger WHERE tenant_id = {of}"):
        job, attempt, amount, debt, late, counted = json.loads(line)
        fives = [tuple(counted[at:at + 5]) for at in range(0, len(counted), 5)]
        tenant.rows.append(Row(job, attempt, amount, debt, late, fives))
    for line in sql(f"SELECT limit_id, period_start_ms, committed, debt, ledger_seq FROM quota"
                    f" WHERE tenant_id = {of}"):
        limit_id, period, *sums = map(int, line.split("|"))
        tenant.quotas[limit_id, period] = tuple(sums)
    tenant.events = [int(line) for line in sql(f"SELECT seq FROM event WHERE tenant_id = {of} ORDER BY seq")]
    return tenant


def check_leases():
    """I4: what is lent is the sum of the leases."""
    return [f"I4 quota {line}: leased is not the sum of its leases" for line in sql(
        "SELECT q.tenant_id, q.limit_id, q.period_start_ms FROM quota q WHERE q.leased <>"
        " q.granted - q.returned - q.spent + coalesce((SELECT sum(granted - returned - spent) FROM old_lease o"
        " WHERE (o.tenant_id, o.limit_id, o.period_start_ms) = (q.tenant_id, q.limit_id, q.period_start_ms)), 0)")]


def usage(server, kind):
    return server.quota.GetUsage(service.GetUsageRequest(tenant=kind.name, meter="tokens"),
                                 timeout=5).quotas[0]


def wait_for_rest(server, kind, until):
    """I7: nothing is held any more, and what was set aside is back."""
    state = None
    while time.monotonic() < until:
        try:
            state = usage(server, kind)
            if state.held == 0 and state.set_aside == 0 and not state.held_is_upper_bound:
                return []
        except harness.grpc.RpcError:
            pass
        time.sleep(LOOK_S)
    return [f"I7 {kind.name}: at rest {state.held if state else '?'} are held, "
            f"{state.set_aside if state else '?'} set aside"]


def check_room(server, kind):
    """I7: all that the record leaves can be had, and not one more."""
    state = usage(server, kind)
    left = state.hard_cap - state.committed - state.debt

    def ask(job, units):
        return server.quota.Reserve(service.ReserveRequest(
            tenant=kind.name, job_id=job, amounts=[quota.Amount(meter="tokens", units=units)]), timeout=10)
    if left > 0 and ask(f"rest-{kind.name}-all", left).decision == quota.DECISION_REJECT:
        return [f"I7 {kind.name}: {left} are free and cannot be had"]
    if ask(f"rest-{kind.name}-more", 1).decision != quota.DECISION_REJECT:
        return [f"I3 {kind.name}: one more than the cap was admitted"]
    return []


def at_rest(server):
    until = time.monotonic() + REST_S
    wrong = []
    for kind in KINDS:
        wrong += wait_for_rest(server, kind, until)
        if kind.period == quota.PERIOD_NEVER:
            wrong += check_room(server, kind)
    return wrong


def build(options):
    harness.server.stop()
    harness.stores("stop")
    redis, postgres = RedisPair(), PostgresPair()
    plan = []
    for number in range(SERVERS):
        plan.append((f"redis-{number}", "redis", redis.address()))
        plan += [(f"postgres-{number}-{node}", "postgres", f"127.0.0.1:{port}")
                 for node, port in enumerate(postgres.ports)]
    relays = Relays(plan)
    servers = [Server("--redis", f"127.0.0.1:{relays.ports[f'redis-{number}']}",
                      "--postgres", conninfo(relays, number), "--start-timeout", "600")
               for number in range(SERVERS)]
    for kind in KINDS:
        kind.create(servers[0])
    return relays, servers, Trouble(options.seed, servers, relays, KINDS, redis, postgres)


def conninfo(relays, number):
    """The standby first: it is not the one."""
    ports = ",".join(str(relays.ports[f"postgres-{number}-{node}"]) for node in (1, 0))
    return (f"host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=holdfast sslmode=disable"
            " target_session_attrs=read-write")


def run(options):
    relays, servers, trouble = build(options)
    addresses = [server.address for server in servers]
    over = threading.Event()
    callers = [Caller(number, options.seed, KINDS, addresses, over) for number in range(options.callers)]
    watchers = [Watcher(kind.name, addresses) for kind in KINDS]
    begun = time.monotonic()
    for thread in [*watchers, *callers]:
        thread.start()
    trouble.run(begun + options.minutes * 60)
    over.set()
    for caller in callers:
        caller.join()
    trouble.over.set()
    for server in servers:  # whatever is armed is not for the rest
        server.kill()
        server.start_unconnected()
    wrong = [f"a caller ended: {caller.failure!r}" for caller in callers if caller.failure]
    wrong += [f"trouble failed: {failure}" for failure in trouble.failures]
    wrong += at_rest(servers[0])
    trouble.joined_redis()
    jobs = [job for caller in callers for job in caller.jobs]
    tenants = [read_record(kind) for kind in KINDS]
    wait_for_events(watchers, tenants)
    for watcher, tenant in zip(watchers, tenants):
        watcher.end()
        if watcher.events != tenant.events:
            wrong.append(f"I8 {tenant.name}: the watcher saw {len(watcher.events)} events of {len(tenant.events)}")
    wrong += judge(jobs, tenants, trouble.lost, watchers) + check_leases()
    for server in servers:
        server.stop()
    relays.close()
    trouble.redis.close()
    trouble.postgres.close()
    tell(options, trouble, callers, jobs, tenants, wrong, time.monotonic() - begun)
    return wrong


def wait_for_events(watchers, tenants):
    until = time.monotonic() + 20
    while time.monotonic() < until and any(
            len(watcher.events) < len(tenant.events) for watcher, tenant in zip(watchers, tenants)):
        time.sleep(LOOK_S)


def tell(options, trouble, callers, jobs, tenants, wrong, seconds):
    stretch = {"seed": options.seed, "minutes": options.minutes, "calls": sum(caller.calls for caller in callers),
               "jobs": len(jobs),
               "commits": sum(job.commit is not None and job.commit.reply is not None for job in jobs),
               "recorded": sum(len(tenant.rows) for tenant in tenants),
               "events": sum(len(tenant.events) for tenant in tenants), "trouble": trouble.done, "wrong": wrong}
    lines, _ = total.tell([stretch])
    print("\n".join(lines))
    print(f"  {seconds:.0f} s", flush=True)
    if wrong:
        with open(DIR / "torture.history", "w") as out:
            for when, *what in trouble.log:
                print(f"{when:.3f}", *what, file=out)
            for job in jobs:
                print(job, file=out)
    if options.state:
        total.append(options.state, stretch)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--state")
    options = parser.parse_args()
    assert TTL_MAX_S < REST_S
    wrong = run(options)
    print(f"[====] Synthesis: Tested: 1 | Passing: {int(not wrong)} | Failing: {int(bool(wrong))} | Crashing: 0",
          file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
