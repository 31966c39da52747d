#include "op/verdict.h"

#include "base/amount.h"
#include "base/check.h"
#include "quota/times.h"

#include <inttypes.h>

/* When to ask again for capacity that is on its way between the stores. */
enum { ON_ITS_WAY_MS = 1000 };

/* What a REJECT is computed from, besides the quota itself. */
struct question {
    struct arena *arena;
    bool deferrable;
    int64_t now_ms, earliest_free_ms, latest_free_ms;
};

static int64_t used(const struct op_quota *quota)
{
    return quota->committed + quota->debt;
}

static int64_t projected(const struct op_quota *quota, int64_t units)
{
    return op_quota_taken(quota) + units;
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

/* "40 s", "12 min", "3 h", "9 d": rounded up, so that nobody comes too soon. */
static const char *duration_text(struct arena *arena, int64_t ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"s", SECOND_IN_MS}, {"min", MINUTE_IN_MS}, {"h", HOUR_IN_MS}, {"d", DAY_IN_MS}};
    size_t at = 0;

    if (ms < 1)
        ms = 1;
    while (at + 1 < ARRAY_COUNT(units) && ms > 2 * units[at + 1].ms)
        at++;
    return text_or(arena_printf(arena, "%" PRId64 " %s", (ms + units[at].ms - 1) / units[at].ms,
                                units[at].name),
                   "some time");
}

static struct op_reason warning(struct arena *arena, const struct op_quota *quota,
                                int64_t projected_units)
{
    const struct stops *stops = &quota->stops;
    bool over = projected_units > stops->amount;
    const char *message;

    if (over)
        message =
            arena_printf(arena,
                         "%.*s: %" PRId64 " used and held > %" PRId64
                         "; inside the overage, up to %" PRId64,
                         SLICE_ARGS(quota->limit_name), projected_units, stops->amount, stops->cap);
    else
        message = arena_printf(arena,
                               "%.*s: %" PRId64 " used and held >= %" PRId64
                               ", the soft stop; the limit is %" PRId64,
                               SLICE_ARGS(quota->limit_name), projected_units, stops->soft,
                               stops->amount);
    return (struct op_reason){
        .code = over ? REASON_OVERAGE : REASON_SOFT_STOP,
        .quota = quota,
        .retry_after_ms = -1,
        .message = text_or(message, "at or over a stop"),
    };
}

enum decision verdict_admitted(struct arena *arena, const struct op_quota *quotas,
                               const int64_t *projected_units, size_t count,
                               struct op_reason **ret_reasons, size_t *ret_reasons_count)
{
    size_t warned = 0;

    *ret_reasons = NULL;
    for (size_t i = 0; i < count; i++) {
        if (quotas[i].stops.unlimited || projected_units[i] < quotas[i].stops.soft)
            continue;
        if (!*ret_reasons)
            *ret_reasons = arena_array(arena, count, sizeof(**ret_reasons));
        CHECK(*ret_reasons);
        (*ret_reasons)[warned++] = warning(arena, &quotas[i], projected_units[i]);
    }
    *ret_reasons_count = warned;
    return warned ? DECISION_WARN : DECISION_ALLOW;
}

static bool quota_fits(const struct op_quota *quota, int64_t units, bool deferrable)
{
    const struct stops *stops = &quota->stops;
    int64_t bound = deferrable ? amount_min(stops->soft, stops->cap) : stops->cap;

    /* What has no limit ends where numbers do. */
    return projected(quota, units) <= (stops->unlimited ? AMOUNT_MAX : bound);
}

bool verdict_fits(const struct op_quota *quotas, const struct hold_quota *wanted, size_t count,
                  bool deferrable)
{
    for (size_t i = 0; i < count; i++)
        if (!quota_fits(&quotas[i], wanted[i].units, deferrable))
            return false;
    return true;
}

/*
 * When the holds may have made room under `bound`, or -1: the earliest deadline frees something,
 * but if all of what is held stands in the way only the latest will do, and if that is not enough
 * what is set aside must be free as well.
 */
static int64_t free_after_ms(const struct question *question, const struct op_quota *quota,
                             int64_t units, int64_t bound)
{
    int64_t short_by = projected(quota, units) - bound;
    int64_t at_ms = short_by >= quota->held ? question->latest_free_ms : question->earliest_free_ms;

    if (short_by > quota->held && short_by <= quota->held + quota->set_aside)
        at_ms = quota->set_aside_until_ms > 0
                    ? amount_max(quota->set_aside_until_ms, question->latest_free_ms)
                    : -1;
    else if (quota->held <= 0 || short_by > quota->held)
        return -1;
    if (at_ms < 0)
        return -1;
    return at_ms > question->now_ms ? at_ms - question->now_ms : 0;
}

/* When the next period begins, in which everything is free; -1 if none does. */
static int64_t period_after_ms(const struct question *question, const struct op_quota *quota,
                               int64_t units, int64_t bound)
{
    if (quota->period_end_ms == PERIOD_END_NEVER || quota->period == PERIOD_NEVER || units > bound)
        return -1;
    return quota->period_end_ms > question->now_ms ? quota->period_end_ms - question->now_ms : 0;
}

