"""`holdfast apply` against a real server: all or nothing, what is not said stays, old and new are told."""
import datetime
import json
import os
import signal
import subprocess

import grpc

import harness
from harness import DIR, Case, Server, admin, quota, server, service, sql


class Applying(Case):
    def apply(self, text, *args, code=0, to=None):
        path = DIR / f"{self.tenant}.yaml"
        path.write_text(text.replace("TENANT", self.tenant))
        ended = subprocess.run([os.environ["HOLDFAST_TEST_CLI"], "--server", (to or server).address, "apply", "-f",
                                str(path), *args], stdin=subprocess.DEVNULL, text=True,
                               capture_output=True, timeout=60)
        self.assertEqual(ended.returncode, code, ended.stdout + ended.stderr)
        return ended.stdout + ended.stderr

    def limits(self):
        listed = server.admin.ListLimits(admin.ListLimitsRequest(tenant=self.tenant))
        return {limit.limit_id: limit for limit in listed.limits}

    def stored(self, name=None):
        listed = server.admin.ListTenants(admin.ListTenantsRequest(prefix=name or self.tenant))
        return {tenant.tenant: tenant for tenant in listed.tenants}.get(name or self.tenant)

    def test_a_file_makes_and_a_second_run_changes_nothing(self):
        text = """
tenants:
  - tenant: TENANT
    display_name: "Made by a file"
    limits:
      - {limit_id: a, meter: tokens, period: month, amount: 1000, overage_percent: 10, max_ttl: 90s,
         redis_away: open, redis_away_units: 25, reserved_crossings: true}
      - {limit_id: b, meter: tokens, period: minute, unlimited: true, scope: team-a}
  - tenant: TENANT-new
    limits:
      - {limit_id: a, meter: tokens, period: never, amount: 0, overage_units: 5}
"""
        self.assertIn("would be created", self.apply(text, "--dry-run"))
        self.assertEqual(self.limits(), {})
        self.assertIsNone(self.stored(self.tenant + "-new"))
        self.apply(text)
        limits = self.limits()
        self.assertEqual((limits["a"].units, limits["a"].overage_percent, limits["a"].max_ttl.seconds),
                         (1000, 10, 90))
        self.assertEqual((limits["a"].redis_away, limits["a"].redis_away_units,
                          limits["a"].reserved_crossings, limits["b"].reserved_crossings),
                         (quota.REDIS_AWAY_OPEN, 25, True, False))
        self.assertEqual((limits["b"].unlimited, limits["b"].scope, limits["b"].redis_away),
                         (True, "team-a", quota.REDIS_AWAY_POSTGRES))
        self.assertIn("0 created, 0 updated, 0 deleted, 5 unchanged", self.apply(text))

    def test_nothing_is_changed_when_the_server_refuses_anything(self):
        self.limit(limit_id="old", units=5)
        refused = {
            "a name": "- {limit_id: x, meter: Tokens, period: day, amount: 1}",
            "a period": "- {limit_id: old, period: day}",
            "no bound": "- {limit_id: x, meter: m, period: day}",
            "no meter": "- {limit_id: x, period: day, amount: 1}",
            "too short": "- {limit_id: x, meter: m, period: day, amount: 1, max_ttl: 1ms}",
            "too much": "- {limit_id: x, meter: m, period: day, amount: 9007199254740991,"
                        " overage_percent: 1}",
        }
        for what, line in refused.items():
            for dry in ((), ("--dry-run",)):
                with self.subTest(what=what, dry=dry):
                    said = self.apply("tenants:\n  - tenant: TENANT-z\n  - tenant: TENANT\n"
                                      "    suspended: true\n    limits:\n"
                                      "      - {limit_id: fine, meter: m, period: day, amount: 1}\n"
                                      f"      {line}\n", *dry, code=3)
                    self.assertIn("line 7", said)
                    self.assertIn("nothing was changed", said)
        self.assertEqual(list(self.limits()), ["old"])
        self.assertEqual(self.stored().state, admin.TENANT_STATE_ACTIVE)
        self.assertIsNone(self.stored(self.tenant + "-z"))

    def test_fields_of_a_tenant_that_is_not_there_are_checked_as_well(self):
        said = self.apply("tenants:\n  - tenant: TENANT-n\n    limits:\n"
                          "      - {limit_id: Bad, meter: m, period: day, amount: 1}\n", code=3)
        self.assertIn("limit_id", said)
        self.assertIsNone(self.stored(self.tenant + "-n"))

    def test_limits_that_do_not_fit_together_are_refused_before_anything_is_changed(self):
        line = "      - {limit_id: l%d, meter: m, scope: %s, period: day, amount: 1}\n"
        crowd = "".join(line % (n, ("''", "team-a", "team-a/ann")[n % 3]) for n in range(129))
        for name in ("TENANT", "TENANT-new"):
            text = f"tenants:\n  - tenant: {name}\n    display_name: Changed\n    limits:\n" + crowd
            for dry in ((), ("--dry-run",)):
                with self.subTest(name=name, dry=dry):
                    said = self.apply(text, *dry, code=3)
                    self.assertIn("would count against more than 128 limits", said)
                    self.assertIn("line 133", said)
                    self.assertIn("nothing was changed", said)
        self.assertEqual((self.stored().display_name, self.limits()), ("", {}))
        self.assertIsNone(self.stored(self.tenant + "-new"))

    def test_more_limits_than_a_tenant_may_have(self):
        small = Server("--limits-per-tenant", "5")
        self.addCleanup(small.stop)
        self.limit(limit_id="old")
        text = "tenants:\n  - tenant: TENANT\n    limits:\n" + "".join(
            f"      - {{limit_id: l{n}, meter: m{n}, period: day, amount: 1}}\n" for n in range(5))
        said = self.apply(text, "--dry-run", code=3, to=small)
        self.assertIn("line 8", said)
        self.assertIn("would have 6 limits, and may have 5", said)
        self.assertEqual(self.apply(text, code=3, to=small), said)
        self.assertEqual(list(self.limits()), ["old"])

    def test_prune_makes_room_where_there_is_none(self):
        small = Server("--limits-per-tenant", "5")
        self.addCleanup(small.stop)
        text = "tenants:\n  - tenant: TENANT\n    limits:\n" + "".join(
            f"      - {{limit_id: NAME{n}, meter: m{n}, period: day, amount: 1}}\n" for n in range(5))
        self.apply(text.replace("NAME", "a"), to=small)
        said = self.apply(text.replace("NAME", "b"), code=3, to=small)
        self.assertIn("would have 10 limits, and may have 5", said)
        self.apply(text.replace("NAME", "b"), "--prune", "--dry-run", to=small)
        self.assertEqual(sorted(self.limits()), [f"a{n}" for n in range(5)])
        said = self.apply(text.replace("NAME", "b"), "--prune", to=small)
        self.assertIn("5 created, 0 updated, 5 deleted", said)
        self.assertEqual(sorted(self.limits()), [f"b{n}" for n in range(5)])

    def test_prune_makes_room_among_the_limits_of_one_reservation(self):
        text = "tenants:\n  - tenant: TENANT\n    limits:\n" + "".join(
            f"      - {{limit_id: NAME{n}, meter: m, period: day, amount: 1}}\n" for n in range(128))
        self.apply(text.replace("NAME", "a"))
        self.apply(text.replace("NAME", "b"), code=3)
        self.apply(text.replace("NAME", "b"), "--prune")
        self.assertEqual(sorted(self.limits_of_all_pages()), sorted(f"b{n}" for n in range(128)))

    def begin(self, count):
        """An apply of so many limits that has begun to change, and its file."""
        path = DIR / f"{self.tenant}.yaml"
        path.write_text(f"tenants:\n  - tenant: {self.tenant}\n    limits:\n" + "".join(
            f"      - {{limit_id: l{n}, meter: m{n}, period: day, amount: 1}}\n" for n in range(count)))
        process = subprocess.Popen(
            [os.environ["HOLDFAST_TEST_CLI"], "--server", server.address, "apply", "-f", str(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn("created", process.stdout.readline())
        return process, path

    def rest_of(self, process):
        """What it still says; communicate() would miss what came in together with the first line."""
        with process:
            out, err = process.stdout.read(), process.stderr.read()
        return out, err

    def test_an_interrupted_apply_tells_what_it_did_and_the_next_finishes_it(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number):
                self.setUp()
                process, path = self.begin(120)
                process.send_signal(number)
                out, err = self.rest_of(process)
                self.assertEqual(process.returncode, -number, err)
                done = len(self.limits_of_all_pages())
                self.assertIn(f"interrupted: {done} of 120 changes were made", err)
                self.assertEqual(out.count("created"), done - 1)
                self.assertIn(f"{120 - done} created, 0 updated, 0 deleted, {done + 1} unchanged",
                              self.apply(path.read_text()))

    def test_an_apply_that_was_killed_is_finished_by_the_next(self):
        process, path = self.begin(120)
        process.kill()
        out, _ = self.rest_of(process)
        done = len(self.limits_of_all_pages())
        self.assertIn(done - out.count("created") - 1, (0, 1))
        self.assertIn(f"{120 - done} created", self.apply(path.read_text()))
        self.assertEqual(len(self.limits_of_all_pages()), 120)

    def limits_of_all_pages(self):
        return sql("SELECT l.name FROM limit_ l JOIN tenant t USING (tenant_id)"
                   f" WHERE t.name = '{self.tenant}' AND deleted_at IS NULL")

    def test_a_limit_that_somebody_adds_meanwhile_is_not_overwritten(self):
        limit = admin.Limit(limit_id="l", tenant=self.tenant, meter="m", period=quota.PERIOD_DAY,
                            units=1, etag="0")
        self.assertTrue(server.admin.PutLimit(admin.PutLimitRequest(limit=limit)).created)
        limit.units = 2
        self.error(lambda: server.admin.PutLimit(admin.PutLimitRequest(limit=limit)),
                   grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        self.assertEqual(self.limits()["l"].units, 1)

    def test_a_name_is_told_with_its_line_and_moves_no_cursor(self):
        said = self.apply("tenants:\n  - tenant: fine\n  - tenant: Not Fine\n", code=2)
        self.assertIn("line 3: a tenant's name", said)
        said = self.apply('tenants: [{tenant: TENANT, display_name: "a\\e[2Jb\\Nc"}]', "--dry-run")
        self.assertIn('"" -> "a\\x1b[2Jb\\x85c"', said)

    def test_what_is_not_said_stays(self):
        server.admin.UpdateTenant(admin.UpdateTenantRequest(tenant=admin.Tenant(
            tenant=self.tenant, display_name="Kept", admit_unlimited_meters=True)))
        self.limit(limit_id="l", units=100, soft_percent=70, overage_units=9)
        self.apply("tenants: [{tenant: TENANT, suspended: true, limits: [{limit_id: l, amount: 50}]}]")
        tenant, limit = self.stored(), self.limits()["l"]
        self.assertEqual((tenant.display_name, tenant.admit_unlimited_meters), ("Kept", True))
        self.assertEqual(tenant.state, admin.TENANT_STATE_SUSPENDED)
        self.assertEqual((limit.units, limit.soft_percent, limit.overage_units), (50, 70, 9))
        self.assertEqual(limit.period, quota.PERIOD_NEVER)

    def test_old_and_new_are_told_with_what_is_in_use(self):
        self.limit(limit_id="l", units=100)
        self.reserve("done", 60)
        self.commit("done", 60)
        self.reserve("held", 20)
        text = "tenants: [{tenant: TENANT, limits: [{limit_id: l, amount: 70}]}]"
        self.assertIn("amount 100 -> 70\n  in use now, above the new amount: 60 committed, 0 debt, 20 held",
                      self.apply(text, "--dry-run"))
        lines = [json.loads(line) for line in self.apply(text, "--json").splitlines()]
        self.assertEqual(lines[0]["fields"], {"amount": {"old": "100", "new": "70"}})
        self.assertEqual(lines[0]["in_use"], {"committed": 60, "debt": 0, "held": 20})
        self.assertEqual(lines[-1]["updated"], 1)

    def test_weeks_and_years_are_periods(self):
        text = ("tenants: [{tenant: TENANT, limits: [{limit_id: w, meter: m, period: week, amount: 7},"
                " {limit_id: y, meter: m, period: year, amount: 9}]}]")
        self.assertIn("2 created", self.apply(text))
        self.assertIn("3 unchanged", self.apply(text))
        self.reserve("j", 3, meter="m")
        now = datetime.datetime.now(datetime.timezone.utc)
        for state in server.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant)).quotas:
            start, end = (t.ToDatetime(datetime.timezone.utc) for t in (state.period_start, state.period_end))
            self.assertTrue(start <= now < end)
            self.assertEqual((start.hour, start.minute, start.second), (0, 0, 0))
            if state.limit_id == "w":
                self.assertEqual((start.weekday(), (end - start).days), (0, 7))
            else:
                self.assertEqual((start.month, start.day, end.year), (1, 1, start.year + 1))

    def test_prune_deletes_what_the_file_does_not_name(self):
        self.limit(limit_id="a")
        self.limit(limit_id="b")
        text = "tenants: [{tenant: TENANT, limits: [{limit_id: a}]}]"
        self.assertIn("would be deleted", self.apply(text, "--prune", "--dry-run"))
        self.assertEqual(list(self.limits()), ["a", "b"])
        self.apply(text, "--prune")
        self.assertEqual(list(self.limits()), ["a"])


if __name__ == "__main__":
    harness.main()
