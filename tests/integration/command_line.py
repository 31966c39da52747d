"""`holdfast` as a person in a shell meets it: help, its examples, mistakes, output that cannot be written."""
import contextlib
import os
import re
import shlex
import socket
import subprocess
import unittest

import harness
from harness import DIR, ROOT, server

CLIENT = os.path.abspath(os.environ["HOLDFAST_TEST_CLI"])
DONE, USAGE, SERVER, OUTPUT = 0, 2, 3, 5
READS = (["usage", "-t", "demo"], ["holds", "-t", "demo"], ["show", "-t", "demo", "-j", "x"],
         ["check", "-t", "demo", "tokens=1"], ["watch", "-t", "demo"], ["status"],
         ["apply", "-f", str(ROOT / "deploy/demo.yaml")])


def holdfast(*args, stdout=subprocess.PIPE, address=None):
    """Its exit code, stdout and stderr."""
    ended = subprocess.run([CLIENT, *args], stdin=subprocess.DEVNULL, stdout=stdout,
                           stderr=subprocess.PIPE, text=True, timeout=60, cwd=DIR,
                           env=dict(os.environ, HOLDFAST_LISTEN=address or server.address))
    return ended.returncode, ended.stdout, ended.stderr


def commands():
    """Those that --help lists."""
    text = holdfast("--help")[1].split("Commands")[1].split("Exit codes")[0]
    return re.findall(r"^  (\w+) {2,}", text, flags=re.M)


def dead_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Help(unittest.TestCase):
    def test_every_way_to_ask_for_it_prints_it_on_stdout(self):
        whole = holdfast("--help")
        self.assertEqual((whole[0], whole[2]), (DONE, ""))
        for words in (["-h"], ["help"], ["-?"], ["help", "help"]):
            self.assertEqual(holdfast(*words), whole, words)
        self.assertGreaterEqual(len(commands()), 14)
        for command in commands():
            if command == "help":
                continue
            one = holdfast(command, "--help")
            self.assertEqual((one[0], one[2]), (DONE, ""), command)
            self.assertIn(f"Usage: holdfast {command}", one[1])
            self.assertEqual(holdfast(command, "-h"), one)
            self.assertEqual(holdfast("help", command), one)

    def test_versions_are_told(self):
        code, out, _ = holdfast("--version")
        self.assertEqual(code, DONE)
        self.assertRegex(out, r"^holdfast \d+\.\d+\.\d+\n$")


class Examples(unittest.TestCase):
    """Every line that a command's help shows as an example works as it stands, in this order."""
    ORDER = ("apply", "check", "reserve", "extend", "show", "holds", "usage", "commit", "release", "charge",
             "adjust", "verify", "reconcile", "watch", "status", "replay", "bench")

    def examples(self, command):
        lines = re.findall(r"^  (holdfast .*)$", holdfast(command, "--help")[1], flags=re.M)
        self.assertTrue(lines, f"{command} has no example")
        return lines

    def token(self, job):
        """The reservation of a new job."""
        code, out, err = holdfast("reserve", "-t", "demo", "-j", job, "tokens=1500", "requests=1")
        self.assertEqual(code, DONE, err)
        return re.search(r"reservation_id (\S+)", out)[1]

    def run_line(self, line):
        words = shlex.split(line)[1:]
        if "TOKEN" in words:
            words[words.index("TOKEN")] = self.token(f"job-of-{abs(hash(line))}")
        if "RECEIPT" in words:
            out = holdfast("commit", "-r", self.token("job-of-receipt"))[1]
            words[words.index("RECEIPT")] = re.search(r"receipt (\S+)", out)[1]
        if words[0] == "release":
            holdfast("reserve", "-t", "demo", "-j", "job-2", "tokens=1")
        if words[0] == "watch":
            words += ["--after", "0", "--count", "1"]
            holdfast("reserve", "-t", "demo", "-s", "team-a", "-j", "crossing", "tokens=19000")
            holdfast("commit", "-t", "demo", "-j", "crossing")
        return holdfast(*words)

    def test_they_work_as_they_stand(self):
        (DIR / "quotas.yaml").write_text((ROOT / "deploy/demo.yaml").read_text())
        (DIR / "trace.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                                       "2023-11-16 18:15:46.6805900,374,44\n"
                                       "2023-11-16 18:15:50.9951690,396,109\n")
        self.assertEqual(sorted(self.ORDER), sorted(set(commands()) - {"help"}))
        for command in self.ORDER:
            for line in self.examples(command):
                with self.subTest(line=line):
                    code, out, err = self.run_line(line)
                    self.assertEqual(code, DONE, out + err)
                    self.assertTrue(out)


