"""Receipts of Commit on real stores: the same again, genuine, and what they say of a record that is gone."""
import subprocess

import harness
from harness import DIR, quota, server, service, sql

CLIENT = harness.os.path.abspath(harness.os.environ["HOLDFAST_TEST_CLI"])


def holdfast(*args):
    ended = subprocess.run([CLIENT, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=60, cwd=DIR,
                           env=dict(harness.os.environ, HOLDFAST_LISTEN=server.address))
    return ended.returncode, ended.stdout, ended.stderr


class Receipts(harness.Case):
    def setUp(self):
        super().setUp()
        for meter in ("tokens", "requests"):
            self.limit(meter, 1_000_000)

    def use(self, job, brief=False, **actual):
        server.quota.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id=job,
            amounts=[quota.Amount(meter=meter, units=units) for meter, units in actual.items()]))
        return server.quota.Commit(service.CommitRequest(
            tenant=self.tenant, job_id=job, brief=brief,
            actual=[service.ActualAmount(meter=meter, units=units)
                    for meter, units in actual.items()]))

    def verify(self, receipt, tenant=""):
        return server.quota.VerifyReceipt(
            service.VerifyReceiptRequest(receipt=receipt, tenant=tenant))

    def expect(self, verdict, receipt, says=""):
        reply = self.verify(receipt)
        self.assertEqual(service.ReceiptVerdict.Name(reply.verdict), f"RECEIPT_VERDICT_{verdict}",
                         reply.detail)
        self.assertIn(says, reply.detail)
        return reply

    def test_a_receipt_is_found_and_says_what_was_recorded(self):
        reply = self.use("a", tokens=12, requests=1)
        said = self.expect("FOUND", reply.receipt)
        self.assertEqual((said.tenant, said.job_id, said.attempt, said.commit_time),
                         (self.tenant, "a", reply.attempt, reply.commit_time))
        self.assertEqual(list(said.committed), list(reply.committed))

    def test_a_repeat_has_the_same_receipt_on_another_server_too(self):
        for brief in (False, True):
            first = self.use(f"again-{brief}", brief=brief, tokens=5)
            again = self.use(f"again-{brief}", brief=not brief, tokens=5)
            self.assertTrue(again.replayed)
            self.assertEqual(first.receipt, again.receipt)
            other = harness.Server()
            try:
                third = other.quota.Commit(service.CommitRequest(
                    tenant=self.tenant, job_id=f"again-{brief}"))
                self.assertTrue(third.replayed)
                self.assertEqual(first.receipt, third.receipt)
            finally:
                other.stop()

    def test_a_whole_hold_committed_without_amounts_has_the_same_receipt_as_its_repeat(self):
        server.quota.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id="whole", amounts=[quota.Amount(meter="tokens", units=9)]))
        first = server.quota.Commit(service.CommitRequest(tenant=self.tenant, job_id="whole"))
        again = server.quota.Commit(service.CommitRequest(tenant=self.tenant, job_id="whole"))
        self.assertEqual(first.receipt, again.receipt)

    def test_a_record_that_is_lost_is_missing(self):
        receipt = self.use("lost", tokens=7).receipt
        sql("DELETE FROM ledger WHERE job_id = 'lost'")
        said = self.expect("MISSING", receipt, "the database lost it")
        self.assertEqual(said.committed[0].committed, 7)
        code, out, err = holdfast("verify", "--receipt", receipt)
        self.assertEqual((code, err), (4, ""))
        self.assertIn("MISSING", out)

    def test_a_record_that_is_changed_is_different(self):
        receipt = self.use("changed", tokens=7).receipt
        sql("UPDATE ledger SET amount = 6 WHERE job_id = 'changed'")
        self.expect("DIFFERENT", receipt, 'meter "tokens" has amount 6, the receipt says 7')

    def test_a_record_that_lacks_a_meter_is_different(self):
        receipt = self.use("halved", tokens=7, requests=1).receipt
        sql("DELETE FROM ledger WHERE job_id = 'halved' AND entry = 0")
        self.expect("DIFFERENT", receipt, "part of it is missing")

    def test_a_tenant_that_is_lost_is_missing(self):
        receipt = self.use("homeless", tokens=1).receipt
        sql(f"UPDATE tenant SET name = '{self.tenant}-gone' WHERE name = '{self.tenant}'")
        self.expect("MISSING", receipt, "no such tenant")

    def test_what_is_no_receipt_is_forged(self):
        receipt = self.use("b", tokens=3).receipt
        for text in (receipt[:-1], receipt.replace("hfr1.", "hf1."), "x", "hfr1.", receipt + "A"):
            reply = self.expect("FORGED", text)
            self.assertEqual((reply.tenant, reply.job_id), ("", ""))
        self.assertEqual(self.verify(receipt, tenant="another").verdict,
                         service.RECEIPT_VERDICT_FORGED)
        self.assertEqual(holdfast("verify", "--receipt", receipt[:-1])[0], 1)
        self.assertEqual(holdfast("verify", "--receipt", receipt)[0], 0)

    def test_an_empty_receipt_is_a_mistake(self):
        self.error(lambda: self.verify(""), harness.grpc.StatusCode.INVALID_ARGUMENT,
                   "INVALID_FIELD", ["receipt"])


if __name__ == "__main__":
    harness.main()
