/*
 * What is over: old leases past their deadline, periods that have ended and are to be closed, rows past
 * their time. A turn takes a bounded number of rows; as long as there are more, another turn follows.
 */
#include "op/duty.h"

#include "base/fault.h"
#include "op/shares.h"
#include "quota/times.h"

#include <stdlib.h>

enum {
    CLOSE_EVERY_MS = 1000,
    CLOSE_MAX = 512,
    PERIODS_MAX = 512,
    RETENTION_EVERY_MS = 10000,
    RETENTION_MAX = 2000,
};

static bool is_house(const struct duty_tools *tools)
{
    return shares_own(tools->stores->services->shares, SHARES_HOUSE);
}

/* --- a period began ------------------------------------------------------------------------------- */

/*
 * Within 2 s of its start whatever server dies: one does it at once, the others where it is late. Two
 * at once do no harm, since a period is made once.
 */
static enum duty_end follow(void *own, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    bool more = false;
    enum status status;

    (void)own;
    if (tools->news->begun_ms < (is_house(tools) ? 0 : PERIODS_LATE_MS))
        return DUTY_DONE;
    status = stores->table->periods_follow(stores->db, &stores->scratch, PERIODS_MAX, &more);
    if (!more)
        tools->news->begun_ms = -1;
    if (status != STATUS_OK)
        return duty_failed(tools, "periods", status);
    return more ? DUTY_MORE : DUTY_DONE;
}

const struct duty duty_periods = {.name = "periods", .every_ms = PERIODS_EVERY_MS, .turn = follow};

/* --- steps that take turns ------------------------------------------------------------------------ */

/*
 * A duty of several steps that have nothing to do with each other. Each turn is one step; a step that
 * fails waits for the next period and keeps none of the others from its turn.
 */
enum { STEPS_MAX = 8 };

struct steps {
    bool resting[STEPS_MAX]; /* done or failed in this period */
    size_t at;
};

static void *steps_create(void)
{
    struct steps *steps = calloc(1, sizeof(*steps));

    CHECK(steps);
    return steps;
}

static enum duty_end take_step(struct steps *steps, size_t count, struct duty_tools *tools,
                               enum duty_end (*step)(size_t which, struct duty_tools *tools))
{
    CHECK(count <= STEPS_MAX);
    for (size_t looked = 0; looked < count; looked++) {
        size_t which = steps->at;

        steps->at = (steps->at + 1) % count;
        if (steps->resting[which])
            continue;
        steps->resting[which] = step(which, tools) != DUTY_MORE;
        break;
    }
    for (size_t i = 0; i < count; i++)
        if (!steps->resting[i])
            return DUTY_MORE;
    *steps = (struct steps){0};
    return DUTY_DONE;
}

/* --- closing, retention --------------------------------------------------------------------------- */

enum { CLOSE_LEASES, CLOSE_PERIODS, CLOSE_COUNT };

static enum duty_end close_step(size_t which, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    bool *due = which == CLOSE_LEASES ? &tools->news->leases_due : &tools->news->closings_due;
    bool more = false;
    enum status status;

    if (!*due)
        return DUTY_DONE;
    status = which == CLOSE_LEASES ? stores->table->close_leases(stores->db, CLOSE_MAX, &more)
                                   : stores->table->close_periods(stores->db, CLOSE_MAX, &more);
    if (status == STATUS_OK && FAULT("close.between"))
        status = STATUS_UNKNOWN;
    *due = more;
    if (status != STATUS_OK)
        return duty_failed(tools, which == CLOSE_LEASES ? "close_leases" : "close_periods", status);
    return more ? DUTY_MORE : DUTY_DONE;
}

static enum duty_end close_due(void *own, struct duty_tools *tools)
{
    return is_house(tools) ? take_step(own, CLOSE_COUNT, tools, close_step) : DUTY_DONE;
}

const struct duty duty_close = {.name = "close",
                                .every_ms = CLOSE_EVERY_MS,
                                .create = steps_create,
                                .destroy = free,
                                .turn = close_due};

static enum duty_end retention_step(size_t which, struct duty_tools *tools)
{
    static const char *const names[] = {
        [KEPT_EVENTS] = "retention_events",
        [KEPT_FENCES] = "retention_fences",
        [KEPT_EXPIRED] = "retention_expired",
        [KEPT_PERIODS] = "retention_periods",
    };
    struct stores *stores = tools->stores;
    bool more = false;
    enum status status =
        stores->table->retention(stores->db, (enum ledger_kept)which,
                                 stores->services->options.events_keep_ms, RETENTION_MAX, &more);

    if (status == STATUS_OK && FAULT("retention.between"))
        status = STATUS_UNKNOWN;
    if (status != STATUS_OK)
        return duty_failed(tools, names[which], status);
    return more ? DUTY_MORE : DUTY_DONE;
}

static enum duty_end retain(void *own, struct duty_tools *tools)
{
    if (!is_house(tools) || !tools->news->rows_due)
        return DUTY_DONE;
    return take_step(own, KEPT_COUNT, tools, retention_step);
}

const struct duty duty_retention = {.name = "retention",
                                    .every_ms = RETENTION_EVERY_MS,
                                    .create = steps_create,
                                    .destroy = free,
                                    .turn = retain};