class Mistakes(unittest.TestCase):
    def expect(self, says, *args):
        with self.subTest(args=args):
            code, out, err = holdfast(*args)
            self.assertEqual((code, out), (USAGE, ""), err)
            self.assertIn(says, err)

    def test_a_word_that_is_none_is_answered_with_the_one_that_was_meant(self):
        self.expect("did you mean reserve?", "resrve")
        self.expect("did you mean reserve?", "help", "resrve")
        self.expect("did you mean --tenant?", "usage", "--tenat", "demo")
        self.expect("did you mean --server?", "--sever", "x", "usage")
        self.expect("did you mean soft_stop?", "watch", "-t", "demo", "--kind", "softstop")
        self.expect("--run: at most 180 characters", "replay", "x.csv", "--run", 181 * "x")
        self.expect('there is no command "frobnicate"\n', "frobnicate")

    def test_what_is_missing_or_empty_is_named(self):
        self.expect("--tenant is needed", "usage")
        self.expect("--tenant is needed", "reserve", "tokens=1")
        self.expect("--accept goes with neither", "reconcile", "--accept", "--dry-run", "--repair", "-t", "demo")
        self.expect("--tenant and --job are needed", "charge", "-t", "demo", "tokens=1")
        self.expect("--id is needed", "adjust", "-t", "demo", "-j", "x", "tokens=-1")
        self.expect("an amount is needed", "charge", "-t", "demo", "-j", "x")
        self.expect("an amount is needed", "reserve", "-t", "demo")
        self.expect("--reservation is needed, or --tenant and --job", "commit", "-t", "demo")
        self.expect("--job is empty", "reserve", "-t", "demo", "-j", "", "tokens=1")
        self.expect("--tenant is empty", "usage", "-t", "")
        self.expect("--scope is empty", "reserve", "-t", "demo", "--scope", "", "tokens=1")
        self.expect("--note is empty", "release", "-t", "demo", "-j", "x", "--note=")
        self.expect("--tls-ca is empty", "--tls-ca", "", "status")
        self.expect("--server is empty", "status", "--server", "")
        self.expect("--reason is empty", "apply", "-f", "x", "--reason", "")
        self.expect("--file is empty", "apply", "-f", "")
        self.expect("--kind is empty", "watch", "-t", "demo", "--kind", "")
        self.expect("--run is empty", "replay", "--run", "", "x.csv")
        self.expect("--tenant is empty", "bench", "-t", "")

    def test_an_option_of_a_command_stands_after_it(self):
        self.expect("holdfast: there is no option -t before the command", "-t", "demo", "usage")
        self.expect("a command's own options come after it", "--reservation", "x", "commit")

    def test_of_two_values_none_is_dropped_in_silence(self):
        for name, value in (("tenant", "demo"), ("scope", "a"), ("job", "j"), ("ttl", "5s")):
            twice = [f"--{name}", value] * 2
            self.expect(f"--{name} is given twice", "reserve", "-t", "demo", *twice, "tokens=1")
        self.expect("--meter is given twice", "usage", "-t", "demo", "-m", "a", "-m", "b")
        self.expect("--reservation is given twice", "commit", "-r", "a", "-r", "b")
        self.expect("--after is given twice", "watch", "-t", "demo", "--after", "0", "--after", "1")
        self.expect("--file is given twice", "apply", "-f", "a", "-f", "b")
        self.expect("--reason is given twice", "apply", "-f", "a", "-m", "b", "-m", "c")
        self.expect("--server is given twice", "status", "-S", "127.0.0.1:1", "--server=127.0.0.1:2")
        self.expect("--server is given twice", "-S", "127.0.0.1:1", "status", "-S", "127.0.0.1:2")
        self.expect("--timeout is given twice", "--timeout", "1s", "status", "-T2s")
        self.expect("--tls-ca is given twice", "--tls-ca", "a", "status", "--tls-ca", "b")
        self.expect("--rows is given twice", "replay", "--rows", "1", "--rows", "2", "x.csv")
        self.expect("--seconds is given twice", "bench", "--seconds", "1", "--seconds", "2")

    def test_a_value_is_not_guessed_at(self):
        self.expect("not a duration", "status", "--timeout", "1h1h")
        self.expect("from 0 on", "watch", "-t", "demo", "--after", "-1")
        self.expect("is not a kind of event", "watch", "-t", "demo", "--kind", "unspecified")
        self.expect("write 60s, 60ms or 60m", "reserve", "-t", "demo", "--ttl", "60", "tokens=1")
        self.expect("write 5s, 5ms or 5m", "status", "--timeout", "5")
        self.expect("write 90s", "extend", "-t", "demo", "-j", "x", "--ttl", "90")
        self.expect("in digits alone", "reserve", "-t", "demo", "tokens=1_000")
        self.expect("in digits alone", "check", "-t", "demo", "tokens=10k")
        self.expect("no policy here", "reserve", "-t", "demo", "tokens=10:cap")
        self.expect("write 127.0.0.1:7070", "--server", "127.0.0.1", "status")
        self.expect("it is a URL", "status", "-S", "http://127.0.0.1:7070")
        self.expect("No such file", "status", "--tls-ca", "/nonexistent")


    def test_a_variable_that_is_wrong_is_named(self):
        code, out, err = holdfast("status", address="nonsense")
        self.assertEqual((code, out), (USAGE, ""))
        self.assertIn('"nonsense" ($HOLDFAST_LISTEN): ', err)
        self.expect("(--server): ", "status", "-S", "nonsense")
        self.expect("(--servers): ", "replay", "--servers", "nonsense", str(DIR / "trace.csv"))


