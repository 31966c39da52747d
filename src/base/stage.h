/*
 * State machines whose steps are checked. A machine is an enum of its stages and a table with one
 * row for each: its name, the stages that may come next, and what must be true of the owner in it.
 *
 *     enum door_stage { DOOR_OPEN, DOOR_SHUT, DOOR_LOCKED };
 *
 *     static bool is_shut(const void *owner) { return !((const struct door *)owner)->gap; }
 *
 *     static const struct stage_rule door_rules[] = {
 *         [DOOR_OPEN] = {"open", STAGE(DOOR_SHUT), NULL},
 *         [DOOR_SHUT] = {"shut", STAGE(DOOR_OPEN) | STAGE(DOOR_LOCKED), is_shut},
 *         [DOOR_LOCKED] = {"locked", STAGE(DOOR_SHUT), is_shut},
 *     };
 *     static const struct stage_table door_stages = STAGE_TABLE("door", door_rules);
 *
 *     static void go(struct door *door, enum door_stage to)
 *     {
 *         stage_step(&door_stages, door->stage, to, door);
 *         door->stage = to;
 *     }
 *
 * One function like `go` is the only place that writes the stage. A step that the table does not
 * allow, or an owner that is not as its stage says, is a bug: CHECK. So nothing that a caller or a
 * store has said may decide whether a step is allowed.
 *
 * The table is constant and shared by all threads; a stage belongs to whoever owns the owner. Make
 * the owner ready for the new stage first, then step: each step checks the invariant of the new
 * stage. stage_hold checks that of the present stage, wherever this is worth it.
 */
#ifndef HOLDFAST_BASE_STAGE_H
#define HOLDFAST_BASE_STAGE_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STAGES_MAX = 64 };

/* A set of stages; sets are joined by |. */
#define STAGE(stage) (UINT64_C(1) << (stage))
#define STAGE_END UINT64_C(0) /* no step leads on */

struct stage_rule {
    const char *name;                 /* for messages; NULL: no stage has this number */
    uint64_t next;                    /* the stages that may follow */
    bool (*holds)(const void *owner); /* what is true in this stage, or NULL */
};

struct stage_table {
    const char *machine; /* for messages */
    size_t count;
    const struct stage_rule *rules; /* by number of the stage */
};

#define STAGE_TABLE(machine, rules)                                                                \
    {                                                                                              \
        machine, ARRAY_COUNT(rules), rules                                                         \
    }

/* Name of a stage; "?" for a number that is none. */
static inline const char *stage_name(const struct stage_table *table, unsigned stage)
{
    return stage < table->count && table->rules[stage].name ? table->rules[stage].name : "?";
}

/* CHECKs that the owner is as the stage says. */
static inline void stage_hold(const struct stage_table *table, unsigned stage, const void *owner)
{
    CHECK_MSG(stage < table->count && table->rules[stage].name, "%s: no stage %u", table->machine,
              stage);
    CHECK_MSG(!table->rules[stage].holds || table->rules[stage].holds(owner),
              "%s is not as stage %s says", table->machine, table->rules[stage].name);
}

/* CHECKs that the table allows the step and that the owner is as the new stage says. */
static inline void stage_step(const struct stage_table *table, unsigned from, unsigned to,
                              const void *owner)
{
    CHECK_MSG(from < table->count && to < STAGES_MAX && (table->rules[from].next & STAGE(to)) != 0,
              "%s: no step from %s to %s", table->machine, stage_name(table, from),
              stage_name(table, to));
    stage_hold(table, to, owner);
}

#endif
