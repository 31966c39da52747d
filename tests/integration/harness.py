"""What the tests in Python share: clients made from proto/, servers on the stores of this test.

They know nothing of the server's code. tests/support/with_stores sets the environment; importing
this module starts one server, and main() stops it after the tests.
"""
import contextlib
import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import unittest

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIR = pathlib.Path(os.environ["HOLDFAST_TEST_DIR"])
STUBS = DIR / "python"


def generate():
    STUBS.mkdir()
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto",
                    f"--python_out={STUBS}", f"--grpc_python_out={STUBS}",
                    *(f"holdfast/v1/{name}.proto"
                      for name in ("quota", "quota_service", "admin_service"))], check=True)
    sys.path.insert(0, str(STUBS))


generate()
from holdfast.v1 import admin_service_pb2 as admin  # noqa: E402
from holdfast.v1 import admin_service_pb2_grpc as admin_grpc  # noqa: E402
from holdfast.v1 import quota_pb2 as quota  # noqa: E402
from holdfast.v1 import quota_service_pb2 as service  # noqa: E402
from holdfast.v1 import quota_service_pb2_grpc as service_grpc  # noqa: E402

ids = itertools.count(1)


def credentials():
    """What HOLDFAST_TEST_TLS=1 (tests/support/with_stores) has made for clients, or None."""
    if "HOLDFAST_TLS_CA" not in os.environ:
        return None
    ca, cert, key = (pathlib.Path(os.environ[f"HOLDFAST_TLS_{name}"]).read_bytes()
                     for name in ("CA", "CLIENT_CERT", "CLIENT_KEY"))
    return grpc.ssl_channel_credentials(ca, key, cert)


TLS = credentials()


def grpcurl_options():
    if not TLS:
        return ["-plaintext"]
    return ["-cacert", os.environ["HOLDFAST_TLS_CA"],
            "-cert", os.environ["HOLDFAST_TLS_CLIENT_CERT"],
            "-key", os.environ["HOLDFAST_TLS_CLIENT_KEY"]]


def plaintext():
    """The environment of a server that is told of no TLS."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith("HOLDFAST_TLS_")}


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(address, *args):
    """The words that start a holdfastd on the stores of this test."""
    keys = DIR / "token.keys"
    if not keys.exists():
        keys.touch(mode=0o600)
        keys.write_text("1:" + "5a" * 32 + "\n")
    usual = {"--listen": address, "--redis": os.environ["HOLDFAST_TEST_REDIS"],
             "--postgres": os.environ["HOLDFAST_TEST_POSTGRES"], "--token-keys": str(keys)}
    return [os.environ["HOLDFAST_TEST_SERVER"],
            *(word for name, value in usual.items() if name not in args for word in (name, value)),
            *args]


class Server:
    """One holdfastd on the stores of this test."""

    def __init__(self, *args, listen=None):
        self.address = listen or f"127.0.0.1:{free_port()}"
        self.args = args
        self.log_path = DIR / f"server-{next(ids)}.log"
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command(self.address, *self.args),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.channel = self.connect(self.address.split(",")[0])
        self.quota = service_grpc.QuotaServiceStub(self.channel)
        self.admin = admin_grpc.AdminServiceStub(self.channel)

    def connect(self, address=None, options=()):
        """A connection of its own."""
        address = address or self.address
        options = [("grpc.use_local_subchannel_pool", 1), *options]
        if TLS and not address.startswith("unix:"):
            channel = grpc.secure_channel(address, TLS, options)
        else:
            channel = grpc.insecure_channel(address, options)
        grpc.channel_ready_future(channel).result(timeout=60)
        return channel

    def terminate(self):
        """SIGTERM; how long the drain took. What the server sent can still be read."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        took = time.monotonic() - begun
        if status != 0:
            raise AssertionError(f"holdfastd ended with {status}")
        return took

    def stop(self):
        took = self.terminate()
        self.channel.close()
        return took

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def restart(self):
        """SIGKILL, then again at the same address."""
        self.kill()
        self.start()

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


def sql(query):
    """The rows that psql prints, columns apart by '|'."""
    return subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", query,
                           os.environ["HOLDFAST_TEST_POSTGRES"]],
                          check=True, text=True, capture_output=True).stdout.split("\n")[:-1]


def stores(command):
    """As deploy/stores: "kill-postgres", "start-postgres" ..."""
    subprocess.run([os.environ["HOLDFAST_TEST_STORES"], command, str(DIR)], check=True,
                   capture_output=True)


def look_later(begun):
    """A pause between two looks, longer the longer one waits: a look may be a process that connects to a store."""
    time.sleep(min(0.2, max(0.02, (time.monotonic() - begun) / 20)))


