/*
 * reserve: items are sorted into groups (a tenant at one config version), keeping their order; a
 * group names each of its quotas once, and its terms (what an item asks besides its units) once for
 * all items that have the same. The plan made for writing is needed
 * again for reading, so it stays in the call's arena.
 */
#include "base/hash.h"
#include "counter/kind.h"

#include <inttypes.h>
#include <stdio.h>

enum { TERMS_COMPARED = 8 };

struct group {
    const struct shard_view *view;
    int64_t tenant_id;
    int64_t config_version;
    size_t items_first, items_count; /* in plan->order */
    size_t keys_first, keys_count;   /* in plan->keys */
    size_t terms_first, terms_count; /* in plan->terms */
};

struct plan_of_items {
    struct group *groups;
    size_t groups_count;
    size_t *group_of;       /* per item */
    size_t *order;          /* items, group by group */
    struct quota_ref *keys; /* distinct quotas, group by group */
    size_t keys_count;
    size_t *first_use; /* per item: where its quotas begin in key_of */
    uint32_t *key_of;  /* per use: index among the group's keys, from 0 */
    size_t *terms;     /* distinct terms, group by group: the first item that has them */
    size_t terms_count;
    uint32_t *terms_of; /* per item: index among the group's terms, from 0 */
    uint32_t *table;    /* hash of (group, ref): 1 + index in keys, 0 empty */
    size_t table_mask;
    struct counter_quota *states; /* per key, read from the reply */
};

static bool allocate(struct plan_of_items *plan, struct arena *arena, size_t items, size_t uses)
{
    size_t table = 16;

    while (table < 2 * uses)
        table *= 2;
    plan->table_mask = table - 1;
    plan->groups = arena_array(arena, items, sizeof(*plan->groups));
    plan->group_of = arena_array(arena, items, sizeof(*plan->group_of));
    plan->order = arena_array(arena, items, sizeof(*plan->order));
    plan->keys = arena_array(arena, uses, sizeof(*plan->keys));
    plan->first_use = arena_array(arena, items, sizeof(*plan->first_use));
    plan->key_of = arena_array(arena, uses, sizeof(*plan->key_of));
    plan->terms = arena_array(arena, items, sizeof(*plan->terms));
    plan->terms_of = arena_array(arena, items, sizeof(*plan->terms_of));
    plan->table = arena_array(arena, table, sizeof(*plan->table));
    return plan->groups && plan->group_of && plan->order && plan->keys && plan->first_use &&
           plan->key_of && plan->terms && plan->terms_of && plan->table;
}

static const struct shard_view *view_of(const struct counter_call *call,
                                        const struct counter_reserve_item *item)
{
    CHECK(item->view <= call->views_count);
    return item->view == 0 ? &call->view : &call->views[item->view - 1];
}

static size_t find_group(struct plan_of_items *plan, const struct counter_call *call,
                         const struct counter_reserve_item *item)
{
    struct group *group = &plan->groups[plan->groups_count];

    for (size_t g = 0; g < plan->groups_count; g++)
        if (plan->groups[g].tenant_id == item->tenant_id &&
            plan->groups[g].config_version == item->config_version)
            return g;
    group->view = view_of(call, item);
    group->tenant_id = item->tenant_id;
    group->config_version = item->config_version;
    return plan->groups_count++;
}

static void sort_into_groups(struct plan_of_items *plan, const struct counter_reserve *reserve)
{
    size_t first = 0;

    for (size_t i = 0; i < reserve->items_count; i++) {
        plan->group_of[i] = find_group(plan, &reserve->call, &reserve->items[i]);
        plan->groups[plan->group_of[i]].items_count++;
    }
    for (size_t g = 0; g < plan->groups_count; g++) {
        plan->groups[g].items_first = first;
        first += plan->groups[g].items_count;
        plan->groups[g].items_count = 0;
    }
    for (size_t i = 0; i < reserve->items_count; i++) {
        struct group *group = &plan->groups[plan->group_of[i]];

        plan->order[group->items_first + group->items_count++] = i;
    }
}

static bool same_ref(struct quota_ref a, struct quota_ref b)
{
    return a.limit_id == b.limit_id && a.period_start_ms == b.period_start_ms;
}

