#include "tests/sim/mutants.h"

#include "base/check.h"
#include "counter/kind.h"
#include "op/authority.h"
#include "op/grant_pass.h"
#include "op/mend.h"
#include "op/open.h"
#include "op/recover.h"
#include "op/refusals.h"
#include "quota/settle.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *themes, *find, *replace;
    bool open; /* nothing has found it yet: README.md */
} mutants[MUTANTS] = {
    [MUTANT_NONE] = {"none", "", NULL, NULL},
    [MUTANT_GUARD_WITHOUT_REPLID] = {"guard_without_replid", "LOSS,TIGHT",
                                     "not info:find('master_replid:' .. ARGV[1], 1, true)", "false"},
    [MUTANT_SPENT_IS_ADDED] = {"spent_is_added", "TIGHT", "q.S < S and S or q.S", "q.S + S"},
    [MUTANT_SHORT_IS_ADMITTED] = {"short_is_admitted", "TIGHT", "quota.room < more", "false"},
    [MUTANT_VANISHED_IS_NEW] = {"vanished_is_new", "KEYS,TIGHT",
                                "if newest == t.L and not (q and q.L == t.L) then",
                                "if false then"},
    [MUTANT_RELEASE_WITHOUT_FENCE] = {"release_without_fence", "RACE", NULL, NULL},
    [MUTANT_REMOVAL_IGNORES_LEASE] = {"removal_ignores_lease", "LOSS,TIGHT",
                                      "q.L == first + lease", "true"},
    [MUTANT_OK_BEFORE_COMMIT] = {"ok_before_commit", "POSTGRES_NET", NULL, NULL},
    [MUTANT_ROOT_WITHOUT_CAP] = {"root_without_cap", "TIGHT", NULL, NULL},
    [MUTANT_LOCK_WAITS_FOR_EVER] = {"lock_waits_for_ever", "STUCK", NULL, NULL},
    [MUTANT_EXTEND_STAYS] = {"extend_stays", "RACE", "if wanted <= deadline then", "if true then"},
    [MUTANT_RELEASED_MEANS_NEWER] = {"released_means_newer", "RACE,LATE", NULL, NULL},
    [MUTANT_LEASE_ENDS_EARLY] = {"lease_ends_early", "QUIET,LOSS,TIGHT",
                                 "known[ARGV[at + 1] .. ' ' .. q.L] or 0", "0"},
    [MUTANT_DEADLINE_COMES_BACK] = {"deadline_comes_back", "QUIET,LOSS,TIGHT,REDIS_NET",
                                    "q.B <= B and D", "D"},
    [MUTANT_GUARD_WITHOUT_NONCE] = {"guard_without_nonce", "LOSS,TIGHT",
                                    "if authority[2] ~= ARGV[3] or authority[1] ~= LAYOUT or",
                                    "if (authority[2] or ARGV[3]) ~= ARGV[3] or"},
    [MUTANT_REAP_IS_BLIND] = {"reap_is_blind", "REDIS_NET,LATE,TIGHT,KILL",
                              "    if q then\n        raise(given, q)\n", "    if q then\n"},
    [MUTANT_REAP_BY_LIST] = {"reap_by_list", "RACE,LATE,TIGHT",
                             "attempt == ARGV[at + 1] and deadline <= reaped_to",
                             "attempt == ARGV[at + 1]"},
    [MUTANT_NOTIFY_ANY_ATTEMPT] = {"notify_any_attempt", "RACE,REDIS_NET,TIGHT",
                                   "attempt_of(entry) == ARGV[attempts + i - committed - 1]", "true"},
    [MUTANT_DUE_IS_LIVE] = {"due_is_live", "LATE,TIGHT", ">= live_from and 2 or 3", ">= 0 and 2 or 3"},
    [MUTANT_HELD_IS_ROUNDED] = {"held_is_rounded", "TIGHT",
                                "quota.held = quota.held + wanted[q]",
                                "quota.held = quota.held + math.floor(wanted[q] * 0.999)"},
    [MUTANT_RETAKE_WITHOUT_ROOM] = {"retake_without_room", "LOSS,TIGHT,RACE",
                                    "or q.G - q.B - q.S - q.H - q.W < amount(units) then", "then"},
    [MUTANT_RETAKE_ANY_ATTEMPT] = {"retake_any_attempt", "LOSS,RACE,TIGHT",
                                   "if other ~= attempt then", "if false then", true},
    [MUTANT_KEPT_IGNORES_RETURNS] = {"kept_ignores_returns", "KEYS,QUIET,TIGHT,RACE",
                                     "q.B > amount(ARGV[i])", "false", true},
    [MUTANT_STALE_IS_FRESH] = {"stale_is_fresh", "ADMIN,TIGHT",
                               "stale = texts[1] ~= ARGV[a + 4]", "stale = false"},
    [MUTANT_EPOCH_IGNORED] = {"epoch_ignored", "LOSS,TIGHT",
                              "elseif lease < 0 then", "elseif false then"},
    [MUTANT_PLACE_IGNORES_LEASES] = {"place_ignores_leases", "AWAY,TIGHT", NULL, NULL},
    [MUTANT_LOST_AFTER_ANSWER] = {"lost_after_answer", "RACE", NULL, NULL},
    [MUTANT_FACTS_BEFORE_LOCKS] = {"facts_before_locks", "RACE,REPEAT,POSTGRES_NET", NULL, NULL},
    [MUTANT_DEADLINE_BEFORE_LOCKS] = {"deadline_before_locks", "LATE,TIGHT,STUCK", NULL, NULL},
    [MUTANT_LATE_IGNORES_FENCE] = {"late_ignores_fence", "LATE,RACE", NULL, NULL},
    [MUTANT_LATE_IS_GONE] = {"late_is_gone", "LATE,TIGHT,AWAY", NULL, NULL, true},
    [MUTANT_GUESSES_ATTEMPT] = {"guesses_attempt", "LATE,AWAY,REDIS_NET", NULL, NULL},
    [MUTANT_FACTS_WITHOUT_FENCES] = {"facts_without_fences", "RACE", NULL, NULL},
    [MUTANT_RETURN_IS_FORGOTTEN] = {"return_is_forgotten", "ADMIN,TIGHT,QUIET", NULL, NULL},
    [MUTANT_EBB_WITHOUT_NEWS] = {"ebb_without_news", "QUIET,TIGHT,POSTGRES_NET", NULL, NULL, true},
    [MUTANT_REFUSAL_FOR_EVER] = {"refusal_for_ever", "TIGHT", NULL, NULL},
    [MUTANT_PERIOD_ENDS_LEASES] = {"period_ends_leases", "PERIOD", NULL, NULL},
    [MUTANT_NOTHING_IS_MENDED] = {"nothing_is_mended", "KEYS,TIGHT", NULL, NULL},
    [MUTANT_COMMIT_FAILED_MEANS_NO] = {"commit_failed_means_no", "POSTGRES_NET,RACE", NULL, NULL},
    [MUTANT_REPEAT_IS_NEW] = {"repeat_is_new", "REPEAT,RACE", NULL, NULL},
    [MUTANT_EPOCH_IS_KEPT] = {"epoch_is_kept", "AUTHORITY", NULL, NULL},
    [MUTANT_EVENTS_BY_SEQUENCE] = {"events_by_sequence", "POSTGRES_NET,TIGHT", NULL, NULL},
    [MUTANT_EVENT_BEFORE_COMMIT] = {"event_before_commit", "POSTGRES_NET,LATE", NULL, NULL},
    [MUTANT_REFUSED_UNASKED] = {"refused_unasked", "REPEAT", NULL, NULL},
    [MUTANT_SHARD_STAYS_UNKNOWN] = {"shard_stays_unknown", "RACE", NULL, NULL},
    [MUTANT_OPEN_WITHOUT_BOUND] = {"open_without_bound", "AWAY,TIGHT", NULL, NULL},
    [MUTANT_CLOSED_IS_SERVED] = {"closed_is_served", "AWAY", NULL, NULL},
    [MUTANT_MILDEST_DECIDES] = {"mildest_decides", "AWAY,TIGHT", NULL, NULL},
    [MUTANT_COMMITS_BEFORE_COMPARED] = {"commits_before_compared", "FAILOVER,TIGHT", NULL, NULL},
    [MUTANT_ADJUST_FORGETS] = {"adjust_forgets", "TIGHT", NULL, NULL},
    [MUTANT_ADJUST_IS_NEW] = {"adjust_is_new", "TIGHT", NULL, NULL},
    [MUTANT_LOSS_IS_NOT_ADOPTED] = {"loss_is_not_adopted", "FAILOVER,TIGHT", NULL, NULL},
};