class Files(unittest.TestCase):
    def apply(self, path, **more):
        ended = subprocess.run([CLIENT, "apply", "--dry-run", "-f", str(path)], capture_output=True,
                               timeout=60, env=dict(os.environ, HOLDFAST_LISTEN=server.address), **more)
        return ended.returncode, ended.stdout.decode(), ended.stderr.decode()

    def test_stdin_may_be_a_pipe_or_a_socket(self):
        text = (ROOT / "deploy/demo.yaml").read_bytes()
        self.assertEqual(self.apply("-", input=text)[0], DONE)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(text)
            ours.shutdown(socket.SHUT_WR)
            code, _, err = self.apply("-", stdin=theirs)
            self.assertEqual(code, DONE, err)
        code, _, err = self.apply("-", input=b"tenants: 5\n")
        self.assertEqual(code, USAGE)
        self.assertIn("stdin: line 1: ", err)
        self.assertEqual(self.apply("-", stdin=subprocess.DEVNULL)[0], USAGE)

    def test_what_is_no_file_is_refused(self):
        large = DIR / "large.yaml"
        with open(large, "wb") as file:
            file.truncate(100 << 20)
        for path, says in ((DIR, "Is a directory"), ("/nonexistent", "No such file"), (large, "16 MiB"),
                           ("/dev/zero", "16 MiB"), ("/dev/null", "nothing in it")):
            with self.subTest(path=path):
                code, out, err = self.apply(path, stdin=subprocess.DEVNULL)
                self.assertEqual((code, out), (USAGE, ""), err)
                self.assertIn(says, err)
        large.unlink()

    def test_a_fifo_is_read_to_its_end(self):
        path = DIR / "fifo.yaml"
        os.mkfifo(path)
        writer = subprocess.Popen(["cp", str(ROOT / "deploy/demo.yaml"), str(path)])
        self.assertEqual(self.apply(path, stdin=subprocess.DEVNULL)[0], DONE)
        self.assertEqual(writer.wait(timeout=10), 0)


