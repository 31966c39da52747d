#include "op/op.h"

#include "base/check.h"

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
