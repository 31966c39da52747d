"""Periods of time zones and anchors, against a calendar of Python's: what is written, what servers do."""
import datetime
import functools
import os
import subprocess
import time
import zoneinfo

import grpc
from google.protobuf import timestamp_pb2

import harness
from harness import DIR, Case, Server, admin, quota, server, service, sql

UTC = datetime.timezone.utc
DAY, WEEK, MONTH, YEAR = (quota.PERIOD_DAY, quota.PERIOD_WEEK, quota.PERIOD_MONTH, quota.PERIOD_YEAR)
MINUTE = datetime.timedelta(minutes=1)


def utc(*fields):
    return datetime.datetime(*fields, tzinfo=UTC)


def ms_of(at):
    return round(at.timestamp() * 1000)


# --- the rule of the calendar, written out: nothing here asks Postgres ---------------------------------

@functools.cache
def reached(zone, nominal):
    """The earliest instant whose local time reaches the nominal one: minute by minute, from where none can yet."""
    as_utc = nominal.replace(tzinfo=UTC)
    around = (as_utc + datetime.timedelta(hours=hour) for hour in range(-26, 27))
    at = as_utc - max(hour.astimezone(zone).utcoffset() for hour in around)
    while at.astimezone(zone).replace(tzinfo=None) < nominal:
        at += MINUTE
    return ms_of(at)


