"""The books prove themselves: `holdfast verify` on real stores, after a hand was in the ledger."""
import subprocess

import grpc

import harness
from harness import DIR, admin, quota, server, service, sql

CLIENT = harness.os.path.abspath(harness.os.environ["HOLDFAST_TEST_CLI"])
JOBS = 12


def holdfast(*args):
    ended = subprocess.run([CLIENT, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=60, cwd=DIR,
                           env=dict(harness.os.environ, HOLDFAST_LISTEN=server.address))
    return ended.returncode, ended.stdout, ended.stderr


class Verifying(harness.Case):
    def setUp(self):
        super().setUp()
        self.limit("tokens", 1_000_000)
        self.limit("requests", 1_000_000)
        for i in range(1, JOBS + 1):
            self.use(f"job-{i}")
        self.until(lambda: self.sealed() == 2 * JOBS, 30)
        self.number, = sql(f"SELECT tenant_id FROM tenant WHERE name = '{self.tenant}'")
        self.tokens, = sql(f"SELECT limit_id FROM limit_ WHERE tenant_id = {self.number}"
                           " AND name = 'tokens'")

    def use(self, job):
        server.quota.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id=job, amounts=[quota.Amount(meter="tokens", units=7),
                                                     quota.Amount(meter="requests", units=1)]))
        return server.quota.Commit(service.CommitRequest(tenant=self.tenant, job_id=job))

    def sealed(self):
        total, = sql("SELECT coalesce(sum(seq), 0) FROM seal JOIN tenant USING (tenant_id)"
                     f" WHERE name = '{self.tenant}'")
        return int(total)

    def verify(self):
        messages = list(server.admin.VerifyTenant(admin.VerifyTenantRequest(tenant=self.tenant)))
        self.assertEqual([message.done for message in messages],
                         [False] * (len(messages) - 1) + [True])
        return messages[-1]

    def expect(self, *findings):
        """Exactly these, each by a part of it, and the command says so too."""
        books = self.verify()
        self.assertEqual(books.wrong, len(findings), books.findings)
        for part, finding in zip(findings, books.findings):
            self.assertIn(part, finding)
        code, out, _ = holdfast("verify", "-t", self.tenant)
        self.assertEqual(code, 4 if findings else 0, out)
        for part in findings:
            self.assertIn(part, out)

    def test_books_that_nobody_touched_are_right(self):
        books = self.verify()
        self.assertEqual((books.wrong, list(books.findings)), (0, []))
        self.assertEqual((books.entries, books.quotas, books.seals, books.unsealed),
                         (2 * JOBS, 2, 2, 0))
        code, out, _ = holdfast("verify", "-t", self.tenant)
        self.assertEqual(code, 0)
        self.assertIn("right", out)

    def test_the_newest_entries_need_no_seal_yet(self):
        self.use("young")
        self.assertEqual(self.verify().wrong, 0)

    def test_an_entry_that_was_deleted_is_named(self):
        sql(f"DELETE FROM ledger WHERE tenant_id = {self.number} AND job_id = 'job-5' AND entry = 1")
        missing = sql(f"SELECT limit_id FROM limit_ WHERE tenant_id = {self.number} ORDER BY 1")
        self.assertEqual(len(missing), 2)
        self.expect('entry 5 is missing; the next one is 6, job "job-6"')

    def test_the_last_entries_that_were_deleted_are_named(self):
        sql(f"DELETE FROM ledger WHERE tenant_id = {self.number} AND job_id IN ('job-11', 'job-12')")
        self.expect('entry 11 is missing, and all after it', 'entry 11 is missing, and all after it')

    def test_an_amount_that_was_changed_is_found(self):
        sql(f"UPDATE ledger SET amount = 6 WHERE tenant_id = {self.number} AND job_id = 'job-3'"
            " AND meter = 'tokens'")
        self.expect('entry 3, job "job-3", has 6 units and counts 7')

    def test_an_amount_that_was_changed_everywhere_is_not_what_was_sealed(self):
        sql(f"UPDATE ledger SET amount = 6, asked = 6, counted[4] = 6 WHERE tenant_id = {self.number}"
            " AND job_id = 'job-3' AND meter = 'tokens'")
        sql(f"UPDATE quota SET committed = committed - 1 WHERE tenant_id = {self.number}"
            f" AND limit_id = {self.tokens}")
        self.expect("not what was sealed")

    def test_numbers_that_were_swapped_are_found(self):
        sql("UPDATE ledger SET counted[3] = 13 - counted[3] WHERE"
            f" tenant_id = {self.number} AND job_id IN ('job-4', 'job-9') AND meter = 'tokens'")
        self.expect('is older than the one before it; it is not what was sealed')

    def test_a_number_that_stands_twice_is_named(self):
        sql(f"UPDATE ledger SET counted[3] = 4 WHERE tenant_id = {self.number} AND job_id = 'job-5'"
            " AND meter = 'tokens'")
        self.expect("number 4 stands twice")

    def test_a_sum_that_was_changed_is_found(self):
        sql(f"UPDATE quota SET committed = committed + 1 WHERE tenant_id = {self.number}"
            f" AND limit_id = {self.tokens}")
        self.expect(f"committed is {7 * JOBS + 1}, the entries add up to {7 * JOBS}")

    def test_leases_that_do_not_add_up_are_found(self):
        sql(f"UPDATE quota SET leased = leased + 5 WHERE tenant_id = {self.number}"
            f" AND limit_id = {self.tokens}")
        self.expect("leased is ")

    def test_a_seal_that_was_changed_is_found(self):
        sql(f"UPDATE seal SET amount = 1 WHERE tenant_id = {self.number} AND limit_id = {self.tokens}")
        self.expect("was not written by this service")

    def test_a_seal_that_was_deleted_is_found(self):
        sql(f"DELETE FROM seal WHERE tenant_id = {self.number} AND limit_id = {self.tokens}")
        self.expect("there are 1 seals", "entry 1, job \"job-1\", is old and not sealed")

    def test_an_old_period_is_proven_by_its_seal_alone(self):
        sql(f"DELETE FROM quota WHERE tenant_id = {self.number} AND limit_id = {self.tokens}")
        self.expect()
        sql(f"DELETE FROM ledger WHERE tenant_id = {self.number} AND job_id = 'job-12'"
            " AND meter = 'tokens'")
        self.expect("entry 12 is missing, and all after it; 12 were sealed")

    def test_an_older_state_of_the_database_is_shown_by_a_receipt(self):
        receipt = self.use("after-the-backup").receipt
        # All that the Commit wrote is taken back, as a restore of before it would.
        sql(f"DELETE FROM ledger WHERE tenant_id = {self.number} AND job_id = 'after-the-backup';"
            f"UPDATE quota SET ledger_seq = {JOBS}, committed = committed - CASE limit_id WHEN"
            f" {self.tokens} THEN 7 ELSE 1 END, leased = leased + CASE limit_id WHEN {self.tokens}"
            f" THEN 7 ELSE 1 END, spent = spent - CASE limit_id WHEN {self.tokens} THEN 7 ELSE 1 END"
            f" WHERE tenant_id = {self.number}")
        code, out, _ = holdfast("verify", "--receipt", receipt)
        self.assertEqual(code, 4, out)
        self.assertIn("MISSING", out)

    def test_all_tenants_are_verified_and_one_that_is_wrong_hides_none(self):
        sql(f"UPDATE quota SET debt = 1 WHERE tenant_id = {self.number} AND limit_id = {self.tokens}")
        code, out, _ = holdfast("verify")
        self.assertEqual(code, 4)
        self.assertIn(f"{self.tenant}: WRONG", out)
        tenants = sql("SELECT count(*) FROM tenant")
        self.assertEqual(len([line for line in out.splitlines() if " entries of " in line]),
                         int(tenants[0]))

    def test_the_status_tells_how_far_the_seals_are_and_of_gaps(self):
        def status():
            return server.admin.GetStatus(admin.GetStatusRequest())

        self.until(lambda: status().seals_behind.ToMilliseconds() < 5000, 30)
        gaps = status().seal_gaps
        sql(f"UPDATE quota SET ledger_seq = ledger_seq + 1 WHERE tenant_id = {self.number}"
            f" AND limit_id = {self.tokens}")
        self.use("after-a-gap")
        self.until(lambda: status().seal_gaps == gaps + 1, 30)
        self.assertIn(f" {gaps + 1} gaps", holdfast("status")[1])
        self.expect(f'entry {JOBS + 1} is missing; the next one is {JOBS + 2}, job "after-a-gap"')

    def test_after_the_key_was_rotated(self):
        """What goes on is signed by the new key; what rests needs the old one, and no seal is called forged."""
        def serve(*lines):
            path = DIR / f"keys-{next(harness.ids)}"
            path.touch(mode=0o600)
            path.write_text("\n".join(lines))
            return harness.Server("--token-keys", str(path))

        def findings(on):
            books = list(on.admin.VerifyTenant(admin.VerifyTenantRequest(tenant=self.tenant)))[-1]
            self.assertEqual(books.wrong, len(books.findings))
            return books.findings

        def kids():
            return sql(f"SELECT kid FROM seal WHERE tenant_id = {self.number} ORDER BY limit_id <> {self.tokens}")

        old, new = "1:" + "5a" * 32, "2:" + "6b" * 32
        server.stop()
        try:
            both = serve(new, old)
            both.quota.Commit(service.CommitRequest(
                reservation_id=self.reserve("after", 1, on=both).reservation_id))
            self.until(lambda: kids() == ["2", "1"], 30)
            self.assertEqual(findings(both), [])
            both.stop()
            alone = serve(new)
            head, rests = findings(alone)
            self.assertIn("the number of seals, 2, is not signed by a key that is here", head)
            self.assertIn('limit "requests"', rests)
            self.assertIn("is signed by key 1, which is not here", rests)
            alone.stop()
            both.start()
            self.assertEqual(findings(both), [])
            both.stop()
        finally:
            server.start()

    def test_an_unknown_tenant_is_told(self):
        self.error(lambda: list(server.admin.VerifyTenant(admin.VerifyTenantRequest(tenant="none"))),
                   grpc.StatusCode.NOT_FOUND, "UNKNOWN_TENANT")


if __name__ == "__main__":
    harness.main()