class Answers(unittest.TestCase):
    def test_a_read_of_a_dead_port_has_no_effect_that_could_be_unknown(self):
        address = dead_port()
        for words in READS:
            with self.subTest(words=words):
                code, _, err = holdfast(*words, "-T", "1s", address=address)
                self.assertEqual(code, SERVER, err)
                self.assertIn("effect  none: it changes nothing", err)
                self.assertNotIn("carried out", err)
                self.assertIn("is the server running there?", err)
        # These read first, and have changed nothing by then.
        trace = DIR / "short.csv"
        trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,5\n")
        for words in (["replay", str(trace), "--retries", "0"], ["bench", "-n", "1"]):
            code, _, err = holdfast(*words, "-T", "1s", address=address)
            self.assertEqual(code, SERVER, err)
            self.assertIn("effect  none: it changes nothing", err)
        code, _, err = holdfast("reserve", "-t", "demo", "tokens=1", "-T", "1s", address=address)
        self.assertEqual(code, SERVER)
        self.assertIn("effect  unknown: it may have been carried out", err)

    def test_output_that_cannot_be_written_is_an_error(self):
        for words in (*READS, ["--help"], ["--version"], ["help", "usage"], ["usage", "--usage"],
                      ["reserve", "-t", "demo", "-j", "full", "tokens=1"],
                      ["release", "-t", "demo", "-j", "full"],
                      ["usage", "-t", "demo", "--json"]):
            if words[0] == "show":
                words = ["show", "-t", "demo", "-j", "full"]
                holdfast("reserve", "-t", "demo", "-j", "full", "tokens=1")
            with self.subTest(words=words), open("/dev/full", "w") as full:
                code, _, err = holdfast(*words, stdout=full)
                self.assertEqual(code, OUTPUT, err)
                self.assertIn("the output could not be written", err)

    def test_a_pipe_that_nobody_reads_ends_it_in_silence_when_its_work_is_done(self):
        reads, writes = os.pipe()
        os.close(reads)
        text = (ROOT / "deploy/demo.yaml").read_text().replace("tenant: demo", "tenant: unread")
        (DIR / "unread.yaml").write_text(text)
        try:
            for words in (["apply", "-f", str(DIR / "unread.yaml")], ["watch", "-t", "demo", "--after", "0"],
                          *READS[:2], *READS[3:6], ["--help"], ["usage", "-t", "demo", "--json"]):
                with self.subTest(words=words):
                    code, _, err = holdfast(*words, stdout=writes)
                    self.assertEqual(code, OUTPUT, err)
                    self.assertEqual(err, "")
        finally:
            os.close(writes)
        self.assertIn("5 unchanged", holdfast("apply", "-f", str(DIR / "unread.yaml"))[1])

    def test_a_closed_output_is_not_taken_for_a_socket(self):
        ended = subprocess.run(["bash", "-c", 'exec "$0" status >&-', CLIENT], text=True, timeout=60,
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env=dict(os.environ, HOLDFAST_LISTEN=server.address))
        self.assertEqual(ended.returncode, OUTPUT, ended.stderr)
        self.assertIn("could not be written", ended.stderr)


def setUpModule():
    code, _, err = holdfast("apply", "-f", str(ROOT / "deploy/demo.yaml"))
    assert code == DONE, err


if __name__ == "__main__":
    harness.main()
