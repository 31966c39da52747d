#include "counter/kind.h"

/* Made by embed.cmake. */
extern const char script_reserve[], script_fill[], script_settle[], script_lookup[],
    script_extend[], script_due[], script_reap[], script_recall[], script_read[], script_holds[],
    script_init[], script_observe[];

static const struct kind kinds[COUNTER_KINDS] = {
    [COUNTER_RESERVE] = {"reserve", script_reserve, write_reserve, read_reserve},
    [COUNTER_FILL] = {"fill", script_fill, write_fill, read_fill},
    [COUNTER_SETTLE] = {"settle", script_settle, write_settle, read_settle},
    [COUNTER_LOOKUP] = {"lookup", script_lookup, write_lookup, read_lookup},
    [COUNTER_EXTEND] = {"extend", script_extend, write_extend, read_extend},
    [COUNTER_DUE] = {"due", script_due, write_due, read_due},
    [COUNTER_REAP] = {"reap", script_reap, write_reap, read_reap},
    [COUNTER_RECALL] = {"recall", script_recall, write_recall, read_recall},
    [COUNTER_READ] = {"read", script_read, write_read, read_read},
    [COUNTER_HOLDS] = {"holds", script_holds, write_holds, read_holds},
    [COUNTER_INIT] = {"init", script_init, write_init, NULL},
    [COUNTER_OBSERVE] = {"observe", script_observe, write_observe, NULL},
};

const struct kind *kind_of(enum counter_kind kind)
{
    CHECK((size_t)kind < COUNTER_KINDS);
    return &kinds[kind];
}