def in_month(year, month, day, hour, minute):
    """The day, or the month's last one."""
    after = datetime.date(year + month // 12, month % 12 + 1, 1)
    last = (after - datetime.timedelta(days=1)).day
    return datetime.datetime(year, month, min(day, last), hour, minute)


def nominals(period, anchor, first, last):
    """Local times at which periods begin, from one date to another."""
    at = (anchor.hour, anchor.minute)
    if period in (DAY, WEEK):
        for number in range((last - first).days + 1):
            date = first + datetime.timedelta(days=number)
            if period == DAY or date.weekday() == anchor.weekday():
                yield datetime.datetime(date.year, date.month, date.day, *at)
    else:
        for year in range(first.year, last.year + 1):
            for month in range(1, 13):
                begins = in_month(year, month, anchor.day, *at)
                if first <= begins.date() <= last and (period == MONTH or month == anchor.month):
                    yield begins


def boundaries(period, zone, anchor, first, last):
    """A day that the zone leaves out is no period: it would begin when the next one does."""
    return sorted({reached(zone, nominal) for nominal in nominals(period, anchor, first, last)})


# period, zone, anchor in local time or None, first date, last date
CASES = (
    (MONTH, "Europe/Berlin", (2025, 1, 31, 9, 30), (2025, 1, 1), (2029, 3, 31)),
    (MONTH, "Europe/Berlin", (2025, 1, 30, 2, 30), (2025, 1, 1), (2026, 12, 31)),
    (MONTH, "Asia/Kathmandu", None, (2026, 1, 1), (2027, 12, 31)),
    (DAY, "America/New_York", None, (2026, 3, 1), (2026, 3, 20)),
    (DAY, "America/New_York", (2026, 1, 1, 2, 30), (2026, 3, 1), (2026, 3, 20)),
    (DAY, "America/New_York", (2026, 1, 1, 1, 30), (2026, 10, 25), (2026, 11, 12)),
    (DAY, "Australia/Lord_Howe", (2026, 1, 1, 1, 45), (2026, 3, 28), (2026, 4, 12)),
    (DAY, "Australia/Lord_Howe", (2026, 1, 1, 2, 15), (2026, 9, 28), (2026, 10, 12)),
    (DAY, "America/Havana", None, (2026, 3, 1), (2026, 3, 14)),
    (DAY, "America/Havana", None, (2026, 10, 25), (2026, 11, 7)),
    (DAY, "America/Sao_Paulo", None, (2018, 2, 10), (2018, 2, 25)),
    (DAY, "Pacific/Apia", None, (2011, 12, 24), (2012, 1, 5)),
    (DAY, "Asia/Kathmandu", (2026, 1, 1, 18, 0), (2026, 1, 1), (2026, 1, 12)),
    (WEEK, "Europe/Berlin", None, (2026, 12, 1), (2028, 1, 31)),
    (WEEK, "America/New_York", (2026, 1, 7, 2, 30), (2026, 12, 1), (2027, 12, 1)),
    (YEAR, "Europe/London", (2024, 2, 29, 12, 0), (2024, 1, 1), (2037, 12, 31)),
    (YEAR, "UTC", None, (2024, 1, 1), (2033, 12, 31)),
    (YEAR, "Pacific/Auckland", (2019, 9, 27, 2, 30), (2020, 1, 1), (2031, 12, 31)),
)
FIRST_DAYS = {DAY: (2026, 1, 1), WEEK: (2026, 1, 5), MONTH: (2026, 1, 1), YEAR: (2026, 1, 1)}


def local_anchor(period, anchor):
    return datetime.datetime(*(anchor or FIRST_DAYS[period]))


class Calendars(Case):
    def test_what_is_written_is_what_another_calendar_says(self):
        compared = 0
        for period, name, anchor, first, last in CASES:
            zone = zoneinfo.ZoneInfo(name)
            said = boundaries(period, zone, local_anchor(period, anchor), datetime.date(*first),
                              datetime.date(*last))
            at = "NULL" if anchor is None else reached(zone, local_anchor(period, anchor))
            written = sql("BEGIN; CREATE RULE all_stay AS ON DELETE TO boundary DO INSTEAD NOTHING;"
                          f" CREATE TEMP TABLE o AS SELECT calendar_open({period}::smallint, '{name}', {at}, {said[0]})"
                          f" AS calendar_id; SELECT FROM (SELECT calendar_write(calendar_id, {said[-1]}) FROM o) w;"
                          " SELECT at_ms FROM boundary JOIN o USING (calendar_id) WHERE at_ms"
                          f" BETWEEN {said[0]} AND {said[-1]} ORDER BY n; ROLLBACK")
            written = [int(ms) for ms in written if ms]
            self.assertEqual(written, said, (period, name, anchor))
            compared += len(said)
        self.assertGreaterEqual(compared, 200)
        print(f"{compared} boundaries")

    def test_what_was_written_long_ago_goes(self):
        """After 40 days, but for where the period that it was then had begun."""
        for period, days in ((DAY, 1), (YEAR, 365)):
            left = [int(ms) for ms in sql(
                f"BEGIN; CREATE TEMP TABLE o AS SELECT calendar_open({period}::smallint, 'Asia/Tokyo', NULL, 1728000000000)"
                " AS calendar_id; SELECT FROM (SELECT calendar_write(calendar_id, n * 86400000::bigint) FROM o,"
                " generate_series(20000, 21000, 7) AS n) w; SELECT at_ms FROM boundary JOIN o USING (calendar_id)"
                " ORDER BY n; ROLLBACK") if ms]
            before = (20_994 - 40) * 86_400_000
            self.assertLessEqual(left[0], before)
            self.assertGreater(left[1], before)
            self.assertLessEqual(len(left), 40 // days + 4)

    def test_a_calendar_is_opened_anywhere_in_a_period(self):
        """The period that is open is the one that contains now, whatever its length."""
        for number, (period, name, anchor, first, last) in enumerate(CASES):
            zone = zoneinfo.ZoneInfo(name)
            said = boundaries(period, zone, local_anchor(period, anchor), datetime.date(*first),
                              datetime.date(*last))
            at = "NULL" if anchor is None else reached(zone, local_anchor(period, anchor))
            now = said[1] if number % 2 else said[2] - 1
            found = self.opened(period, name, at, now)
            self.assertEqual(found[:2], said[1:3], (period, name, anchor, now))
            self.assertEqual(len(found), 3)

    def opened(self, period, name, at, now):
        """Of a calendar that is opened at that time for the first time."""
        text = sql("BEGIN; UPDATE calendar SET time_zone = calendar_id::text; CREATE TEMP TABLE fresh ON COMMIT"
                   f" DROP AS SELECT calendar_open({period}::smallint, '{name}', {at}, {now}) AS calendar_id;"
                   " SELECT at_ms FROM boundary JOIN fresh USING (calendar_id) ORDER BY n; ROLLBACK")
        return [int(ms) for ms in text]


class Zoning(Case):
    def put(self, on=server, units=10, period=MONTH, limit_id="l", anchor=None, **more):
        limit = admin.Limit(limit_id=limit_id, tenant=self.tenant, meter="tokens", period=period, units=units, **more)
        if anchor:
            limit.anchor_time.FromDatetime(anchor)
        return on.admin.PutLimit(admin.PutLimitRequest(limit=limit))

    def span(self, state):
        return tuple(ms_of(at.ToDatetime(UTC)) for at in (state.period_start, state.period_end))

    def said_now(self, period, name, local):
        zone = zoneinfo.ZoneInfo(name)
        today = datetime.datetime.now(UTC).date()
        around = datetime.timedelta(days={DAY: 3, WEEK: 9, MONTH: 35, YEAR: 370}[period])
        said = boundaries(period, zone, local, today - around, today + around)
        now = ms_of(datetime.datetime.now(UTC))
        return max(at for at in said if at <= now), min(at for at in said if at > now)

    def test_a_limit_counts_by_its_own_calendar(self):
        anchor = utc(2026, 1, 31, 8, 30)
        self.put(time_zone="Europe/Berlin", anchor=anchor)
        self.put(limit_id="week", period=WEEK, time_zone="Asia/Kathmandu")
        self.put(limit_id="year", period=YEAR, anchor=utc(2024, 2, 29, 12))
        local = datetime.datetime(2026, 1, 31, 9, 30)
        said = {"l": self.said_now(MONTH, "Europe/Berlin", local),
                "week": self.said_now(WEEK, "Asia/Kathmandu", datetime.datetime(2026, 1, 5)),
                "year": self.said_now(YEAR, "UTC", datetime.datetime(2024, 2, 29, 12))}
        reply = self.reserve("j", 4)
        self.commit("j", 3)
        states = {state.limit_id: state
                  for state in server.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant)).quotas}
        self.assertEqual({name: self.span(state) for name, state in states.items()}, said)
        self.assertEqual({state.committed for state in states.values()}, {3})
        self.assertEqual({state.limit_id: self.span(state) for state in reply.quotas}, said)
        stored = {limit.limit_id: limit for limit in
                  server.admin.ListLimits(admin.ListLimitsRequest(tenant=self.tenant)).limits}
        self.assertEqual((stored["l"].period, stored["l"].time_zone, stored["l"].anchor_time.ToDatetime(UTC)),
                         (MONTH, "Europe/Berlin", anchor))
        self.assertEqual((stored["year"].time_zone, stored["week"].HasField("anchor_time")), ("", False))

    def test_zone_and_anchor_of_a_limit_stay(self):
        self.put(time_zone="Europe/Berlin", anchor=utc(2026, 1, 31))
        refused = (({"time_zone": "Europe/Paris", "anchor": utc(2026, 1, 31)}, ["limit.time_zone"]),
                   ({"time_zone": "Europe/Berlin"}, ["limit.anchor_time"]),
                   ({"anchor": utc(2026, 1, 30)}, ["limit.time_zone", "limit.anchor_time"]))
        for fields, named in refused:
            self.error(lambda: self.put(**fields), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", named)
        self.assertEqual(self.put(time_zone="Europe/Berlin", anchor=utc(2026, 1, 31), units=20).limit.units, 20)

    def test_a_zone_that_is_none_is_named_and_nothing_is_changed(self):
        for name in ("Mars/Olympus", "europe/berlin", "posix/Europe/Berlin", "localtime", "UTC+3", "BST"):
            self.error(lambda: self.put(time_zone=name), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD",
                       ["limit.time_zone"])
        self.assertEqual(sql("SELECT count(*) FROM limit_ JOIN tenant t USING (tenant_id)"
                             f" WHERE t.name = '{self.tenant}'"), ["0"])

    def test_a_trial_opens_no_calendar(self):
        limit = admin.Limit(limit_id="l", tenant=self.tenant, meter="tokens", period=DAY, units=1,
                            time_zone="Asia/Tokyo")
        reply = server.admin.PutLimit(admin.PutLimitRequest(limit=limit, validate_only=True))
        self.assertEqual(self.span(reply.quota), self.said_now(DAY, "Asia/Tokyo", datetime.datetime(2026, 1, 1)))
        self.assertEqual(sql("SELECT count(*) FROM calendar WHERE time_zone = 'Asia/Tokyo'"), ["0"])

    def test_a_repeat_of_a_change_is_answered_with_its_calendar(self):
        limit = admin.Limit(limit_id="l", tenant=self.tenant, meter="tokens", period=DAY, units=1,
                            time_zone="America/New_York")
        request = admin.PutLimitRequest(limit=limit, note=admin.ChangeNote(request_id="once"))
        first, second = server.admin.PutLimit(request), server.admin.PutLimit(request)
        self.assertEqual((first.limit, self.span(first.quota)), (second.limit, self.span(second.quota)))
        request.limit.time_zone = "America/Chicago"
        self.error(lambda: server.admin.PutLimit(request), grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")

    def test_a_file_says_zone_and_anchor(self):
        text = (f"tenants: [{{tenant: {self.tenant}, limits: [{{limit_id: l, meter: m, period: month, amount: 7,"
                " time_zone: Europe/Berlin, anchor_time: ANCHOR}]}]")
        for anchor, code, said in (("2026-01-31T08:00:00Z", 0, "1 created"), ("2026-01-31T08:00:00Z", 0, "2 unchanged"),
                                   ("2026-01-30T08:00:00Z", 3, "anchor_time")):
            path = DIR / f"{self.tenant}.yaml"
            path.write_text(text.replace("ANCHOR", anchor))
            ended = subprocess.run([os.environ["HOLDFAST_TEST_CLI"], "--server", server.address, "apply", "-f",
                                    str(path)], text=True, capture_output=True, timeout=60)
            self.assertEqual(ended.returncode, code, ended.stdout + ended.stderr)
            self.assertIn(said, ended.stdout + ended.stderr)

    def move_boundary(self, seconds):
        """Ends the current period of the tenant's limit soon: servers read what is written, whatever it is."""
        return int(sql("UPDATE boundary b SET at_ms = floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
                       f" + {seconds * 1000} FROM limit_ l JOIN tenant t USING (tenant_id) WHERE t.name ="
                       f" '{self.tenant}' AND b.calendar_id = l.calendar_id AND b.n = (SELECT max(n) - 1"
                       " FROM boundary k WHERE k.calendar_id = b.calendar_id) RETURNING b.at_ms")[0])

    def test_two_servers_agree_at_a_boundary_and_tell_of_it(self):
        other = Server()
        self.addCleanup(other.stop)
        self.put(time_zone="Pacific/Chatham", period=DAY, anchor=utc(2026, 1, 1, 3, 17))
        at_ms = self.move_boundary(6)
        sql("UPDATE tenant SET config_version = config_version + 1, config_position = config_position_next()"
            f" WHERE name = '{self.tenant}'")
        self.until(lambda: self.span(server.quota.GetUsage(service.GetUsageRequest(
            tenant=self.tenant)).quotas[0])[1] == at_ms, 10)
        self.reserve("old", 10)
        self.commit("old", 10)
        sides, spans = (server, other), set()
        admitted, number = [], 0
        end = time.monotonic() + 20
        while len(admitted) < 10 and time.monotonic() < end:
            number += 1
            time.sleep(0.01)
            reply = self.reserve(f"new-{number}", 1, on=sides[number % 2])
            spans |= {self.span(state) for state in reply.quotas}
            if reply.decision != quota.DECISION_REJECT:
                admitted.append(self.span(reply.quotas[0])[0])
        self.assertEqual(admitted, [at_ms] * 10)
        for side in sides:
            self.assertEqual(self.reserve(f"over-{side.address}", 1, on=side).decision,
                             quota.DECISION_REJECT)
        self.assertEqual(len(spans), 2, spans)
        self.assertEqual({start for start, _ in spans} & {end for _, end in spans}, {at_ms})
        self.assertEqual(sql("SELECT e.period_start_ms FROM event e JOIN tenant t USING (tenant_id)"
                             f" WHERE t.name = '{self.tenant}' AND kind = {quota.EVENT_KIND_PERIOD_STARTED}"),
                         [str(at_ms)])

    def test_other_rules_of_a_zone_alter_only_what_is_not_written(self):
        self.put(time_zone="Asia/Kolkata", period=DAY)
        opened = sql("SELECT calendar_id FROM calendar WHERE time_zone = 'Asia/Kolkata'")[0]
        of_it = f"SELECT at_ms FROM boundary WHERE calendar_id = {opened} ORDER BY n"
        written = sql(of_it)
        rule = sql("SELECT pg_get_functiondef('calendar_instant'::regproc)")
        other = "\n".join(rule).replace("* 1000)::bigint", "* 1000)::bigint + 3600000")
        self.assertIn("3600000", other)
        sql(other)
        try:
            sql(f"SELECT calendar_write({opened}, {written[-2]})")
            now = sql(of_it)
        finally:
            sql("\n".join(rule))
        self.assertEqual(now[:-1], written)
        self.assertEqual(int(now[-1]) - int(now[-2]), 25 * 3600000)
        self.assertEqual(self.span(self.usage()), tuple(int(ms) for ms in written[:2]))

    def test_a_calendar_that_nobody_wrote_on_is_written_when_it_is_needed(self):
        self.put(time_zone="Asia/Dubai", period=DAY)
        sql("UPDATE calendar SET written_ms = written_ms - 40 * 86400000::bigint WHERE time_zone = 'Asia/Dubai'")
        sql("UPDATE boundary SET n = n - 40, at_ms = at_ms - 40 * 86400000::bigint FROM calendar c"
            " WHERE c.calendar_id = boundary.calendar_id AND c.time_zone = 'Asia/Dubai'")
        fresh = Server()
        self.addCleanup(fresh.stop)
        state = fresh.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant)).quotas[0]
        self.assertEqual(self.span(state), self.said_now(DAY, "Asia/Dubai", datetime.datetime(2026, 1, 1)))


if __name__ == "__main__":
    harness.main()
