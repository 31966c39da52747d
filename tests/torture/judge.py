"""What must hold of a history (story.py) and the record that it left: PROTOCOL.md, section 5.

A linear replay: replies carry the order that counts, so nothing is searched. judge_test.py alters sound
histories and expects each alteration to be named.
"""
import collections
import dataclasses

MARGIN_S = 0.02   # what a hold's last moment may be taken for, either way


@dataclasses.dataclass
class Row:
    """A row of the ledger: one job, one meter."""
    job: str
    attempt: str
    amount: int
    debt: int
    late: bool
    counted: list  # (limit, period start in ms, ledger_seq, amount, debt)


@dataclasses.dataclass
class Tenant:
    name: str
    cap: int            # the highest of the run, of the limit that is judged
    limit: int          # its number in the database
    rows: list = dataclasses.field(default_factory=list)
    quotas: dict = dataclasses.field(default_factory=dict)  # (limit, period) -> committed, debt, seq
    events: list = dataclasses.field(default_factory=list)  # seq of each row of event
    never: bool = True  # its period is NEVER


def seconds(stamp):
    return stamp.seconds + stamp.nanos / 1e9


def live(job):
    """The spans in which the hold was live for certain, as far as the caller could know."""
    end = job.ending or float("inf")
    spans = []
    for answer in [job.reserve, *job.extends]:
        if answer.reply is None:
            continue
        until = min(end, seconds(answer.reply.expire_time) - MARGIN_S)
        if answer.told < until:
            spans.append((answer.told, until))
    merged = []
    for begin, until in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((begin, until))
    return merged


def period_of(job, tenant):
    """Where the hold counts; None where a brief reply does not say."""
    if tenant.never:
        return 0
    for each in job.reserve.reply.quotas:
        if each.limit_id == "tokens":
            return each.period_start.seconds * 1000
    return None


def judge(jobs, tenants, lost, watchers=()):
    """Sentences, one for each violation. `lost`: spans in which Redis may have lost what it had."""
    wrong = []
    by_tenant = collections.defaultdict(list)
    for job in jobs:
        by_tenant[job.tenant].append(job)
    for tenant in tenants:
        wrong += judge_tenant(tenant, by_tenant[tenant.name], lost)
    for watcher in watchers:
        wrong += watcher.faults
    return wrong


def judge_tenant(tenant, jobs, lost):
    rows = {}
    wrong = []
    for row in tenant.rows:
        if row.job in rows:
            wrong.append(f"I2 {row.job}: two records")
        rows[row.job] = row
    for job in jobs:
        for text in judge_job(job, rows.get(job.name), lost):
            wrong.append(f"{text} ({tenant.name} {job.name})")
    known = {job.name for job in jobs if job.commit}
    for name in rows.keys() - known:
        wrong.append(f"I9 {name}: recorded, and nobody asked for it")
    wrong += judge_sums(tenant)
    wrong += judge_room(tenant, jobs, rows)
    return wrong


def judge_job(job, row, lost):
    for answer in [job.reserve, *job.extends, job.commit, job.release]:
        if answer and answer.reason == "STUCK":
            yield f"I11 no answer for good in time, the last: {answer.text}"
        if answer and answer.reason == "READ_ONLY":
            yield "I1 it is said that something was lost"
    if job.commit and job.commit.reply is not None:
        yield from judge_committed(job, row)
    elif job.commit and not job.commit.doubts and row and job.commit.reason != "STUCK":
        yield f"I9 recorded, but the Commit was told {job.commit.reason} for certain"
    if job.commit and job.commit.reply is None:
        yield from judge_refused(job, lost)
    if job.release:
        if job.release.reply is not None and row:
            yield f"I5 released, and recorded as {row.attempt}"
        if job.release.reply is None and job.release.reason not in ("STUCK", "UNKNOWN_JOB"):
            yield f"I6 a Release was refused: {job.release.reason} {job.release.text}"


def judge_committed(job, row):
    said = job.commit.reply.committed[0]
    if not row:
        yield "I1 an acknowledged Commit has no record"
        return
    if (row.amount, row.debt) != (said.committed, said.debt):
        yield (f"I1 the Commit was told {said.committed} and {said.debt} of debt, the record says "
               f"{row.amount} and {row.debt}")
    if job.commit.reply.attempt and job.commit.reply.attempt != row.attempt:
        yield f"I1 the Commit was told of attempt {job.commit.reply.attempt}, recorded is {row.attempt}"
    if job.commit.reply.late and any(begin <= job.commit.first and job.commit.told < until
                                     for begin, until in live_to_the_end(job)):
        yield "I6 a Commit of a live hold was late"


def live_to_the_end(job):
    """As live, but for the end that the caller asked for."""
    ending, job.ending = job.ending, 0
    spans = live(job)
    job.ending = ending
    return spans


def judge_refused(job, lost):
    reason = job.commit.reason
    if reason in ("STUCK", "OVERRUN"):
        return
    if reason == "UNKNOWN_JOB" and job.by_job and \
            any(begin <= job.commit.told and until >= job.reserve.first for begin, until in lost):
        return  # Redis alone knew of it, and the caller did not name the attempt
    yield f"I6 a Commit was refused: {reason} {job.commit.text}"


def judge_sums(tenant):
    """I4, and I2's half: the numbers of a quota have no gap."""
    sums = collections.defaultdict(lambda: [0, 0])
    seqs = collections.defaultdict(list)
    for row in tenant.rows:
        for limit, period, seq, amount, debt in row.counted:
            sums[limit, period][0] += amount
            sums[limit, period][1] += debt
            seqs[limit, period].append(seq)
    for key, (committed, debt, seq) in tenant.quotas.items():
        if [committed, debt] != sums[key]:
            yield f"I4 {tenant.name} {key}: the row says {committed} and {debt} of debt, the ledger {sums[key]}"
        if sorted(seqs[key]) != list(range(1, seq + 1)):
            yield f"I2 {tenant.name} {key}: {len(seqs[key])} entries, the row says {seq}"
    for key in sums.keys() - tenant.quotas.keys():
        yield f"I4 {tenant.name} {key}: counted, and there is no such row"
    if tenant.events and tenant.events != list(range(1, len(tenant.events) + 1)):
        yield f"I8 {tenant.name}: the events' numbers have gaps"


def judge_room(tenant, jobs, rows):
    """I3: committed and certainly live holds are never above the cap, period by period."""
    changes = collections.defaultdict(list)
    for job in jobs:
        if job.reserve is None or job.reserve.reply is None or not job.reserve.reply.reservation_id:
            continue
        period = period_of(job, tenant)
        if period is not None:
            for begin, until in live(job):
                changes[period] += [(begin, 1, job.units, job.name), (until, 0, -job.units, job.name)]
        row = rows.get(job.name)
        if row and job.commit and job.commit.reply is not None:
            for limit, start, _, amount, _ in row.counted:
                if limit == tenant.limit:
                    changes[start].append((job.commit.told, 1, amount, job.name))
    for period, list_ in changes.items():
        taken = 0
        for when, _, units, name in sorted(list_):
            taken += units
            if taken > tenant.cap:
                yield (f"I3 {tenant.name} period {period}: {taken} of {tenant.cap} are taken at {when:.3f}, "
                       f"with {name}")
                break