/* Index among the group's keys; groups are done one after the other. */
static uint32_t intern_key(struct plan_of_items *plan, struct group *group, struct quota_ref ref)
{
    const int64_t name[3] = {group->tenant_id, ref.limit_id, ref.period_start_ms};
    size_t at = (size_t)hash_bytes(name, sizeof(name)) & plan->table_mask;

    for (; plan->table[at]; at = (at + 1) & plan->table_mask) {
        size_t index = plan->table[at] - 1;

        if (index >= group->keys_first && same_ref(plan->keys[index], ref))
            return (uint32_t)(index - group->keys_first);
    }
    plan->keys[plan->keys_count] = ref;
    plan->table[at] = (uint32_t)++plan->keys_count;
    return (uint32_t)group->keys_count++;
}

static void find_keys(struct plan_of_items *plan, const struct counter_reserve *reserve)
{
    size_t use = 0;

    for (size_t g = 0; g < plan->groups_count; g++) {
        struct group *group = &plan->groups[g];

        group->keys_first = plan->keys_count;
        for (size_t o = 0; o < group->items_count; o++) {
            size_t i = plan->order[group->items_first + o];
            const struct counter_reserve_item *item = &reserve->items[i];

            plan->first_use[i] = use;
            for (size_t q = 0; q < item->quotas_count; q++)
                plan->key_of[use++] = intern_key(plan, group, item->quotas[q].quota);
        }
    }
}

static bool same_terms(const struct plan_of_items *plan, const struct counter_reserve *reserve,
                       size_t i, size_t k)
{
    const struct counter_reserve_item *a = &reserve->items[i];
    const struct counter_reserve_item *b = &reserve->items[k];

    if (a->deadline_ms != b->deadline_ms || a->deferrable != b->deferrable ||
        a->quotas_count != b->quotas_count || !a->warnings != !b->warnings)
        return false;
    for (size_t q = 0; q < a->quotas_count; q++)
        if (plan->key_of[plan->first_use[i] + q] != plan->key_of[plan->first_use[k] + q] ||
            a->quotas[q].meter != b->quotas[q].meter ||
            ((a->deferrable || a->warnings) && a->softs[q] != b->softs[q]))
            return false;
    return true;
}

/* The stops of the k-th of the group's keys, or NULL. */
static const struct stops *stops_of(const struct plan_of_items *plan, const struct group *group,
                                    const struct counter_reserve *reserve, size_t k)
{
    for (size_t o = 0; o < group->items_count; o++) {
        size_t i = plan->order[group->items_first + o];
        const struct counter_reserve_item *item = &reserve->items[i];

        for (size_t q = 0; item->crossings && q < item->quotas_count; q++)
            if (item->crossings[q] && plan->key_of[plan->first_use[i] + q] == k)
                return item->crossings[q];
    }
    return NULL;
}

static bool wants_crossings(const struct plan_of_items *plan, const struct group *group,
                            const struct counter_reserve *reserve)
{
    for (size_t o = 0; o < group->items_count; o++)
        if (reserve->items[plan->order[group->items_first + o]].crossings)
            return true;
    return false;
}

/* Only the latest few are compared: the same terms twice cost some bytes and do no harm. */
static uint32_t intern_terms(struct plan_of_items *plan, struct group *group,
                             const struct counter_reserve *reserve, size_t i)
{
    const size_t *terms = plan->terms + group->terms_first;

    for (size_t t = group->terms_count; t > 0 && t + TERMS_COMPARED > group->terms_count; t--)
        if (same_terms(plan, reserve, i, terms[t - 1]))
            return (uint32_t)(t - 1);
    plan->terms[plan->terms_count++] = i;
    return (uint32_t)group->terms_count++;
}

static void find_terms(struct plan_of_items *plan, const struct counter_reserve *reserve)
{
    for (size_t g = 0; g < plan->groups_count; g++) {
        struct group *group = &plan->groups[g];

        group->terms_first = plan->terms_count;
        for (size_t o = 0; o < group->items_count; o++) {
            size_t i = plan->order[group->items_first + o];

            plan->terms_of[i] = intern_terms(plan, group, reserve, i);
        }
    }
}

static struct plan_of_items *make_plan(const struct counter_reserve *reserve)
{
    struct arena *arena = reserve->call.arena;
    struct plan_of_items *plan = arena_zalloc(arena, sizeof(*plan));
    size_t uses = 0;

    for (size_t i = 0; i < reserve->items_count; i++) {
        CHECK(reserve->items[i].quotas_count <= HOLD_QUOTAS_MAX);
        uses += reserve->items[i].quotas_count;
    }
    if (!plan || !allocate(plan, arena, reserve->items_count, uses))
        return NULL;
    sort_into_groups(plan, reserve);
    find_keys(plan, reserve);
    find_terms(plan, reserve);
    return plan;
}

