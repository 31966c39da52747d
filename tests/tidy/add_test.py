#!/usr/bin/env python3
"""src/README.md, "How to add": one of each is added to a copy of the tree by changing the files that
are listed there and no others, and the copy builds.

    tests/tidy/add_test.py BUILD      BUILD has the generator built (src/plugin/protoc-gen-cstub)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

PEEK_STORY = """#include "op/queries.h"

#include "op/inbox.h"
#include "op/stores.h"

static void run(struct op *base, struct stores *stores)
{
    struct op_peek *op = container_of(base, struct op_peek, op);

    if (query_plan(base, stores))
        op->limits_count = base->plan->limits_count;
    op_finish(base);
}

void op_peek_start(struct op_peek *op)
{
    inbox_to_desk(&op->op, run);
}
"""

PEEK_RPC = """#include "rpc/handlers.h"

#include "op/queries.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static void peek_done(struct op *base)
{
    struct op_peek *op = container_of(base, struct op_peek, op);
    Holdfast__V1__PeekResponse reply = HOLDFAST__V1__PEEK_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.limits = (int64_t)op->limits_count;
    holdfast_v1_quota_service_peek_reply(inbound_call(base), &reply);
}

void rpc_peek(void *user, struct stub_call *call, const Holdfast__V1__PeekRequest *request)
{
    struct op_peek *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;
    struct slice tenant;

    if (!inbound_begin(user, call, base, peek_done))
        return;
    tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    if (!valid(base) || !auth_tenant(base, call, tenant)) {
        inbound_fail(base);
        return;
    }
    inbound_hold(base);
    op_peek_start(op);
}
"""

PEEK_PROTO = """
// Request of Peek.
message PeekRequest {
  // The tenant.
  string tenant = 1;
}

