"""What holdfastd refuses at its start, with the reason, and what it says while a store is away."""
import os
import re
import signal
import socket
import subprocess
import time
import unittest

import harness
from harness import DIR, command, free_port, server, sql, stores

EX_USAGE, EX_UNAVAILABLE, EX_CONFIG = 64, 69, 78


def start(*args, environment=None):
    """Runs a server that ends by itself: its exit code and what it says."""
    ended = subprocess.run(command("127.0.0.1:0", *args), stdin=subprocess.DEVNULL, text=True,
                           capture_output=True, timeout=20, env=dict(os.environ, **(environment or {})))
    return ended.returncode, ended.stderr


def client(*args):
    """The client beside the server of this build: its exit code and what it says."""
    ended = subprocess.run([os.environ["HOLDFAST_TEST_CLI"], *args], stdin=subprocess.DEVNULL,
                           text=True, capture_output=True, timeout=30)
    return ended.returncode, ended.stdout + ended.stderr


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time")
        time.sleep(0.02)


class Refused(unittest.TestCase):
    def expect(self, code, says, *args, environment=None):
        with self.subTest(args=args, environment=environment):
            got, text = start(*args, environment=environment)
            self.assertEqual(got, code, text)
            self.assertIn(says, text)
            return text

    def test_an_address_that_is_none(self):
        self.expect(EX_USAGE, "write 127.0.0.1:6379", "--redis", "127.0.0.1")
        self.expect(EX_USAGE, "TLS is not supported", "--redis", "rediss://127.0.0.1:6379")
        self.expect(EX_USAGE, "from 1 to 65535", "--redis", "127.0.0.1:65536")
        self.expect(EX_USAGE, "unix:/path", "--redis", "/run/redis.sock")
        self.expect(EX_USAGE, "from 0 to 65535", "--listen", "127.0.0.1:99999")
        self.expect(EX_USAGE, "write 127.0.0.1:7070", "--listen", "127.0.0.1")
        self.expect(EX_USAGE, "it is empty", "--listen", "127.0.0.1:0,")
        self.expect(EX_USAGE, "twice", "--listen", "127.0.0.1:7070,127.0.0.1:7070")
        self.expect(EX_USAGE, "space", "--listen", "127.0.0.1:0, [::1]:0")
        self.expect(EX_CONFIG, "without TLS only loopback", "--listen", "localhost.example:7070")

    def test_a_password_is_not_said_again(self):
        text = self.expect(EX_USAGE, "password is not supported", "--redis",
                           "redis://:hunter2@127.0.0.1:6379")
        self.assertNotIn("hunter2", text)

    def test_no_piece_of_a_database_password_is_said_again(self):
        for conninfo in ("postgresql://ann:hun%zzter2@127.0.0.1/x", "postgresql://ann:a@hunter2@127.0.0.1/x",
                         "postgresql://ann:a/hunter2@127.0.0.1/x", "host=127.0.0.1 password=a hunter2",
                         "host=127.0.0.1 password='hunter2"):
            text = self.expect(EX_USAGE, "--postgres: ", "--postgres", conninfo)
            self.assertNotIn("ter2", text)

    def test_a_password_in_a_command_line_is_warned_of(self):
        conninfo = f"postgresql://ann:hunter2@127.0.0.1:{free_port()}/x"
        text = self.expect(EX_UNAVAILABLE, "event=postgres.password_visible", "--postgres", conninfo,
                           "--start-timeout", "0")
        self.assertNotIn("hunter2", text)
        words = command("127.0.0.1:0", "--start-timeout", "0")
        at = words.index("--postgres")
        ended = subprocess.run(words[:at] + words[at + 2:], capture_output=True, text=True, timeout=20,
                               stdin=subprocess.DEVNULL, env=dict(os.environ, HOLDFAST_POSTGRES=conninfo))
        self.assertEqual(ended.returncode, EX_UNAVAILABLE, ended.stderr)
        self.assertNotIn("password_visible", ended.stderr)
        self.assertNotIn("hunter2", ended.stderr)

    def test_a_database_that_lets_nobody_in(self):
        """It is there, so nothing is waited for."""
        own = DIR / "data" / "pg_hba.conf"
        before = own.read_text()
        port = sql("SHOW port")[0]
        own.write_text("host all checked 127.0.0.1/32 scram-sha-256\n"
                       "host all nobody 127.0.0.1/32 reject\n" + before)
        sql("CREATE ROLE checked LOGIN PASSWORD 'sesame'; SELECT pg_reload_conf()")
        try:
            for user, database, says in (
                    ("checked:hunter2", "holdfast", "password authentication failed"),
                    ("checked", "holdfast", "no password supplied"),
                    ("nobody", "holdfast", "pg_hba.conf rejects connection"),
                    ("stranger", "holdfast", 'role "stranger" does not exist'),
                    ("checked:sesame", "nowhere", 'database "nowhere" does not exist')):
                begun = time.monotonic()
                text = self.expect(EX_UNAVAILABLE, says, "--postgres",
                                   f"postgresql://{user}@127.0.0.1:{port}/{database}")
                self.assertLess(time.monotonic() - begun, 5, text)
                self.assertNotIn("postgres.away", text)
                self.assertNotIn("hunter2", text)
        finally:
            own.write_text(before)
            sql("SELECT pg_reload_conf()")

    def test_a_newer_schema_is_left_alone_by_a_start_and_no_matter_to_who_runs(self):
        sql("INSERT INTO schema_migration (version, name) VALUES (999, 'of the future')")
        try:
            text = self.expect(EX_UNAVAILABLE, "schema is of version 999")
            self.assertNotIn("postgres.away", text)
            server.admin.CreateTenant(harness.admin.CreateTenantRequest(
                tenant=harness.admin.Tenant(tenant="beside-a-newer-schema")))
        finally:
            sql("DELETE FROM schema_migration WHERE version = 999")

    def test_a_database_that_can_never_be(self):
        self.expect(EX_USAGE, "postgresql://USER@HOST", "--postgres", "127.0.0.1:5432")
        self.expect(EX_UNAVAILABLE, "port", "--postgres", "host=127.0.0.1 port=99999")
        self.expect(EX_UNAVAILABLE, "sslmode", "--postgres", "host=127.0.0.1 sslmode=perhaps")

    def test_a_database_of_somebody_else(self):
        """It is there, so nothing is waited for."""
        sql("CREATE DATABASE foreigner TEMPLATE template0")
        uri = os.environ["HOLDFAST_TEST_POSTGRES"]
        foreign = re.sub(r"/holdfast\b", "/foreigner", uri, count=1)
        if foreign == uri:
            foreign = uri.replace("dbname=holdfast", "dbname=foreigner")
        subprocess.run(["psql", "-Xq", "-c", "CREATE TABLE tenant (id int)", foreign], check=True)
        begun = time.monotonic()
        text = self.expect(EX_UNAVAILABLE, 'relation "tenant" already exists', "--postgres", foreign)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertIn("must be Holdfast's own or empty", text)
        self.assertNotIn("postgres.away", text)

    def test_a_socket_that_cannot_be_made(self):
        self.expect(EX_UNAVAILABLE, "No such file or directory", "--listen", "unix:/nonexistent/s.sock")

    def test_too_few_descriptors(self):
        ended = subprocess.run(["bash", "-c", 'ulimit -n 40; exec "$@"', "bash", *command("127.0.0.1:0")],
                               stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=20)
        self.assertEqual(ended.returncode, EX_UNAVAILABLE, ended.stderr)
        self.assertIn("ulimit -n", ended.stderr)

    def test_an_option_that_is_none(self):
        self.expect(EX_USAGE, "did you mean --workers?", "--wrokers", "2")
        self.expect(EX_USAGE, "1 to 64", "--workers", "65")
        self.expect(EX_USAGE, "whole number", "--workers", "1e1")
        self.expect(EX_USAGE, "is empty", "--redis", "")
        self.expect(EX_USAGE, "--workers is given twice", "--workers", "1", "--workers", "2")
        self.expect(EX_USAGE, "--listen is given twice", "-l", "127.0.0.1:0", "--listen=127.0.0.1:0")
        for number in ("0", "-1", "1e3", "99999", "+1", "01", " 1"):
            self.expect(EX_USAGE, "from 1 to 64", "--workers", number)
            self.expect(EX_USAGE, "HOLDFAST_WORKERS is", environment={"HOLDFAST_WORKERS": number})
        self.expect(EX_USAGE, "HOLDFAST_WORKERS", environment={"HOLDFAST_WORKERS": ""})
        self.expect(EX_USAGE, "HOLDFAST_TLS_CERT is empty", environment={"HOLDFAST_TLS_CERT": ""})
        self.expect(EX_USAGE, "debug, info", "--log-level", "loud")
        self.expect(EX_CONFIG, "No such file", "--token-keys", "/nonexistent")
        self.expect(EX_CONFIG, "No such file", "--tls-cert", "/nonexistent", "--tls-key",
                    "/nonexistent")

    def test_the_version_is_told(self):
        ended = subprocess.run([os.environ["HOLDFAST_TEST_SERVER"], "--version"], text=True,
                               capture_output=True, timeout=20)
        self.assertEqual(ended.returncode, 0)
        self.assertRegex(ended.stdout, r"^holdfastd \d+\.\d+\.\d+\n$")
        self.assertEqual(ended.stderr, "")