static enum mutant current = MUTANT_NONE;

void mutant_set(enum mutant mutant)
{
    current = mutant;
}

bool mutant_is(enum mutant mutant)
{
    return current == mutant;
}

bool mutant_find(const char *name, enum mutant *ret)
{
    for (int i = 0; i < MUTANTS; i++)
        if (strcmp(mutants[i].name, name) == 0) {
            *ret = (enum mutant)i;
            return true;
        }
    return false;
}

const char *mutant_name(enum mutant mutant)
{
    return mutants[mutant].name;
}

const char *mutant_themes(enum mutant mutant)
{
    return mutants[mutant].themes;
}

bool mutant_is_open(enum mutant mutant)
{
    return mutants[mutant].open;
}

bool mutant_applies(enum mutant mutant)
{
    const char *find = mutants[mutant].find;
    bool applies = !find;

    for (int kind = 0; kind < COUNTER_KINDS && !applies; kind++)
        applies = strstr(kind_of((enum counter_kind)kind)->script, find) != NULL;
    return applies;
}

char *mutant_script(const char *script, unsigned long len)
{
    const char *find = mutants[current].find, *replace = mutants[current].replace;
    const char *at = find ? memmem(script, len, find, strlen(find)) : NULL;
    size_t before, after;
    char *text;

    if (!at)
        return NULL;
    before = (size_t)(at - script);
    after = len - before - strlen(find);
    text = malloc(before + strlen(replace) + after + 1);
    CHECK(text);
    memcpy(text, script, before);
    memcpy(text + before, replace, strlen(replace));
    memcpy(text + before + strlen(replace), at + strlen(find), after);
    text[before + strlen(replace) + after] = '\0';
    return text;
}