// Response of Peek.
message PeekResponse {
  // How many limits it has.
  int64 limits = 1;
}
"""


class Copy:
    """A copy of the tree, which notes what is changed in it."""

    def __init__(self, root):
        self.root = root
        self.touched = set()
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)

    def write(self, name, text):
        (self.root / name).write_text(text)
        self.touched.add(name)

    def change(self, name, pattern, replacement, count=1):
        """Every place that matches, `count` of them."""
        text, found = re.subn(pattern, replacement, (self.root / name).read_text(), flags=re.M)
        if found != count:
            sys.exit(f"add_test: {name}: {found} places match {pattern!r}, {count} were expected")
        self.write(name, text)


def an_rpc(copy):
    service = "proto/holdfast/v1/quota_service.proto"
    copy.change(service, r"^(  rpc GetUsage\(.*\n)",
                r"\1  // Says how many limits a tenant has. Errors: NOT_FOUND (UNKNOWN_TENANT).\n"
                r"  rpc Peek(PeekRequest) returns (PeekResponse);\n")
    copy.write(service, (copy.root / service).read_text() + PEEK_PROTO)
    copy.change("src/op/queries.h", r"^(struct op_usage \{)",
                "struct op_peek {\n    struct op op;\n    size_t limits_count; /* out */\n};\n\n"
                r"void op_peek_start(struct op_peek *op);\n\n\1")
    copy.write("src/op/NAME.c".replace("NAME", "peek"), PEEK_STORY)
    copy.change("src/op/CMakeLists.txt", r"^  plans\.c$", "  peek.c\n  plans.c")
    copy.change("tests/tidy/tidy.py", r'"queries": 3,', '"peek": 3, "queries": 3,')
    copy.write("src/rpc/NAME.c".replace("NAME", "peek"), PEEK_RPC)
    copy.change("src/rpc/handlers.h", r"^(void rpc_get_usage\()",
                "void rpc_peek(void *user, struct stub_call *call,\n"
                r"              const Holdfast__V1__PeekRequest *request);\n\1")
    copy.change("src/rpc/service.c", r"^(        \.get_usage = .*)$",
                r"\1\n        .peek = rpc_peek,")
    copy.change("src/rpc/CMakeLists.txt", r"^  page\.c$", "  page.c\n  peek.c")


def a_period(copy):
    copy.change("proto/holdfast/v1/quota.proto", r"^(  PERIOD_YEAR = 7;)$",
                r"\1\n  // Ten days from 1970-01-01.\n  PERIOD_DECADE = 8;")
    copy.change("src/quota/period.h", r"^(    PERIOD_YEAR = 7,)$", r"\1\n    PERIOD_DECADE = 8,")
    copy.change("src/quota/period.c", r"^(    case PERIOD_DAY:)$", r"    case PERIOD_DECADE:\n\1",
                count=2)
    copy.change("src/quota/period.c", r"^    case PERIOD_DECADE:\n    case PERIOD_DAY:\n(        return DAY_IN_MS;)$",
                r"    case PERIOD_DECADE:\n        return 10 * DAY_IN_MS;\n    case PERIOD_DAY:\n\1")
    copy.change("src/rpc/values.c", r"^(    X\(PERIOD_)DAY(, .*__PERIOD_)DAY(\).*)$",
                r"\g<0>\n\1DECADE\2DECADE\3")
    copy.change("src/rpc/put_limit.c", r"MONTH or YEAR", "MONTH, YEAR or DECADE")
    copy.change("src/cli/quotas_file.h", r"^(    QUOTAS_FILE_PERIOD_YEAR = 7,)$",
                r"\1\n    QUOTAS_FILE_PERIOD_DECADE = 8,")
    copy.change("src/cli/quotas_file.c", r'(\{"year", QUOTAS_FILE_PERIOD_YEAR\},)',
                r'\1 {"decade", QUOTAS_FILE_PERIOD_DECADE},')


def an_event_kind(copy):
    copy.change("proto/holdfast/v1/quota.proto", r"^(  EVENT_KIND_LATE_COMMIT = 7;)$",
                r"\1\n  // The use of a limit was set to 0 by an operator.\n  EVENT_KIND_RESET = 20;")
    copy.change("src/quota/threshold.h", r"^(    EVENT_LATE_COMMIT = 7,)$", r"\1\n    EVENT_RESET = 20,")
    copy.change("src/rpc/values.c", r"^(    X\(EVENT_)HARD_CAP(, .*__EVENT_KIND_)HARD_CAP(\).*)$",
                r"\g<0>\n\1RESET\2RESET\3")
    copy.change("src/rpc/watch.c", r"^(    case EVENT_LATE_COMMIT:)$", r"    case EVENT_RESET:\n\1", count=2)
    copy.change("src/rpc/watch.c", r"^    case EVENT_RESET:\n    case EVENT_LATE_COMMIT:\n(        text)",
                '    case EVENT_RESET:\n        text = arena_printf(arena, "use is 0 now");\n'
                r"        break;\n    case EVENT_LATE_COMMIT:\n\1")


def a_failure(copy):
    copy.change("proto/holdfast/v1/quota.proto", r"^(//   INTERNAL, reason INTERNAL)$",
                "//   UNAVAILABLE, reason NIGHT_SHIFT\n//       Nobody is here. Repeat in the morning.\n" r"\1")
    copy.change("src/op/op.h", r"^(    FAILURE_INTERNAL,)$", r"    FAILURE_NIGHT_SHIFT,\n\1")
    copy.change("src/rpc/failure.c", r"^(    \[FAILURE_INTERNAL\] =)",
                '    [FAILURE_NIGHT_SHIFT] = {STUB_UNAVAILABLE, "NIGHT_SHIFT", "nobody is here", 1000},\n' r"\1")
    copy.change("tests/rpc/failure_test.c", r"^(        \{FAILURE_INTERNAL,)",
                '        {FAILURE_NIGHT_SHIFT, STUB_UNAVAILABLE, "NIGHT_SHIFT"},\n' r"\1")


def an_option(copy):
    copy.change("src/main.c", r"^(    int64_t workers;)$", r"\1\n    int64_t naps;")
    copy.change("src/main.c", r'^(    \{\.name = "worker-timeout-ms",)',
                '    {.name = "naps", .type = CONFIG_INTEGER, .fallback = "0", .min = 0, .max = 9,\n'
                '     .offset = offsetof(struct settings, naps), .arg = "N", .doc = "naps after lunch"},\n' r"\1")


KINDS = {"An RPC": an_rpc, "A period": a_period, "An event kind": an_event_kind,
         "A failure": a_failure, "An option": an_option}


def listed():
    """Of each kind, the files that src/README.md names."""
    text = (ROOT / "src/README.md").read_text().split("## How to add\n", 1)[1].split("\n## ", 1)[0]
    kinds = {}
    for part in text.split("\n### ")[1:]:
        title, body = part.split("\n", 1)
        kinds[title] = {name.replace("NAME", "peek")
                        for name in re.findall(r"^\* `([^`]+)`", body, flags=re.M)}
    return kinds


def run(copy, *command):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "HOLDFAST_TEST_RUN")}
    done = subprocess.run(command, cwd=copy.root, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout[-8000:])
        sys.exit(f"add_test: {' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    lists = listed()
    if set(lists) != set(KINDS):
        sys.exit(f"add_test: src/README.md lists {sorted(lists)}, this test adds {sorted(KINDS)}")
    with tempfile.TemporaryDirectory(prefix="holdfast-add-") as folder:
        copy = Copy(pathlib.Path(folder))
        for title, add in KINDS.items():
            copy.touched = set()
            add(copy)
            if copy.touched != lists[title]:
                sys.exit(f"add_test: {title}: src/README.md and this test differ in "
                         f"{sorted(copy.touched ^ lists[title])}")
        run(copy, "sh", "proto/regen", build)
        run(copy, sys.executable, "tests/tidy/tidy.py", "--root", copy.root, "layers", "registered")
        run(copy, "cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DTESTS=OFF",
            "-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O0")
        run(copy, "ninja", "-C", "build", "holdfastd", "holdfast")
        if "naps after lunch" not in run(copy, "build/src/holdfastd", "--help"):
            sys.exit("add_test: --help does not know the new option")


main()