class Away(unittest.TestCase):
    def serve(self, *args):
        address = f"127.0.0.1:{free_port()}"
        path = DIR / f"away-{address.rpartition(':')[2]}.log"
        with open(path, "wb") as log:
            process = subprocess.Popen(command(address, *args), stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        return address, path

    def test_a_redis_that_is_not_there_is_a_warning_and_an_exit_code(self):
        address, path = self.serve("--redis", f"127.0.0.1:{free_port()}")
        until(lambda: "event=redis.away" in path.read_text())
        self.assertIn("Connection refused", path.read_text())
        code, text = client("--server", address, "status")
        self.assertEqual(code, 3, text)
        self.assertIn("DOWN", text)
        self.assertEqual(path.read_text().count("event=redis.away"), 1)

    def test_a_redis_that_goes_and_comes_is_told_once_each(self):
        address, path = self.serve()
        until(lambda: client("--server", address, "status")[0] == 0)
        stores("stop-redis")
        until(lambda: "event=redis.away" in path.read_text())
        self.assertEqual(client("--server", address, "status")[0], 3)
        stores("start-redis")
        until(lambda: "event=redis.back" in path.read_text())
        until(lambda: client("--server", address, "status")[0] == 0)

    def test_a_redis_that_wants_a_password_is_told_and_postgres_holds(self):
        address, path = self.serve()
        until(lambda: client("--server", address, "status")[0] == 0)
        harness.redis("CONFIG", "SET", "requirepass", "sesame")
        try:
            other, other_path = self.serve()
            until(lambda: "event=redis.away" in other_path.read_text())
            self.assertIn("wants a password, which is not supported", other_path.read_text())
            client("--server", other, "apply", "-f", str(harness.ROOT / "deploy/demo.yaml"))
            code, text = client("--server", other, "reserve", "-t", "demo", "-j", "x", "tokens=1")
            self.assertEqual(code, 0, text)
            self.assertIn("degraded: Redis is away, and the hold is in Postgres", text)
            code, text = client("--server", other, "status")
            self.assertEqual(code, 3, text)
            self.assertIn("new ones are taken there", text)
        finally:
            harness.redis("-a", "sesame", "--no-auth-warning", "CONFIG", "SET", "requirepass", "")
        until(lambda: "event=redis.back" in other_path.read_text())

    def test_a_signal_ends_the_wait_for_a_database(self):
        with socket.socket() as silent:  # takes connections, and says nothing on them
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            for number in (signal.SIGTERM, signal.SIGINT):
                process = subprocess.Popen(
                    command("127.0.0.1:0", "--postgres",
                            f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=x"),
                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                self.assertIn("postgres.away", process.stderr.readline())
                process.send_signal(signal.SIGHUP)
                begun = time.monotonic()
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=20), -number)
                self.assertLess(time.monotonic() - begun, 1)
                process.stderr.close()

    def test_a_postgres_that_is_not_there_is_a_warning_then_the_end(self):
        address, path = self.serve("--postgres", f"host=127.0.0.1 port={free_port()} dbname=x",
                                   "--start-timeout", "2")
        until(lambda: "event=postgres.away" in path.read_text())
        until(lambda: "cannot use the database" in path.read_text())


if __name__ == "__main__":
    harness.main()