/* --- decisions with a hole ---------------------------------------------------------------------- */

/* As if every quota of the item had been reaped a moment ago. */
static void take_for_reaped(struct book *book, const struct settle_item *item)
{
    for (size_t i = 0; item->token && i < item->token->quotas_count; i++) {
        struct quota_row *quota =
            book_find_quota(book, item->tenant_id, item->token->quotas[i].quota);

        if (quota && quota->reaped_to_ms < book->now_ms)
            quota->reaped_to_ms = book->now_ms;
    }
}

/* The token is as good as on the day that it was made, whatever was reaped. */
static void take_for_live(struct book *book, struct settle_item *item)
{
    struct hold *token;

    if (!item->token || item->token->deadline_ms > book->now_ms)
        return;
    token = arena_zalloc(book->arena, sizeof(*token));
    CHECK(token);
    *token = *item->token;
    token->deadline_ms = book->now_ms + 1000;
    item->token = token;
}

void mutant_settle(struct book *book, struct settle_item *item)
{
    const struct hold *token = item->token;
    bool late = token && token->deadline_ms <= book->now_ms && item->kind == SETTLE_COMMIT;
    size_t fences_count = item->facts->fences_count;

    if (mutant_is(MUTANT_LATE_IS_GONE) && late)
        take_for_reaped(book, item);
    if (mutant_is(MUTANT_DEADLINE_BEFORE_LOCKS) && late)
        take_for_live(book, item);
    if (mutant_is(MUTANT_GUESSES_ATTEMPT))
        item->redis_asked = true;
    if (mutant_is(MUTANT_LATE_IGNORES_FENCE) && late)
        item->facts->fences_count = 0;
    settle_decide(book, item);
    if (item->facts->fences_count == 0)
        item->facts->fences_count = fences_count;
    item->token = token;
}

