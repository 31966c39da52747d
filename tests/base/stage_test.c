#include "base/stage.h"

#include <criterion/criterion.h>
#include <signal.h>

enum door_stage { DOOR_OPEN, DOOR_SHUT, DOOR_GONE = 3 };

struct door {
    enum door_stage stage;
    bool gap;
};

static bool has_no_gap(const void *owner)
{
    return !((const struct door *)owner)->gap;
}

static const struct stage_rule rules[] = {
    [DOOR_OPEN] = {"open", STAGE(DOOR_SHUT) | STAGE(DOOR_GONE), NULL},
    [DOOR_SHUT] = {"shut", STAGE(DOOR_OPEN), has_no_gap},
    [DOOR_GONE] = {"gone", STAGE_END, NULL},
};
static const struct stage_table stages = STAGE_TABLE("door", rules);

static void go(struct door *door, enum door_stage to)
{
    stage_step(&stages, door->stage, to, door);
    door->stage = to;
}

Test(stage, allowed_steps_are_taken)
{
    struct door door = {DOOR_OPEN, false};

    go(&door, DOOR_SHUT);
    go(&door, DOOR_OPEN);
    go(&door, DOOR_GONE);
    cr_assert_eq(door.stage, DOOR_GONE);
    stage_hold(&stages, door.stage, &door);
}

Test(stage, names_are_for_messages)
{
    cr_assert_str_eq(stage_name(&stages, DOOR_SHUT), "shut");
    cr_assert_str_eq(stage_name(&stages, 2), "?");
    cr_assert_str_eq(stage_name(&stages, 99), "?");
}

Test(stage, a_step_that_the_table_does_not_have_is_a_bug, .signal = SIGABRT)
{
    struct door door = {DOOR_SHUT, false};

    go(&door, DOOR_GONE);
}

Test(stage, the_last_stage_has_no_step, .signal = SIGABRT)
{
    struct door door = {DOOR_GONE, false};

    go(&door, DOOR_OPEN);
}

Test(stage, an_owner_that_is_not_as_the_stage_says_is_a_bug, .signal = SIGABRT)
{
    struct door door = {DOOR_OPEN, true};

    go(&door, DOOR_SHUT);
}

Test(stage, an_owner_that_changed_within_its_stage_is_found, .signal = SIGABRT)
{
    struct door door = {DOOR_SHUT, true};

    stage_hold(&stages, door.stage, &door);
}

Test(stage, a_number_between_the_stages_is_a_bug, .signal = SIGABRT)
{
    struct door door = {DOOR_OPEN, false};

    stage_hold(&stages, 2, &door);
}
