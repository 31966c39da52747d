"""holdfastd and holdfast with TLS: what a start refuses, who is served, and files that change under a
server that runs. Clients here are Python's and OpenSSL's, on certificates that deploy/certs makes.
"""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import grpc

for name in list(os.environ):  # what HOLDFAST_TEST_TLS=1 has set: this test sets up TLS itself
    if name.startswith("HOLDFAST_TLS_"):
        del os.environ[name]

import harness  # noqa: E402
from harness import DIR, ROOT, Case, Server, admin, free_port, quota, service  # noqa: E402

EX_USAGE, EX_CONFIG = 64, 78
CLI_USAGE, CLI_SERVER = 2, 3


def certs(folder, *clients, renew=False):
    """Files as deploy/certs makes them."""
    folder = DIR / folder
    subprocess.run([ROOT / "deploy" / "certs", *(["--renew"] if renew else []),
                    "--host", "0.0.0.0", str(folder), *clients], check=True)
    return folder


def flags(folder, clients_checked=True):
    found = ["--tls-cert", str(folder / "server.crt"), "--tls-key", str(folder / "server.key")]
    return found + (["--tls-client-ca", str(folder / "ca.crt")] if clients_checked else [])


def serial(address, folder):
    """Of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.load_cert_chain(folder / "client.crt", folder / "client.key")
    context.set_alpn_protocols(["h2"])
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=40) as raw:
        with context.wrap_socket(raw, server_hostname=host) as connection:
            return int(connection.getpeercert()["serialNumber"], 16)


def serial_of(path):
    said = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-serial"], check=True,
                          text=True, capture_output=True).stdout
    return int(said.split("=")[1], 16)


class Tls(Case):
    def start(self, address, *args):
        """Where it is expected to fail: (status, what it said)."""
        done = subprocess.run(harness.command(address, *args), capture_output=True, text=True,
                              timeout=30, env=harness.plaintext())
        return done.returncode, done.stderr

    def holdfast(self, *args, **variables):
        return subprocess.run([os.environ["HOLDFAST_TEST_CLI"], *args], text=True,
                              capture_output=True, timeout=30,
                              env={**harness.plaintext(), **variables})

    def test_a_start_without_good_files_says_which(self):
        folder = certs("start")
        cert, key, ca = (str(folder / name) for name in ("server.crt", "server.key", "ca.crt"))
        for status, word, *args in (
                (EX_USAGE, "--tls-key", "--tls-cert", cert),
                (EX_USAGE, "--tls-cert", "--tls-key", key),
                (EX_USAGE, "--tls-cert", "--tls-client-ca", ca),
                (EX_CONFIG, "/nowhere", "--tls-cert", "/nowhere", "--tls-key", key),
                (EX_CONFIG, key, "--tls-cert", ca, "--tls-key", key),
                (EX_CONFIG, "/nowhere", "--tls-cert", cert, "--tls-key", key,
                 "--tls-client-ca", "/nowhere")):
            with self.subTest(args=args):
                got, said = self.start(f"127.0.0.1:{free_port()}", *args)
                self.assertEqual(got, status, said)
                self.assertIn(word, said)
        os.chmod(key, 0o644)
        got, said = self.start("127.0.0.1:0", *flags(folder))
        self.assertEqual(got, EX_CONFIG)
        self.assertIn("chmod 600", said)

    def test_without_tls_the_refusal_says_what_to_do(self):
        status, said = self.start("0.0.0.0:7071")
        self.assertEqual(status, EX_CONFIG)
        self.assertIn("--tls-cert", said)

    def test_any_address_with_tls_and_the_unix_socket_beside_it_plaintext(self):
        folder = certs("any")
        port, path = free_port(), DIR / "any.sock"
        other = Server(*flags(folder), listen=f"unix:{path},0.0.0.0:{port}")
        other.admin.GetStatus(admin.GetStatusRequest(), timeout=5)  # by the socket
        client = ("--server", f"127.0.0.1:{port}", "--tls-ca", str(folder / "ca.crt"))
        identity = ("--tls-cert", str(folder / "client.crt"),
                    "--tls-key", str(folder / "client.key"))
        done = self.holdfast(*client, *identity, "status")
        self.assertEqual(done.returncode, 0, done.stderr)
        for call in (("status",), ("--timeout", "2s", "usage", "--tenant", "demo")):  # nobody
            done = self.holdfast(*client, *call)
            self.assertEqual(done.returncode, CLI_SERVER)
            self.assertIn("the server asks for a client certificate", done.stderr)
        done = self.holdfast(*client, *identity, "--tls-server-name", "quota.example", "status")
        self.assertEqual(done.returncode, CLI_SERVER)
        self.assertIn("the server's certificate is not for quota.example", done.stderr)
        done = self.holdfast(*client, *identity, "--tls-server-name", "localhost", "status")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.holdfast("--server", f"127.0.0.1:{port}", "status")  # plaintext
        self.assertEqual(done.returncode, CLI_SERVER)
        done = self.holdfast(*client, "--tls-cert", "/nowhere", "--tls-key", "/nowhere", "status")
        self.assertEqual(done.returncode, CLI_USAGE)
        self.assertIn("/nowhere", done.stderr)
        variables = {"HOLDFAST_LISTEN": f"127.0.0.1:{port}",
                     "HOLDFAST_TLS_CA": str(folder / "ca.crt"),
                     "HOLDFAST_TLS_CLIENT_CERT": str(folder / "client.crt"),
                     "HOLDFAST_TLS_CLIENT_KEY": str(folder / "client.key")}
        done = self.holdfast("status", **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.holdfast("--server", f"unix:{path}", "status", **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        other.stop()

    def test_a_server_that_asks_for_no_certificates_warns(self):
        folder = certs("open")
        port, path = free_port(), DIR / "open.sock"
        other = Server(*flags(folder, clients_checked=False),
                       listen=f"unix:{path},127.0.0.1:{port}")
        done = self.holdfast("--server", f"127.0.0.1:{port}", "--tls-ca", str(folder / "ca.crt"),
                             "status")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("event=tls.clients_unknown", other.log_path.read_text())
        other.stop()

    def log_has(self, other, pattern):
        self.until(lambda: re.search(pattern, other.log_path.read_text()), 10)

    def test_new_files_are_used_and_calls_under_way_go_on(self):
        folder = certs("reload")
        port, path = free_port(), DIR / "reload.sock"
        address = f"127.0.0.1:{port}"
        other = Server(*flags(folder), listen=f"unix:{path},{address}")
        ca, cert, key = ((folder / name).read_bytes()
                         for name in ("ca.crt", "client.crt", "client.key"))
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert))
        stub = harness.service_grpc.QuotaServiceStub(channel)
        self.limit()
        watch = stub.Watch(service.WatchRequest(tenant=self.tenant))
        first = next(watch)
        self.assertTrue(first.HasField("snapshot"), first)

        old = serial_of(folder / "server.crt")
        self.assertEqual(serial(address, folder), old)
        certs("reload", renew=True)
        new = serial_of(folder / "server.crt")
        self.assertNotEqual(new, old)
        self.assertEqual(serial(address, folder), new)
        self.log_has(other, r"event=tls.loaded serial=0*%X " % new)

        # Not a pair: what is in use stays in use, and the log says why; then it is a pair again.
        shutil.copy(folder / "server.crt", folder / "kept.crt")
        shutil.copy(folder / "client.crt", folder / "server.crt")
        self.assertEqual(serial(address, folder), new)
        self.log_has(other, r"event=tls.refused reason=.*server\.key")
        shutil.copy(folder / "kept.crt", folder / "server.crt")
        self.assertEqual(serial(address, folder), new)

        # SIGHUP looks without a connection.
        certs("reload", renew=True)
        newest = serial_of(folder / "server.crt")
        other.process.send_signal(signal.SIGHUP)
        self.log_has(other, r"event=tls.loaded serial=0*%X " % newest)
        self.log_has(other, r"event=reload tls=current")

        # The stream that was open before all of this, and calls on its connection.
        reply = stub.Reserve(service.ReserveRequest(
            tenant=self.tenant, job_id="after",
            amounts=[quota.Amount(meter="tokens", units=950)]), timeout=10)
        self.assertIn(reply.decision, (quota.DECISION_ALLOW, quota.DECISION_WARN))
        stub.Commit(service.CommitRequest(
            tenant=self.tenant, job_id="after",
            actual=[service.ActualAmount(meter="tokens", units=950)]), timeout=10)
        crossed = next(message for message in watch if message.HasField("event"))
        self.assertEqual(crossed.event.job_id, "after")
        watch.cancel()
        channel.close()
        other.stop()

    def test_files_that_change_under_many_connections(self):
        """Whenever a client comes, it is served, by one certificate or another."""
        folder = certs("crowd")
        port, path = free_port(), DIR / "crowd.sock"
        address = f"127.0.0.1:{port}"
        other = Server(*flags(folder), "--workers", "2", listen=f"unix:{path},{address}")
        seen, failed, ended = set(), [], threading.Event()

        def connect():
            while not ended.is_set():
                try:
                    seen.add(serial(address, folder / "mine"))
                except OSError as error:
                    failed.append(error)

        (folder / "mine").mkdir()
        for name in ("ca.crt", "client.crt", "client.key"):
            shutil.copy(folder / name, folder / "mine" / name)
        threads = [threading.Thread(target=connect) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                certs("crowd", renew=True)
                made = serial_of(folder / "server.crt")
                # In place and in pieces, too.
                text = (folder / "server.key").read_bytes()
                (folder / "server.key").write_bytes(text[:100])
                (folder / "server.key").write_bytes(text)
                self.until(lambda: made in seen or failed, 20)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failed, [])
        self.assertEqual(serial(address, folder / "mine"), serial_of(folder / "server.crt"))
        other.stop()


if __name__ == "__main__":
    harness.main()