bool __real_refusals_get(const struct refusals *refusals, const struct refusal_key *key, int64_t mono_us,
                         struct quota_row *ret_row, int64_t *ret_old_leases_units);
bool __wrap_refusals_get(const struct refusals *refusals, const struct refusal_key *key, int64_t mono_us,
                         struct quota_row *ret_row, int64_t *ret_old_leases_units);
bool __wrap_refusals_get(const struct refusals *refusals, const struct refusal_key *key, int64_t mono_us,
                         struct quota_row *ret_row, int64_t *ret_old_leases_units)
{
    if (mutant_is(MUTANT_REFUSAL_FOR_EVER))
        mono_us = 0;
    return __real_refusals_get(refusals, key, mono_us, ret_row, ret_old_leases_units);
}

bool __real_mend_turn(struct mend *mend, struct stores *stores, const int *shards, size_t shards_count,
                      bool *ret_more);
bool __wrap_mend_turn(struct mend *mend, struct stores *stores, const int *shards, size_t shards_count,
                      bool *ret_more);
bool __wrap_mend_turn(struct mend *mend, struct stores *stores, const int *shards, size_t shards_count,
                      bool *ret_more)
{
    *ret_more = false;
    return mutant_is(MUTANT_NOTHING_IS_MENDED) ||
           __real_mend_turn(mend, stores, shards, shards_count, ret_more);
}

void __real_pass_look_up(struct pass *pass);
void __wrap_pass_look_up(struct pass *pass);
void __wrap_pass_look_up(struct pass *pass)
{
    if (!mutant_is(MUTANT_REFUSED_UNASKED))
        __real_pass_look_up(pass);
}

bool __real_stores_run_shard(struct stores *stores, int shard, struct counter_call *const *calls,
                             size_t count, bool *ret_recovering);
bool __wrap_stores_run_shard(struct stores *stores, int shard, struct counter_call *const *calls,
                             size_t count, bool *ret_recovering);
bool __wrap_stores_run_shard(struct stores *stores, int shard, struct counter_call *const *calls,
                             size_t count, bool *ret_recovering)
{
    struct shard_view view;

    *ret_recovering = false;
    return (!mutant_is(MUTANT_SHARD_STAYS_UNKNOWN) ||
            authority_get(stores->services->authority, shard, &view)) &&
           __real_stores_run_shard(stores, shard, calls, count, ret_recovering);
}

bool __real_open_admit(struct open *open, int64_t episode, const struct plan *plan,
                       struct slice job_id, const struct hold *hold, int64_t now_ms);
bool __wrap_open_admit(struct open *open, int64_t episode, const struct plan *plan,
                       struct slice job_id, const struct hold *hold, int64_t now_ms);
bool __wrap_open_admit(struct open *open, int64_t episode, const struct plan *plan,
                       struct slice job_id, const struct hold *hold, int64_t now_ms)
{
    static int64_t next_episode;

    if (mutant_is(MUTANT_OPEN_WITHOUT_BOUND))
        episode = ++next_episode;
    return __real_open_admit(open, episode, plan, job_id, hold, now_ms);
}

bool __real_pass_is_closed(struct op_reserve *op);
bool __wrap_pass_is_closed(struct op_reserve *op);
bool __wrap_pass_is_closed(struct op_reserve *op)
{
    return !mutant_is(MUTANT_CLOSED_IS_SERVED) && __real_pass_is_closed(op);
}

enum redis_away __real_plan_redis_away(const struct plan *plan, const struct hold_quota *quotas,
                                       size_t count);
enum redis_away __wrap_plan_redis_away(const struct plan *plan, const struct hold_quota *quotas,
                                       size_t count);
enum redis_away __wrap_plan_redis_away(const struct plan *plan, const struct hold_quota *quotas,
                                       size_t count)
{
    for (size_t i = 0; i < count && mutant_is(MUTANT_MILDEST_DECIDES); i++)
        if (__real_plan_redis_away(plan, &quotas[i], 1) == REDIS_AWAY_OPEN)
            return REDIS_AWAY_OPEN;
    return __real_plan_redis_away(plan, quotas, count);
}