static void write_warning(struct request *request, const struct hold_warning *warning_or_null)
{
    char text[HOLD_WARNING_MAX];
    bool warns = warning_or_null && warning_or_null->limit_name.len > 0;

    request_text(request, slice_of(text, warns ? hold_warning_write(warning_or_null, text) : 0));
}

static void write_terms(struct request *request, const struct counter_reserve_item *item)
{
    request_int(request, item->deadline_ms);
    request_int(request, item->deferrable);
    request_count(request, item->quotas_count);
    for (size_t q = 0; q < item->quotas_count; q++) {
        request_ref(request, item->quotas[q].quota);
        request_count(request, item->quotas[q].meter);
        request_int(request, item->deferrable || item->warnings ? item->softs[q] : 0);
        write_warning(request, item->warnings ? &item->warnings[q] : NULL);
    }
}

/* Besides their terms, which are the same. */
static bool same_amounts(const struct counter_reserve_item *a, const struct counter_reserve_item *b)
{
    for (size_t q = 0; q < a->quotas_count; q++)
        if (a->quotas[q].units != b->quotas[q].units)
            return false;
    return slice_equal(a->identity, b->identity);
}

static void write_item(struct request *request, const struct counter_reserve_item *item,
                       uint32_t terms)
{
    request_count(request, terms + 1);
    request_text(request, item->identity);
    for (size_t q = 0; q < item->quotas_count; q++)
        request_int(request, item->quotas[q].units);
}

static void write_stops(struct request *request, const struct stops *stops_or_null)
{
    char text[3 * 20 + 3];
    int len = 0;

    if (stops_or_null)
        len = snprintf(text, sizeof(text), "%" PRId64 " %" PRId64 " %" PRId64, stops_or_null->soft,
                       stops_or_null->amount, stops_or_null->cap);
    request_text(request, slice_of(text, (size_t)len));
}

static void write_head(struct request *request, const struct plan_of_items *plan,
                       const struct group *group, const struct counter_reserve *reserve)
{
    const size_t *order = plan->order + group->items_first;
    struct attempt version = {group->view->epoch, group->config_version};
    bool crossings = wants_crossings(plan, group, reserve);

    request_int(request, group->tenant_id);
    request_int(request, group->view->shard);
    request_int(request, group->view->epoch);
    request_attempt(request, version);
    request_count(request, group->keys_count);
    request_int(request, crossings ? -(int64_t)group->terms_count : (int64_t)group->terms_count);
    request_count(request, group->items_count);
    for (size_t k = 0; k < group->keys_count; k++)
        request_ref(request, plan->keys[group->keys_first + k]);
    for (size_t o = 0; o < group->items_count; o++)
        request_job(request, group->tenant_id, reserve->items[order[o]].job_id);
    for (size_t k = 0; crossings && k < group->keys_count; k++)
        write_stops(request, stops_of(plan, group, reserve, k));
}

static void write_items(struct request *request, const struct plan_of_items *plan,
                        const struct group *group, const struct counter_reserve *reserve)
{
    const size_t *order = plan->order + group->items_first;
    const size_t *terms = plan->terms + group->terms_first;

    for (size_t t = 0; t < group->terms_count; t++)
        write_terms(request, &reserve->items[terms[t]]);
    for (size_t o = 0; o < group->items_count; o++) {
        const struct counter_reserve_item *item = &reserve->items[order[o]];

        if (o > 0 && plan->terms_of[order[o - 1]] == plan->terms_of[order[o]] &&
            same_amounts(&reserve->items[order[o - 1]], item))
            request_text(request, SLICE(""));
        else
            write_item(request, item, plan->terms_of[order[o]]);
    }
}

bool write_reserve(struct request *request, struct counter_call *call)
{
    struct counter_reserve *reserve = container_of(call, struct counter_reserve, call);
    struct plan_of_items *plan = call->scratch;

    CHECK(reserve->items_count > 0 && reserve->items_count <= COUNTER_ITEMS_MAX);
    if (!plan)
        call->scratch = plan = make_plan(reserve);
    if (!plan)
        return false;
    for (size_t g = 0; g < plan->groups_count; g++)
        request_tenant_key(request, 't', plan->groups[g].tenant_id);
    request_guard(request, &call->view);
    request_views(request, call);
    request_int(request, reserve->now_ms);
    request_count(request, plan->groups_count);
    for (size_t g = 0; g < plan->groups_count; g++)
        write_head(request, plan, &plan->groups[g], reserve);
    for (size_t g = 0; g < plan->groups_count; g++)
        write_items(request, plan, &plan->groups[g], reserve);
    return true;
}