/* Sets retry_after and says in words why then. */
static const char *wait_text(const struct question *question, const struct op_quota *quota,
                             int64_t units, int64_t bound, struct op_reason *reason)
{
    int64_t free_ms = free_after_ms(question, quota, units, bound);
    int64_t period_ms = period_after_ms(question, quota, units, bound);
    bool by_holds = free_ms >= 0 && (period_ms < 0 || free_ms <= period_ms);
    const char *text = "";

    reason->retry_after_ms = by_holds ? free_ms : period_ms;
    if (by_holds) {
        int64_t all_ms = amount_max(question->latest_free_ms - question->now_ms, free_ms);

        text = arena_printf(question->arena, "; %" PRId64 " held may free within %s",
                            quota->held + quota->set_aside, duration_text(question->arena, all_ms));
    } else if (period_ms >= 0) {
        text = arena_printf(question->arena, "; starts again in %s",
                            duration_text(question->arena, period_ms));
    }
    return text_or(text, "");
}

static struct op_reason never(const struct question *question, const struct op_quota *quota,
                              int64_t units)
{
    const char *message = arena_printf(question->arena,
                                       "%.*s: %" PRId64 " > %" PRId64
                                       ", the limit with its overage; waiting does not help",
                                       SLICE_ARGS(quota->limit_name), units, quota->stops.cap);

    return (struct op_reason){
        .code = REASON_NEVER_SATISFIABLE,
        .quota = quota,
        .short_by = projected(quota, units) - quota->stops.cap,
        .retry_after_ms = -1,
        .message = text_or(message, "more than the limit with its overage"),
    };
}

/* Past the cap, or for deferrable work past the soft stop. */
static struct op_reason beyond(const struct question *question, const struct op_quota *quota,
                               int64_t units)
{
    const struct stops *stops = &quota->stops;
    bool capped = projected(quota, units) > stops->cap;
    int64_t bound = capped ? stops->cap : stops->soft;
    bool by_debt = capped && projected(quota, units) - quota->debt <= stops->cap;
    struct op_reason reason = {
        .code = !capped   ? REASON_DEFERRED
                : by_debt ? REASON_DEBT
                          : REASON_HARD_CAP,
        .quota = quota,
        .short_by = projected(quota, units) - bound,
    };
    const char *debt = "", *aside = "";
    const char *wait = wait_text(question, quota, units, bound, &reason);

    if (quota->debt > 0)
        debt = text_or(arena_printf(question->arena, " (%" PRId64 " of it debt)", quota->debt), "");
    if (quota->set_aside > 0)
        aside = text_or(arena_printf(question->arena, " + %" PRId64 " set aside", quota->set_aside),
                        "");
    reason.message = text_or(arena_printf(question->arena,
                                          "%.*s: %" PRId64 " used%s + %" PRId64 " held%s + %" PRId64
                                          " > %" PRId64 "%s%s",
                                          SLICE_ARGS(quota->limit_name), used(quota), debt,
                                          quota->held, aside, units, bound,
                                          capped ? "" : ", the soft stop of deferrable work", wait),
                             "no room");
    return reason;
}

/*
 * The stores said no although these numbers say yes: they were read a moment later, or capacity is
 * under way between the stores. The tightest quota is named.
 */
static struct op_reason in_flight(const struct question *question, const struct op_quota *quotas,
                                  const struct hold_quota *wanted, size_t count)
{
    size_t tightest = 0;
    int64_t least = INT64_MAX;
    const char *message;

    for (size_t i = 0; i < count; i++) {
        int64_t room = quotas[i].stops.unlimited
                           ? AMOUNT_MAX
                           : quotas[i].stops.cap - projected(&quotas[i], wanted[i].units);

        if (room < least) {
            least = room;
            tightest = i;
        }
    }
    message =
        arena_printf(question->arena, "%.*s: capacity is on its way between the stores; try again",
                     SLICE_ARGS(quotas[tightest].limit_name));
    return (struct op_reason){
        .code = REASON_HARD_CAP,
        .quota = &quotas[tightest],
        .short_by = 1,
        .retry_after_ms = ON_ITS_WAY_MS,
        .message = text_or(message, "try again"),
    };
}

static int64_t retry_of_all(const struct op_reason *reasons, size_t count)
{
    int64_t latest_ms = -1;

    for (size_t i = 0; i < count; i++) {
        if (reasons[i].retry_after_ms < 0)
            return -1;
        latest_ms = amount_max(latest_ms, reasons[i].retry_after_ms);
    }
    return latest_ms;
}

void verdict_rejected(struct arena *arena, const struct op_quota *quotas,
                      const struct hold_quota *wanted, size_t count, bool deferrable,
                      int64_t now_ms, int64_t earliest_free_ms, int64_t latest_free_ms,
                      struct op_reason **ret_reasons, size_t *ret_reasons_count,
                      int64_t *ret_retry_after_ms)
{
    const struct question question = {
        .arena = arena,
        .deferrable = deferrable,
        .now_ms = now_ms,
        .earliest_free_ms = earliest_free_ms,
        .latest_free_ms = amount_max(latest_free_ms, earliest_free_ms),
    };
    struct op_reason *reasons = arena_array(arena, count ? count : 1, sizeof(*reasons));
    size_t found = 0;

    CHECK(reasons);
    for (size_t i = 0; i < count; i++) {
        if (quota_fits(&quotas[i], wanted[i].units, deferrable))
            continue;
        reasons[found++] = wanted[i].units > quotas[i].stops.cap
                               ? never(&question, &quotas[i], wanted[i].units)
                               : beyond(&question, &quotas[i], wanted[i].units);
    }
    if (found == 0 && count > 0)
        reasons[found++] = in_flight(&question, quotas, wanted, count);
    *ret_reasons = reasons;
    *ret_reasons_count = found;
    *ret_retry_after_ms = retry_of_all(reasons, found);
}
