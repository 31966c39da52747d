"""What no honest client sends. Each is refused, by the name of its field where there is one; nothing
is changed in Postgres or Redis, and the server goes on.
"""
import random
import threading
import time

import grpc

import harness
from harness import Case, admin, quota, redis, server, service, sql

QUOTA, ADMIN = "/holdfast.v1.QuotaService/", "/holdfast.v1.AdminService/"
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def key(number, kind):
    """The bytes before a field's value."""
    return varint(number << 3 | kind)


def varint(value):
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def text(number, data):
    """A string field, whatever its bytes are."""
    return key(number, 2) + varint(len(data)) + data


class Hostile(Case):
    """Every test ends with the stores as they were after setUp."""

    def setUp(self):
        super().setUp()
        self.limit()
        self.held = self.reserve("held", 10)
        self.assertEqual(self.held.decision, quota.DECISION_ALLOW)
        self.until(self.settled, 5)
        self.before = self.world()
        self.addCleanup(self.unchanged)

    def settled(self):
        """The first hold of a shard moves leases for a moment."""
        before = self.world()
        time.sleep(0.1)
        return before == self.world()

    def world(self):
        tables = [table for table in sql(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace ="
            " 'public'::regnamespace AND relname <> 'shard_authority' ORDER BY 1")]
        counts = sql("SELECT " + ", ".join(
            f"(SELECT count(*) FROM {table})" for table in tables))
        # Not what is lent: what idles comes back by itself.
        sums = sql("SELECT sum(committed), sum(debt), sum(pg_held),"
                   " (SELECT sum(config_version + event_seq) FROM tenant) FROM quota")
        return tables, counts, sums, sorted(redis("--scan"))

    def unchanged(self):
        self.assertEqual(self.world(), self.before)
        self.assertEqual(self.usage().held, 10)
        self.assertIsNone(server.process.poll())

    def raw(self, method, data):
        if method == QUOTA + "Watch":
            return next(server.channel.unary_stream(method)(data, timeout=10))
        return server.channel.unary_unary(method)(data, timeout=10)

    def refused(self, method, message, fields, reason="INVALID_FIELD", code=INVALID):
        data = message if isinstance(message, bytes) else message.SerializeToString()
        with self.subTest(method=method, fields=fields, message=str(message)[:120]):
            self.error(lambda: self.raw(method, data), code, reason, fields)

    def good(self, **more):
        request = service.ReserveRequest(tenant=self.tenant, job_id="bad", amounts=[
            quota.Amount(meter="tokens", units=1)])
        request.MergeFrom(service.ReserveRequest(**more))
        return request

    def methods(self):
        for name, descriptor in (("QuotaService", service.DESCRIPTOR),
                                 ("AdminService", admin.DESCRIPTOR)):
            for method in descriptor.services_by_name[name].methods:
                yield f"/holdfast.v1.{name}/{method.name}", method.input_type

    # ---- bytes ----

    def test_bytes_that_are_no_message_at_every_method(self):
        for method, _ in self.methods():
            for data in (b"\xff" * 11, b"\x0a\xff", b"\x0a\x05ab", b"\x07", b"\x00\x00",
                         b"\x0b" * 50000, b"\x0a" + varint(2 ** 63)):
                self.refused(method, data, None, "MALFORMED_MESSAGE")

    def test_text_that_is_not_utf8_or_holds_a_nul_at_every_method(self):
        for method, request in self.methods():
            for field in request.fields:
                if field.type != field.TYPE_STRING:
                    continue
                name = f"{field.name}[0]" if field.is_repeated else field.name
                for data in (b"a\xc3\x28", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\xaf",
                             b"a\x00b", b"\x00"):
                    self.refused(method, text(field.number, data), [name], "MALFORMED_MESSAGE")

    def test_noise(self):
        """Random damage to a good request: any answer but a crash, a hang or a change."""
        dice = random.Random(7)
        good = service.CheckRequest(tenant=self.tenant, amounts=[
            quota.Amount(meter="tokens", units=1)]).SerializeToString()
        for _ in range(500):
            data = bytearray(good)
            for _ in range(dice.randint(1, 4)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            try:
                self.raw(QUOTA + "Check", bytes(data))
            except grpc.RpcError as error:
                self.assertIn(error.code(), (INVALID, grpc.StatusCode.NOT_FOUND,
                                             grpc.StatusCode.FAILED_PRECONDITION), error.details())

    def test_unknown_fields_are_ignored(self):
        data = service.ReserveRequest(tenant=self.tenant, job_id="held", amounts=[
            quota.Amount(meter="tokens", units=10)]).SerializeToString()
        for more in (key(1000, 0) + varint(7), key(536870911, 2) + varint(3) + b"\xff\xff\xff",
                     key(77, 5) + b"1234", key(78, 1) + b"12345678"):
            reply = service.ReserveResponse.FromString(self.raw(QUOTA + "Reserve", data + more))
            self.assertTrue(reply.replayed)

    def test_too_large(self):
        for method, _ in self.methods():
            with self.subTest(method=method):
                self.error(lambda: self.raw(method, text(900, b"x" * 65536)),
                           grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_methods_that_do_not_exist(self):
        for method in (QUOTA + "Borrow", QUOTA, "/nobody/Reserve", QUOTA + "reserve",
                       QUOTA + "x" * 4000):
            begun = time.monotonic()
            with self.subTest(method=method[:60]):
                self.error(lambda: server.channel.unary_unary(method)(b"", timeout=5),
                           grpc.StatusCode.UNIMPLEMENTED)
            self.assertLess(time.monotonic() - begun, 1)

    # ---- values ----

    def test_ids(self):
        long = "a" * 65
        for tenant in ("", long, "Acme", "a b", "ä", "a/b", "a\n"):
            self.refused(QUOTA + "Reserve", service.ReserveRequest(
                tenant=tenant, job_id="bad", amounts=self.good().amounts), ["tenant"])
            self.refused(QUOTA + "Watch", service.WatchRequest(tenant=tenant), ["tenant"])
        for job in ("", "x" * 256, "ä", "a\tb", "\x7f"):
            request = self.good()
            request.job_id = job
            self.refused(QUOTA + "Reserve", request, ["job_id"])
            self.refused(QUOTA + "Release", service.ReleaseRequest(
                tenant=self.tenant, job_id=job), ["job_id"])
        for scope in ("/", "/a", "a/", "a//b", "a/b/c/d/e", "A", long, "a/" + long):
            self.refused(QUOTA + "Reserve", self.good(scope=scope), ["scope"])
            self.refused(QUOTA + "GetUsage", service.GetUsageRequest(
                tenant=self.tenant, scope=scope), ["scope"])
            self.refused(QUOTA + "Watch", service.WatchRequest(
                tenant=self.tenant, scopes=["fine", scope]), ["scopes[1]"])

    def test_amounts(self):
        def amounts(*pairs):
            return service.ReserveRequest(tenant=self.tenant, job_id="bad", amounts=[
                quota.Amount(meter=meter, units=units) for meter, units in pairs])
        for units in (-1, -2 ** 63, 2 ** 53, 2 ** 63 - 1):
            self.refused(QUOTA + "Reserve", amounts(("tokens", units)), ["amounts[0].units"])
            self.refused(QUOTA + "Commit", service.CommitRequest(
                tenant=self.tenant, job_id="held", actual=[service.ActualAmount(
                    meter="tokens", units=units)]), ["actual[0].units"])
            self.refused(ADMIN + "PutLimit", admin.PutLimitRequest(limit=admin.Limit(
                limit_id="l", tenant=self.tenant, meter="m", period=quota.PERIOD_NEVER,
                units=units)), ["limit.units"])
        self.refused(QUOTA + "Reserve", amounts(), ["amounts"])
        self.refused(QUOTA + "Reserve", amounts(("tokens", 1), ("x", 1), ("tokens", 1)),
                     ["amounts[2].meter"])
        self.refused(QUOTA + "Reserve", amounts(*((f"m{n}", 1) for n in range(33))), ["amounts"])
        self.refused(QUOTA + "Reserve", amounts(*((f"m{n}", 1) for n in range(17))), None,
                     "NO_LIMIT", grpc.StatusCode.FAILED_PRECONDITION)
        self.refused(QUOTA + "Commit", service.CommitRequest(
            tenant=self.tenant, job_id="held", actual=[service.ActualAmount(
                meter="tokens", units=1)] * 2), ["actual[1].meter"])

    def test_enums_and_fields_for_later(self):
        for more, field in ((dict(mode=4), "mode"), (dict(mode=-1), "mode"),
                            (dict(mode=2 ** 31 - 1), "mode"), (dict(priority=3), "priority"),
                            (dict(labels={"a": "b"}), "labels"),
                            (dict(min_amounts=[quota.Amount(meter="tokens")]), "min_amounts")):
            self.refused(QUOTA + "Reserve", self.good(**more), [field])
        self.refused(QUOTA + "Commit", service.CommitRequest(
            tenant=self.tenant, job_id="held", partial=service.PartialCommit(sequence=1),
            labels={"a": "b"}, actual=[service.ActualAmount(meter="tokens", overrun=9)]),
            ["partial", "labels", "actual[0].overrun"])
        self.refused(QUOTA + "Extend", service.ExtendRequest(
            tenant=self.tenant, job_id="held", raise_to=[quota.Amount(meter="tokens")]),
            ["raise_to"])
        self.refused(QUOTA + "Watch", service.WatchRequest(
            tenant=self.tenant, kinds=[0, 1, 99], after_seq=-1),
            ["kinds[0]", "kinds[2]", "after_seq"])
        self.refused(ADMIN + "PutLimit", admin.PutLimitRequest(limit=admin.Limit(
            limit_id="l", tenant=self.tenant, meter="m", period=99, units=1, meter_kind=2,
            enforcement=2, time_zone="no zone", soft_percent=101, overage_percent=-1)),
            ["limit.period", "limit.meter_kind", "limit.enforcement", "limit.time_zone",
             "limit.soft_percent", "limit.overage_percent"])
        self.refused(ADMIN + "CreateTenant", admin.CreateTenantRequest(tenant=admin.Tenant(
            tenant="later", plan="gold", state=7)), ["tenant.plan", "tenant.state"])

    def test_durations(self):
        for seconds, nanos in ((0, 0), (-1, 0), (0, 99999999), (86400, 1), (2 ** 62, 0),
                               (1, -1), (1, 1000000000), (-2 ** 63, -999999999)):
            request = self.good()
            request.ttl.seconds, request.ttl.nanos = seconds, nanos
            self.refused(QUOTA + "Reserve", request, ["ttl"])

    def test_pages(self):
        for token in ("x", "AAAA", "////", "a" * 5000, "AQ", "-_-_-_-_"):
            for method, request in ((QUOTA + "ListReservations", service.ListReservationsRequest),
                                    (QUOTA + "GetUsage", service.GetUsageRequest),
                                    (ADMIN + "ListLimits", admin.ListLimitsRequest)):
                self.refused(method, request(tenant=self.tenant, page_token=token, page_size=-1),
                             ["page_token", "page_size"])

    def test_a_page_token_of_another_list(self):
        self.limit(meter="another")
        other = Case()
        Case.setUp(other)
        other.limit()
        other.reserve("theirs", 10)
        self.until(self.settled, 5)
        self.before = self.world()
        token = server.admin.ListLimits(admin.ListLimitsRequest(
            tenant=self.tenant, page_size=1)).next_page_token
        self.assertTrue(token)
        for method, request in (
                (ADMIN + "ListLimits", admin.ListLimitsRequest(tenant=other.tenant)),
                (ADMIN + "ListTenants", admin.ListTenantsRequest()),
                (QUOTA + "GetUsage", service.GetUsageRequest(tenant=self.tenant)),
                (QUOTA + "ListReservations", service.ListReservationsRequest(tenant=self.tenant))):
            request.page_token = token
            self.refused(method, request, ["page_token"])
        token = server.quota.GetUsage(service.GetUsageRequest(
            tenant=self.tenant, page_size=1)).next_page_token
        for more in ({"meter": "tokens"}, {"scope": "team-a"}, {"include_descendants": True}):
            self.refused(QUOTA + "GetUsage", service.GetUsageRequest(
                tenant=self.tenant, page_token=token, **more), ["page_token"])

    # ---- reservation ids ----

    def test_reservation_ids(self):
        other = Case()
        Case.setUp(other)
        other.limit()
        foreign = other.reserve("theirs", 10).reservation_id
        self.until(self.settled, 5)
        self.before = self.world()
        mine = self.held.reservation_id
        flipped = mine[:-1] + ("A" if mine[-1] != "A" else "Q")
        middle = len(mine) // 2
        bent = mine[:middle] + ("A" if mine[middle] != "A" else "B") + mine[middle + 1:]
        for token in ("x", "a" * 4000, mine[:-1], mine[:middle], mine + "A", flipped, bent,
                      mine + mine, "=" * 20, mine + "\n"):
            self.by_token(["reservation_id"], token, tenant=self.tenant, job_id="held")
            self.by_token(["reservation_id"], token)
        for named in (dict(tenant=self.tenant), dict(tenant=self.tenant, job_id="held"),
                      dict(job_id="held")):
            self.by_token(None, foreign, **named)
        self.assertEqual(server.quota.GetReservation(service.GetReservationRequest(
            reservation_id=mine)).reservation.job_id, "held")

    def by_token(self, fields, token, **named):
        for method, request in ((QUOTA + "Commit", service.CommitRequest(
                actual=[service.ActualAmount(meter="tokens", units=1)])),
                (QUOTA + "Release", service.ReleaseRequest()),
                (QUOTA + "Extend", service.ExtendRequest()),
                (QUOTA + "GetReservation", service.GetReservationRequest())):
            request.MergeFrom(type(request)(reservation_id=token, **named))
            self.refused(method, request, fields)

    # ---- connections ----

    def test_many_clients_that_leave_in_the_middle(self):
        def leave():
            for number in range(20):
                channel = server.connect()
                stub = harness.service_grpc.QuotaServiceStub(channel)
                watch = stub.Watch(service.WatchRequest(tenant=self.tenant))
                if number % 2:
                    next(watch)
                stub.Check.future(service.CheckRequest(tenant=self.tenant, amounts=[
                    quota.Amount(meter="tokens", units=1)]))
                channel.close()
        threads = [threading.Thread(target=leave) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.usage().held, 10)


if __name__ == "__main__":
    harness.main()