static bool cut_number(struct slice *rest, int64_t *ret)
{
    struct slice field;

    return slice_cut(rest, ':', &field) && slice_to_i64(field, ret);
}

/* "seq:n:projected:...", or a number, which nearly all are. */
static void read_admitted(struct reply *reply, int64_t epoch, struct counter_reserve_item *item)
{
    struct slice rest;
    int64_t index;

    item->attempt.epoch = epoch;
    if (reply_is_int(reply)) {
        item->attempt.seq = reply_int(reply);
        return;
    }
    rest = reply_text(reply);
    item->projected = reply_array(reply, item->quotas_count, sizeof(*item->projected));
    for (size_t q = 0; q < item->quotas_count && !reply->bad; q++)
        item->projected[q] = -1;
    reply->bad |= !cut_number(&rest, &item->attempt.seq);
    while (!reply->bad && rest.data)
        if (!cut_number(&rest, &index) || index < 1 || (size_t)index > item->quotas_count ||
            !cut_number(&rest, &item->projected[index - 1]))
            reply->bad = true;
}

/* Deadlines of a tenant's holds, as the script found them. */
struct tenant_holds {
    bool has_due;
    int64_t earliest_ms, latest_ms;
};

static void read_item(struct reply *reply, int64_t epoch, struct counter_reserve_item *item,
                      const struct tenant_holds *holds)
{
    item->answer = (enum counter_reserved)reply_code(reply, RESERVED_STALE);
    item->tenant_has_due = holds->has_due;
    item->earliest_deadline_ms = holds->earliest_ms;
    item->latest_deadline_ms = holds->latest_ms;
    item->entry = slice_of(NULL, 0);
    item->attempt = (struct attempt){0};
    item->projected = NULL;
    item->states = NULL;
    item->shortfalls = NULL;
    switch (item->answer) {
    case RESERVED_ADMITTED:
        read_admitted(reply, epoch, item);
        break;
    case RESERVED_KNOWN:
    case RESERVED_DUE:
        item->entry = reply_hold(reply);
        break;
    case RESERVED_SHORT:
        item->shortfalls = reply_array(reply, item->quotas_count, sizeof(*item->shortfalls));
        for (size_t q = 0; q < item->quotas_count && !reply->bad; q++)
            item->shortfalls[q] = reply_code(reply, 2 * SHORT_SOFT - 1);
        break;
    case RESERVED_FINAL:
    case RESERVED_STALE:
        break;
    }
}

static void give_states(struct reply *reply, const struct plan_of_items *plan,
                        const struct group *group, size_t index, struct counter_reserve_item *item)
{
    const uint32_t *key_of = plan->key_of + plan->first_use[index];

    if (item->answer == RESERVED_STALE)
        return;
    item->states = reply_array(reply, item->quotas_count, sizeof(*item->states));
    for (size_t q = 0; q < item->quotas_count && !reply->bad; q++)
        item->states[q] = plan->states[group->keys_first + key_of[q]];
}

void read_reserve(struct reply *reply, struct counter_call *call)
{
    struct counter_reserve *reserve = container_of(call, struct counter_reserve, call);
    struct plan_of_items *plan = call->scratch;

    plan->states = reply_array(reply, plan->keys_count, sizeof(*plan->states));
    for (size_t g = 0; g < plan->groups_count && !reply->bad; g++) {
        const struct group *group = &plan->groups[g];
        const size_t *order = plan->order + group->items_first;
        struct tenant_holds holds = {.has_due = reply_code(reply, 1)};

        holds.earliest_ms = reply_int(reply);
        holds.latest_ms = reply_int(reply);
        for (size_t o = 0; o < group->items_count && !reply->bad; o++)
            read_item(reply, group->view->epoch, &reserve->items[order[o]], &holds);
        for (size_t k = 0; k < group->keys_count && !reply->bad; k++)
            reply_quota(reply, &plan->states[group->keys_first + k]);
        for (size_t o = 0; o < group->items_count && !reply->bad; o++)
            give_states(reply, plan, group, order[o], &reserve->items[order[o]]);
    }
}
