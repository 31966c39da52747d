"""The API as a client in another language meets it: Python's own gRPC against a real holdfastd.

Nothing here knows the server's code. Run by ctest through foreign_test, beside real stores.
"""
import os
import signal
import subprocess
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)

import harness
from harness import DIR, ROOT, Case, Server, admin, ids, quota, server, service


class Edge(Case):
    def test_reflection_in_both_versions(self):
        database = ProtoReflectionDescriptorDatabase(server.channel)
        self.assertLessEqual({"holdfast.v1.QuotaService", "holdfast.v1.AdminService",
                              "grpc.health.v1.Health"}, set(database.get_services()))
        for symbol in ("holdfast.v1.QuotaService", "google.rpc.ErrorInfo",
                       "google.rpc.BadRequest"):
            self.assertTrue(database.FindFileContainingSymbol(symbol).name)
        listed = self.grpcurl("list").splitlines()
        self.assertIn("holdfast.v1.AdminService", listed)
        self.assertIn("rpc Reserve", self.grpcurl("describe", "holdfast.v1.QuotaService"))
        self.assertIn("int64 units", self.grpcurl("describe", "holdfast.v1.Amount"))

    def grpcurl(self, *args):
        command = subprocess.run([ROOT / "deploy" / "grpcurl"], check=True, text=True,
                                 capture_output=True).stdout.strip()
        return subprocess.run([command, *harness.grpcurl_options(), server.address, *args],
                              check=True, text=True, capture_output=True).stdout

    def test_health(self):
        stub = health_pb2_grpc.HealthStub(server.channel)
        for name in ("", "holdfast.v1.QuotaService"):
            reply = stub.Check(health_pb2.HealthCheckRequest(service=name))
            self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING)
        self.error(lambda: stub.Check(health_pb2.HealthCheckRequest(service="nobody")),
                   grpc.StatusCode.NOT_FOUND)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        watch.cancel()

    def test_unknown_method_is_unimplemented_at_once(self):
        call = server.channel.unary_unary("/holdfast.v1.QuotaService/Borrow")
        begun = time.monotonic()
        self.error(lambda: call(b"", timeout=5), grpc.StatusCode.UNIMPLEMENTED)
        self.assertLess(time.monotonic() - begun, 1)

    def test_every_bad_field_is_named(self):
        self.limit()
        request = service.ReserveRequest(
            tenant="No Such", scope="/a", job_id="x" * 256,
            amounts=[quota.Amount(meter="tokens", units=-1), quota.Amount(meter="", units=1),
                     quota.Amount(meter="big", units=2 ** 53)],
            priority=99, mode=service.RESERVE_MODE_SHADOW, labels={"a": "b"})
        request.ttl.FromMilliseconds(99)
        self.error(lambda: server.quota.Reserve(request), grpc.StatusCode.INVALID_ARGUMENT,
                   "INVALID_FIELD",
                   ["tenant", "scope", "job_id", "amounts[0].units", "amounts[1].meter",
                    "amounts[2].units", "priority", "mode", "labels", "ttl"])

    def test_missing_fields(self):
        self.error(lambda: server.quota.Reserve(service.ReserveRequest()),
                   grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD",
                   ["tenant", "job_id", "amounts"])

    def test_bytes_that_are_no_message(self):
        self.limit()
        call = server.channel.unary_unary("/holdfast.v1.QuotaService/Reserve")
        good = service.ReserveRequest(tenant=self.tenant, job_id="j",
                                      amounts=[quota.Amount(meter="tokens", units=1)])
        tail = good.SerializeToString()
        for fields, data in ((None, b"\xff\xff\xff\xff"),
                             (None, tail[:-1]),
                             (["job_id"], tail + b"\x1a\x02\xc3\x28"),
                             (["job_id"], tail + b"\x1a\x03a\x00b")):
            self.error(lambda: call(data), grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE",
                       fields)
        self.assertEqual(self.usage().held, 0)

    def test_oversize_message(self):
        self.limit()
        self.error(lambda: self.reserve("j", 1, scope="a" * 70000),
                   grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(self.reserve("j", 1).decision, quota.DECISION_ALLOW)

    def test_metadata_of_replies(self):
        self.limit(units=10)
        for units, decision in ((10, "ALLOW"), (11, "REJECT")):
            reply, call = server.quota.Reserve.with_call(service.ReserveRequest(
                tenant=self.tenant, job_id=f"j{units}",
                amounts=[quota.Amount(meter="tokens", units=units)]))
            initial = dict(call.initial_metadata())
            self.assertIn(":", initial["holdfast-server"])
            # The whole limit is held: at the soft stop, so WARN, or ALLOW below it.
            self.assertIn(initial["holdfast-decision"], (decision, "WARN"))

    def test_redis_hangs_and_postgres_holds(self):
        self.limit()
        self.reserve("before", 1)
        redis = int((DIR / "redis.pid").read_text())
        os.kill(redis, signal.SIGSTOP)
        try:
            during = self.reserve("during", 1)
            self.assertEqual(during.decision, quota.DECISION_ALLOW)
            self.assertTrue(during.degraded)
        finally:
            os.kill(redis, signal.SIGCONT)
        self.until(lambda: self.admitted("after"), 5)
        self.assertTrue(self.reserve("during", 1).replayed)

    def admitted(self, job):
        try:
            return self.reserve(job, 1).decision == quota.DECISION_ALLOW
        except grpc.RpcError:
            return False


class Life(Case):
    def test_reserve_commit_and_the_books(self):
        self.limit()
        held = self.reserve("job", 100)
        self.assertEqual(held.decision, quota.DECISION_ALLOW)
        self.assertEqual(held.state, quota.RESERVATION_STATE_HELD)
        self.assertEqual([(a.meter, a.units) for a in held.granted], [("tokens", 100)])
        self.assertTrue(held.reservation_id)
        self.assertEqual((self.usage().held, self.usage().committed), (100, 0))
        again = self.reserve("job", 100)
        self.assertTrue(again.replayed)
        self.assertEqual(again.attempt, held.attempt)
        self.error(lambda: self.reserve("job", 99), grpc.StatusCode.ALREADY_EXISTS,
                   "JOB_MISMATCH", ["amounts"])

        done = self.commit("job", 60)
        self.assertFalse(done.replayed)
        self.assertEqual([(c.actual, c.committed, c.freed) for c in done.committed],
                         [(60, 60, 40)])
        self.assertTrue(self.commit("job", 60).replayed)
        self.error(lambda: self.commit("job", 61), grpc.StatusCode.ALREADY_EXISTS,
                   "JOB_MISMATCH", ["actual"])
        self.until(lambda: self.usage().held == 0, 3)
        self.assertEqual(self.usage().committed, 60)
        repeat = self.reserve("job", 100)
        self.assertEqual(repeat.decision, quota.DECISION_ALREADY_COMMITTED)
        self.assertEqual(repeat.committed[0].committed, 60)
        info = self.error(lambda: server.quota.Release(service.ReleaseRequest(
            tenant=self.tenant, job_id="job")), grpc.StatusCode.FAILED_PRECONDITION, "COMMITTED")
        self.assertEqual(info.metadata["committed.tokens"], "60")

    def test_release_frees_and_forbids_the_commit(self):
        self.limit()
        held = self.reserve("job", 1000)
        self.assertEqual(self.reserve("other", 1).decision, quota.DECISION_REJECT)
        release = service.ReleaseRequest(tenant=self.tenant, job_id="job",
                                         reservation_id=held.reservation_id)
        self.assertFalse(server.quota.Release(release).replayed)
        self.assertTrue(server.quota.Release(release).replayed)
        self.error(lambda: self.commit("job", 1, reservation_id=held.reservation_id),
                   grpc.StatusCode.FAILED_PRECONDITION, "RELEASED")
        self.assertIn(self.reserve("other", 1000).decision,
                      (quota.DECISION_ALLOW, quota.DECISION_WARN))

    def test_refusal_says_why(self):
        self.limit(units=100, overage_percent=10)
        self.assertEqual(self.reserve("a", 80).decision, quota.DECISION_ALLOW)
        self.commit("a", 80)
        refused = self.reserve("b", 31)
        self.assertEqual(refused.decision, quota.DECISION_REJECT)
        self.assertFalse(refused.reservation_id)
        [reason] = refused.reasons
        self.assertEqual((reason.code, reason.limit_id, reason.short_by),
                         (quota.REASON_CODE_HARD_CAP, "tokens", 1))
        self.assertIn("80", reason.message)
        self.assertIn("110", reason.message)
        self.assertEqual(self.reserve("b", 30).decision, quota.DECISION_WARN)
        never = self.reserve("c", 111)
        self.assertEqual(never.reasons[0].code, quota.REASON_CODE_NEVER_SATISFIABLE)

    def test_all_meters_or_none(self):
        self.limit("tokens", 1000)
        self.limit("requests", 1)

        def both(job, tokens, requests):
            return server.quota.Reserve(service.ReserveRequest(
                tenant=self.tenant, job_id=job,
                amounts=[quota.Amount(meter="tokens", units=tokens),
                         quota.Amount(meter="requests", units=requests)]))
        self.assertEqual(both("a", 10, 2).decision, quota.DECISION_REJECT)
        self.assertEqual((self.usage("tokens").held, self.usage("requests").held), (0, 0))
        self.assertNotEqual(both("a", 10, 1).decision, quota.DECISION_REJECT)
        self.assertEqual((self.usage("tokens").held, self.usage("requests").held), (10, 1))

    def test_ancestor_scopes_bind(self):
        self.limit("tokens", 1000, "all")
        self.limit("tokens", 10, "team", scope="team-a")
        self.assertEqual(self.reserve("a", 11, scope="team-a/user-7").decision,
                         quota.DECISION_REJECT)
        self.assertEqual(self.reserve("b", 11, scope="team-b").decision, quota.DECISION_ALLOW)

    def test_expiry_gives_back_and_commits_late(self):
        self.limit(units=100)
        request = service.ReserveRequest(tenant=self.tenant, job_id="job",
                                         amounts=[quota.Amount(meter="tokens", units=100)])
        request.ttl.FromMilliseconds(500)
        held = server.quota.Reserve(request)
        self.assertNotEqual(held.decision, quota.DECISION_REJECT)
        self.until(lambda: self.usage().held == 0, 3)
        read = server.quota.GetReservation(service.GetReservationRequest(
            tenant=self.tenant, job_id="job"))
        self.assertEqual(read.reservation.state, quota.RESERVATION_STATE_EXPIRED)
        self.error(lambda: server.quota.Extend(service.ExtendRequest(
            tenant=self.tenant, reservation_id=held.reservation_id)),
            grpc.StatusCode.FAILED_PRECONDITION, "EXPIRED")
        late = self.commit("job", 70, reservation_id=held.reservation_id)
        self.assertTrue(late.late)
        self.assertEqual(self.usage().committed, 70)

    def test_extend_keeps_a_hold(self):
        self.limit(units=100)
        request = service.ReserveRequest(tenant=self.tenant, job_id="job",
                                         amounts=[quota.Amount(meter="tokens", units=50)])
        request.ttl.FromMilliseconds(600)
        held = server.quota.Reserve(request)
        extend = service.ExtendRequest(tenant=self.tenant, job_id="job")
        extend.ttl.FromSeconds(30)
        longer = server.quota.Extend(extend)
        self.assertGreater(longer.expire_time.ToMilliseconds(),
                           held.expire_time.ToMilliseconds() + 20000)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            self.assertEqual(self.usage().held, 50)
            time.sleep(0.1)
        # The old name of the hold still commits.
        self.assertFalse(self.commit("job", 50, reservation_id=held.reservation_id).late)

    def test_list_and_check(self):
        self.limit(units=1000)
        for number in range(7):
            self.reserve(f"job-{number}", 10)
        seen, token = [], ""
        while True:
            page = server.quota.ListReservations(service.ListReservationsRequest(
                tenant=self.tenant, page_size=3, page_token=token))
            seen += [each.job_id for each in page.reservations]
            token = page.next_page_token
            if not token:
                break
        self.assertEqual(sorted(seen), [f"job-{number}" for number in range(7)])
        check = service.CheckRequest(tenant=self.tenant,
                                     amounts=[quota.Amount(meter="tokens", units=931)])
        self.assertEqual(server.quota.Check(check).decision, quota.DECISION_REJECT)
        self.assertEqual(self.usage().held, 70)

    def test_one_job_from_many_threads(self):
        self.limit(units=1000)
        replies, errors = [], []

        def run():
            try:
                replies.append(self.reserve("job", 10))
            except grpc.RpcError as error:
                errors.append(error)
        threads = [threading.Thread(target=run) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(sum(not reply.replayed for reply in replies), 1)
        self.assertEqual(len({reply.attempt for reply in replies}), 1)
        self.assertEqual(self.usage().held, 10)

    def test_unknown_names(self):
        self.error(lambda: server.quota.GetUsage(service.GetUsageRequest(tenant="nobody")),
                   grpc.StatusCode.NOT_FOUND, "UNKNOWN_TENANT")
        self.error(lambda: self.reserve("j", 1, meter="unknown"),
                   grpc.StatusCode.FAILED_PRECONDITION, "NO_LIMIT")
        self.limit()
        self.error(lambda: self.commit("never", 1), grpc.StatusCode.NOT_FOUND, "UNKNOWN_JOB")
        self.error(lambda: self.commit("never", 1, reservation_id="forged"),
                   grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["reservation_id"])


class Admin(Case):
    def test_etags_and_request_ids(self):
        first = self.limit(units=10).limit
        request = admin.PutLimitRequest(limit=first, note=admin.ChangeNote(
            actor="test", reason="raise", request_id=f"{self.tenant}-raise"))
        request.limit.units = 20
        second = server.admin.PutLimit(request)
        self.assertNotEqual(second.limit.etag, first.etag)
        self.assertEqual(server.admin.PutLimit(request).limit.etag, second.limit.etag)
        request.limit.units = 21
        self.error(lambda: server.admin.PutLimit(request), grpc.StatusCode.ALREADY_EXISTS,
                   "REQUEST_ID_REUSED")
        request.note.request_id = ""
        self.error(lambda: server.admin.PutLimit(request), grpc.StatusCode.ABORTED,
                   "ETAG_MISMATCH")
        self.error(lambda: server.admin.CreateTenant(admin.CreateTenantRequest(
            tenant=admin.Tenant(tenant=self.tenant))), grpc.StatusCode.ALREADY_EXISTS,
            "TENANT_EXISTS")

    def test_suspended_tenant(self):
        self.limit()
        server.admin.UpdateTenant(admin.UpdateTenantRequest(tenant=admin.Tenant(
            tenant=self.tenant, state=admin.TENANT_STATE_SUSPENDED)))
        self.until(lambda: self.reserve(f"j{next(ids)}", 1).decision == quota.DECISION_REJECT, 2)

    def test_lowered_limit_binds(self):
        self.limit(units=1000)
        self.assertEqual(self.reserve("a", 100).decision, quota.DECISION_ALLOW)
        self.limit(units=150)
        self.until(lambda: self.reserve(f"j{next(ids)}", 51).decision == quota.DECISION_REJECT, 2)

    def test_status(self):
        status = server.admin.GetStatus(admin.GetStatusRequest())
        self.assertEqual({each.store: each.up for each in status.stores},
                         {"redis": True, "postgres": True})


class Watching(Case):
    def watch(self, on=None, **more):
        stream = (on or server).quota.Watch(service.WatchRequest(tenant=self.tenant, **more))
        self.addCleanup(stream.cancel)
        return stream

    def crossings(self, stream, count):
        """The next events that are crossings, and the position after them; checks the chain."""
        seen, last = [], None
        for frame in stream:
            if last is not None:
                self.assertEqual(frame.prev_seq, last)
            last = frame.seq
            if frame.HasField("event") and frame.event.kind in (
                    quota.EVENT_KIND_SOFT_STOP, quota.EVENT_KIND_HARD_STOP,
                    quota.EVENT_KIND_HARD_CAP):
                seen.append(quota.EventKind.Name(frame.event.kind))
                if len(seen) == count:
                    return seen, last
        raise AssertionError(f"the stream ended after {seen}")

    def test_crossings_in_order_on_two_servers_and_again_from_a_position(self):
        self.limit(units=100, overage_percent=10)
        other = Server()
        self.addCleanup(other.stop)
        here, there = self.watch(), self.watch(on=other)
        self.assertTrue(next(here).HasField("snapshot"))
        self.assertTrue(next(there).HasField("snapshot"))
        for number in range(11):
            self.reserve(f"job-{number}", 10)
            self.commit(f"job-{number}", 10)
        want = ["EVENT_KIND_SOFT_STOP", "EVENT_KIND_HARD_STOP", "EVENT_KIND_HARD_CAP"]
        self.assertEqual(self.crossings(here, 3)[0], want)
        self.assertEqual(self.crossings(there, 3)[0], want)
        seen, position = self.crossings(self.watch(after_seq=0), 1)
        self.assertEqual(seen, want[:1])
        self.assertEqual(self.crossings(self.watch(on=other, after_seq=position), 2)[0], want[1:])
        filtered = self.watch(after_seq=0, kinds=[quota.EVENT_KIND_HARD_STOP])
        self.assertEqual(self.crossings(filtered, 1)[0], ["EVENT_KIND_HARD_STOP"])
        there.cancel()

    def test_drain_ends_streams_with_a_position(self):
        self.limit()
        other = Server()
        stream = self.watch(on=other)
        self.assertTrue(next(stream).HasField("snapshot"))
        stopper = threading.Thread(target=lambda: setattr(self, "took", other.stop()))
        stopper.start()
        frames = list(stream)
        stopper.join()
        self.assertEqual(frames[-1].end.cause, service.END_CAUSE_DRAINING)
        self.assertLess(self.took, 10)


if __name__ == "__main__":
    harness.main()
