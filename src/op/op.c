#include "op/op.h"

#include "base/check.h"
#include "ledger/database.h"

#include <stdarg.h>
#include <stdio.h>

static const char *format_text(struct op *op, const char *format, va_list arguments)
{
    char text[512];
    char *copy;

    vsnprintf(text, sizeof(text), format, arguments);
    copy = arena_strndup(op->arena, text, strlen(text));
    return copy ? copy : "out of memory for the error's text";
}

void op_fail(struct op *op, enum failure failure, bool effect_unknown, const char *format, ...)
{
    va_list arguments;

    CHECK(failure != FAILURE_NONE);
    if (op->error.failure != FAILURE_NONE)
        return;
    va_start(arguments, format);
    op->error.text = format_text(op, format, arguments);
    va_end(arguments);
    op->error.failure = failure;
    op->error.effect_unknown = effect_unknown;
}

void op_fail_field(struct op *op, enum failure failure, const char *field, const char *format, ...)
{
    va_list arguments;
    const char *text;

    CHECK(failure != FAILURE_NONE);
    if (op->error.failure != FAILURE_NONE && op->error.failure != failure)
        return;
    va_start(arguments, format);
    text = format_text(op, format, arguments);
    va_end(arguments);
    if (op->error.failure == FAILURE_NONE) {
        op->error.failure = failure;
        op->error.text = text;
    }
    if (op->error.fields_count < OP_FIELDS_MAX)
        op->error.fields[op->error.fields_count++] =
            (struct op_field){.field = field, .description = text};
}

void op_fail_unreadable(struct op *op, bool effect_unknown)
{
    op_fail(op, FAILURE_INTERNAL, effect_unknown,
            "the hold that Redis has of this job of tenant \"%.*s\" is not readable; only the "
            "reservation_id still names it",
            SLICE_ARGS(op->tenant));
}

static void fail_internal(struct op *op, enum status status, const char *sqlstate,
                          const char *undone)
{
    if (sqlstate[0])
        op_fail(op, FAILURE_INTERNAL, false,
                "the database answered an error (SQLSTATE %s); %s; the server's log says more",
                sqlstate, undone);
    else
        op_fail(op, FAILURE_INTERNAL, false,
                "the database's answer cannot be used (%s), tenant \"%.*s\"; %s; the server's log "
                "says more",
                status_name(status), SLICE_ARGS(op->tenant), undone);
}

static void fail_unknown(struct op *op, const char *sqlstate)
{
    if (sqlstate[0])
        op_fail(
            op, FAILURE_INTERNAL, true,
            "the database answered an error (SQLSTATE %s) to the commit; repeat the call to find "
            "out whether it happened; the server's log says more",
            sqlstate);
    else
        op_fail(op, FAILURE_POSTGRES_UNAVAILABLE, true,
                "the database did not confirm; repeat the call to find out whether it happened");
}

void op_fail_status(struct op *op, enum status status, const char *sqlstate, const char *undone)
{
    switch (status) {
    case STATUS_OK:
    case STATUS_COUNT:
        UNREACHABLE();
    case STATUS_UNAVAILABLE:
    case STATUS_REFUSED:
    case STATUS_CANCELLED:
        op_fail(op, FAILURE_POSTGRES_UNAVAILABLE, false,
                "the database cannot be reached; %s: try again", undone);
        break;
    case STATUS_UNKNOWN:
        fail_unknown(op, sqlstate);
        break;
    case STATUS_TIMEOUT:
        op_fail(op, FAILURE_DEADLINE, false, "the deadline passed; %s", undone);
        break;
    case STATUS_CONFLICT:
        op_fail(op, FAILURE_CONTENTION, false,
                "others were in the way each time, or keep a row locked; %s: try again", undone);
        break;
    case STATUS_EXHAUSTED:
        op_fail(op, FAILURE_OVERLOADED, false, "it needs more memory than there is; %s", undone);
        break;
    case STATUS_FAULT:
    case STATUS_INVALID:
    case STATUS_CORRUPT:
        fail_internal(op, status, sqlstate, undone);
        break;
    }
}

void op_fail_harmless(struct op *op, enum status status, const char *sqlstate, const char *undone)
{
    if (status == STATUS_UNKNOWN)
        status = sqlstate[0] ? STATUS_FAULT : STATUS_UNAVAILABLE;
    op_fail_status(op, status, sqlstate, undone);
}

void op_fail_read(struct op *op, enum status status, const char *sqlstate)
{
    op_fail_harmless(op, status, sqlstate, "nothing was read");
}

void op_release(struct op *op)
{
    plan_unref(op->plan);
    op->plan = NULL;
    if (op->release)
        op->release(op);
}

void op_finish(struct op *op)
{
    op->done(op);
    op_release(op);
}

void op_fail_no_limit(struct op *op, const char *field, struct slice meter)
{
    op_fail_field(
        op, FAILURE_NO_LIMIT, field,
        "meter \"%.*s\" has no limit in tenant \"%.*s\": add one with PutLimit, or let the "
        "tenant admit unlimited meters",
        SLICE_ARGS(meter), SLICE_ARGS(op->tenant));
}

void op_fail_limits_full(struct op *op, struct slice meter)
{
    op_fail(
        op, FAILURE_LIMITS_FULL, false,
        "meter \"%.*s\" has no limit, and tenant \"%.*s\" has as many limits as this server allows; "
        "delete some (DeleteLimit), or raise --limits-per-tenant",
        SLICE_ARGS(meter), SLICE_ARGS(op->tenant));
}