def redis(*words):
    """The lines that redis-cli prints."""
    return subprocess.run(["redis-cli", "-s", os.environ["HOLDFAST_TEST_REDIS"][len("unix:"):],
                           *words], check=True, text=True, capture_output=True).stdout.splitlines()


# Windows that do not grow: what a client does not read waits at the server.
NARROW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65535)]

server = Server()


def error_info(error):
    """The google.rpc.ErrorInfo of an error of the server."""
    for packed in rpc_status.from_call(error).details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            return error_details_pb2.ErrorInfo.FromString(packed.value)
    raise AssertionError(f"no ErrorInfo: {error.details()}")


def repeated(call, request):
    """As callers do: an answer whose effect is not known is asked for again. A busy machine is enough for one."""
    for _ in range(5):
        try:
            return call(request, timeout=10)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            if status is None or error_info(error).metadata["effect"] != "unknown":
                raise
    return call(request, timeout=10)


class Case(unittest.TestCase):
    def setUp(self):
        self.tenant = f"tenant-{next(ids)}"
        server.admin.CreateTenant(admin.CreateTenantRequest(
            tenant=admin.Tenant(tenant=self.tenant)))

    def limit(self, meter="tokens", units=1000, limit_id=None, **more):
        return server.admin.PutLimit(admin.PutLimitRequest(limit=admin.Limit(
            limit_id=limit_id or meter, tenant=self.tenant, meter=meter,
            period=quota.PERIOD_NEVER, units=units, **more)))

    def reserve(self, job, units, meter="tokens", on=None, **more):
        return repeated((on or server).quota.Reserve, service.ReserveRequest(
            tenant=self.tenant, job_id=job,
            amounts=[quota.Amount(meter=meter, units=units)], **more))

    def commit(self, job, units, meter="tokens", **more):
        return repeated(server.quota.Commit, service.CommitRequest(
            tenant=self.tenant, job_id=job,
            actual=[service.ActualAmount(meter=meter, units=units)], **more))

    def write_events(self, count):
        """Large events without their cause."""
        sql(f"WITH t AS (UPDATE tenant SET event_seq = event_seq + {count} WHERE name ="
            f" '{self.tenant}' RETURNING tenant_id, event_seq - {count} AS before)"
            " INSERT INTO event (tenant_id, seq, kind, job_id, at)"
            " SELECT tenant_id, before + n, 6, repeat('j', 200), now()"
            f" FROM t, generate_series(1, {count}) n")

    def usage(self, meter="tokens"):
        reply = server.quota.GetUsage(service.GetUsageRequest(tenant=self.tenant, meter=meter))
        return reply.quotas[0]

    def until(self, condition, seconds):
        begun = time.monotonic()
        while not condition():
            self.assertLess(time.monotonic(), begun + seconds, "not in time")
            look_later(begun)

    def postgres_serves(self):
        """A transaction of the common server comes through: what it knew of a hang is over."""
        try:
            server.admin.CreateTenant(admin.CreateTenantRequest(
                tenant=admin.Tenant(tenant=f"serves-{next(ids)}")), timeout=10)
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
            return False
        return True

    def error(self, call, code, reason=None, fields=None, effect="definite"):
        """The call fails so; returns the ErrorInfo, or None for an error of the transport."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        if reason is None:
            return None
        status = rpc_status.from_call(error)
        self.assertIsNotNone(status, "no google.rpc.Status")
        self.assertEqual(status.code, code.value[0])
        details = {}
        for packed in status.details:
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest,
                         error_details_pb2.RetryInfo):
                if packed.Is(kind.DESCRIPTOR):
                    self.assertNotIn(kind, details, "each kind of detail once at most")
                    details[kind] = kind.FromString(packed.value)
        info = details[error_details_pb2.ErrorInfo]
        self.assertEqual((info.reason, info.domain), (reason, "holdfast"))
        self.assertEqual(info.metadata["effect"], effect)
        if fields is not None:
            named = details[error_details_pb2.BadRequest].field_violations
            self.assertEqual(sorted(each.field for each in named), sorted(fields))
            for each in named:
                self.assertTrue(each.description)
        return info


def main():
    result = unittest.main(exit=False, verbosity=2, module="__main__").result
    bad = len(result.failures) + len(result.errors)
    # tests/run adds these up with Criterion's.
    print(f"[====] Synthesis: Tested: {result.testsRun} | Passing: {result.testsRun - bad} | "
          f"Failing: {bad} | Crashing: 0", file=sys.stderr)
    server.stop()
    sys.exit(bad > 0)
