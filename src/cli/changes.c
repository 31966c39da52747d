#include "cli/changes.h"

#include "base/check.h"
#include "cli/admin.h"
#include "cli/arguments.h"
#include "cli/failure.h"
#include "cli/fields.h"
#include "cli/messages.h"
#include "cli/room.h"

#include <stdlib.h>
#include <string.h>

struct stored {
    const char *name;             /* in the file */
    Holdfast__V1__Tenant *tenant; /* NULL: there is none */
    Holdfast__V1__Limit **limits; /* sorted by limit_id */
    size_t limits_count;
    Holdfast__V1__GetUsageResponse **usage; /* pages; read when first needed */
    size_t usage_count;
};

/* --- what is to be ---------------------------------------------------------------------------- */

static void wanted_tenant(const struct quotas_file_tenant *file, const Holdfast__V1__Tenant *stored,
                          Holdfast__V1__Tenant *ret)
{
    if (stored)
        *ret = *stored;
    else
        holdfast__v1__tenant__init(ret);
    ret->tenant = file->tenant;
    if (file->display_name)
        ret->display_name = file->display_name;
    if (file->suspended.given || !stored)
        ret->state = file->suspended.value ? HOLDFAST__V1__TENANT_STATE__TENANT_STATE_SUSPENDED
                                           : HOLDFAST__V1__TENANT_STATE__TENANT_STATE_ACTIVE;
    if (file->admit_unlimited_meters.given)
        ret->admit_unlimited_meters = file->admit_unlimited_meters.value;
}

static void set_bound(const struct quotas_file_limit *file, Holdfast__V1__Limit *limit)
{
    if (file->amount.given) {
        limit->bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
        limit->units = file->amount.value;
    } else if (file->unlimited.value) {
        limit->bound_case = HOLDFAST__V1__LIMIT__BOUND_UNLIMITED;
        limit->unlimited = true;
        limit->overage_case = HOLDFAST__V1__LIMIT__OVERAGE__NOT_SET; /* has no meaning any more */
    } else if (file->unlimited.given && limit->bound_case == HOLDFAST__V1__LIMIT__BOUND_UNLIMITED) {
        limit->bound_case = HOLDFAST__V1__LIMIT__BOUND__NOT_SET; /* which the server refuses */
    }
}

static void set_overage(const struct quotas_file_limit *file, Holdfast__V1__Limit *limit)
{
    if (file->overage_percent.given) {
        limit->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT;
        limit->overage_percent = (int32_t)file->overage_percent.value;
    } else if (file->overage_units.given) {
        limit->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS;
        limit->overage_units = file->overage_units.value;
    } else if (file->overage_unlimited.value) {
        limit->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED;
        limit->overage_unlimited = true;
    } else if (file->overage_unlimited.given &&
               limit->overage_case == HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED) {
        limit->overage_case = HOLDFAST__V1__LIMIT__OVERAGE__NOT_SET;
    }
}

static void set_redis_away(const struct quotas_file_limit *file, Holdfast__V1__Limit *limit)
{
    if (file->redis_away != QUOTAS_FILE_AWAY_NOT_GIVEN)
        limit->redis_away = (Holdfast__V1__RedisAway)file->redis_away;
    if (file->redis_away_units.given)
        limit->redis_away_units = file->redis_away_units.value;
    else if (limit->redis_away != HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_OPEN)
        limit->redis_away_units = 0; /* has no meaning any more */
}

static void wanted_limit(char *tenant, const struct quotas_file_limit *file, struct change *change)
{
    Holdfast__V1__Limit *limit = &change->limit;

    if (change->limit_before)
        *limit = *change->limit_before;
    else
        holdfast__v1__limit__init(limit);
    limit->tenant = tenant;
    limit->limit_id = file->limit_id;
    if (file->meter)
        limit->meter = file->meter;
    if (file->scope)
        limit->scope = file->scope;
    if (file->period != QUOTAS_FILE_PERIOD_NOT_GIVEN)
        limit->period = (Holdfast__V1__Period)file->period;
    if (file->time_zone)
        limit->time_zone = file->time_zone;
    if (file->anchor_time.given) {
        google__protobuf__timestamp__init(&change->anchor_time);
        change->anchor_time.seconds = file->anchor_time.seconds;
        change->own_anchor = true;
        limit->anchor_time = &change->anchor_time;
    }
    set_bound(file, limit);
    if (file->soft_percent.given)
        limit->soft_percent = (int32_t)file->soft_percent.value;
    set_overage(file, limit);
    set_redis_away(file, limit);
    if (file->reserved_crossings.given)
        limit->reserved_crossings = file->reserved_crossings.value;
    if (file->max_ttl.given) {
        change->max_ttl = duration_message(file->max_ttl.us);
        change->own_max_ttl = file->max_ttl.us != 0;
        limit->max_ttl = change->own_max_ttl ? &change->max_ttl : NULL;
    }
}

/* --- what is ---------------------------------------------------------------------------------- */

static int compare_limits(const void *a, const void *b)
{
    const Holdfast__V1__Limit *const *left = a, *const *right = b;

    return strcmp((*left)->limit_id, (*right)->limit_id);
}

static bool read_stored(struct cli *cli, const char *tenant, struct stored *ret,
                        struct stub_status *ret_status)
{
    if (!admin_find_tenant(cli, tenant, &ret->tenant, ret_status))
        return false;
    if (!ret->tenant)
        return true;
    if (!admin_list_limits(cli, tenant, &ret->limits, &ret->limits_count, ret_status))
        return false;
    if (ret->limits_count)
        qsort(ret->limits, ret->limits_count, sizeof(*ret->limits), compare_limits);
    return true;
}

static const Holdfast__V1__Limit *find_stored(const struct stored *stored, char *limit_id)
{
    const Holdfast__V1__Limit key = {.limit_id = limit_id}, *pointer = &key;
    Holdfast__V1__Limit **found = stored->limits_count
                                      ? bsearch(&pointer, stored->limits, stored->limits_count,
                                                sizeof(*stored->limits), compare_limits)
                                      : NULL;

    return found ? *found : NULL;
}

/* --- use -------------------------------------------------------------------------------------- */

static bool is_lower(const Holdfast__V1__Limit *before, const Holdfast__V1__Limit *after)
{
    return after->bound_case == HOLDFAST__V1__LIMIT__BOUND_UNITS &&
           (before->bound_case != HOLDFAST__V1__LIMIT__BOUND_UNITS || after->units < before->units);
}

/* NULL: less than the new amount is in use. A page that was read stays until changes_destroy. */
static const Holdfast__V1__QuotaState *use_above(const struct stored *stored,
                                                 const Holdfast__V1__Limit *limit)
{
    for (size_t p = 0; p < stored->usage_count; p++) {
        for (size_t i = 0; i < stored->usage[p]->n_quotas; i++) {
            const Holdfast__V1__QuotaState *quota = stored->usage[p]->quotas[i];

            if (strcmp(quota->limit_id, limit->limit_id) == 0)
                return quota->committed + quota->debt + quota->held > limit->units ? quota : NULL;
        }
    }
    return NULL;
}

static bool look_at_use(struct cli *cli, struct stored *stored, struct change *change,
                        struct stub_status *ret_status)
{
    if (!is_lower(change->limit_before, &change->limit))
        return true;
    if (stored->usage_count == 0 &&
        !admin_usage(cli, stored->tenant->tenant, &stored->usage, &stored->usage_count, ret_status))
        return false;
    change->in_use = use_above(stored, &change->limit);
    return true;
}

/* --- the list --------------------------------------------------------------------------------- */

static void add_change(struct changes *changes, const struct change *change)
{
    changes->list = reallocarray(changes->list, changes->count + 1, sizeof(*changes->list));
    CHECK(changes->list);
    changes->list[changes->count++] = *change;
}

static void add_tenant(struct changes *changes, const struct quotas_file_tenant *file,
                       const struct stored *stored)
{
    struct change change = {
        .kind = stored->tenant ? CHANGE_UPDATE_TENANT : CHANGE_CREATE_TENANT,
        .line = file->line,
        .tenant_before = stored->tenant,
    };
    struct fields before, after;

    wanted_tenant(file, stored->tenant, &change.tenant);
    if (stored->tenant) {
        fields_of_tenant(stored->tenant, &before);
        fields_of_tenant(&change.tenant, &after);
    }
    if (stored->tenant && fields_equal(&before, &after))
        changes->unchanged++;
    else
        add_change(changes, &change);
}

static bool add_limit(struct cli *cli, struct changes *changes,
                      const struct quotas_file_tenant *tenant, const struct quotas_file_limit *file,
                      struct stored *stored, struct stub_status *ret_status)
{
    struct change change = {
        .kind = CHANGE_CREATE_LIMIT,
        .line = file->line,
        .tenant_is_new = !stored->tenant,
        .limit_before = find_stored(stored, file->limit_id),
    };
    struct fields before, after;

    change.tenant.tenant = tenant->tenant;
    wanted_limit(tenant->tenant, file, &change);
    if (!change.limit_before)
        change.limit.etag = arguments_text("0"); /* somebody may add it before us */
    if (change.limit_before) {
        change.kind = CHANGE_UPDATE_LIMIT;
        fields_of_limit(change.limit_before, &before);
        fields_of_limit(&change.limit, &after);
        if (fields_equal(&before, &after)) {
            changes->unchanged++;
            return true;
        }
        if (!look_at_use(cli, stored, &change, ret_status))
            return false;
    }
    add_change(changes, &change);
    return true;
}

/* To be called again wherever the change is moved. */
static void set_own_messages(struct change *change)
{
    if (change->own_anchor)
        change->limit.anchor_time = &change->anchor_time;
    if (change->own_max_ttl)
        change->limit.max_ttl = &change->max_ttl;
}

static int compare_names(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

static void add_deletes(struct changes *changes, const struct quotas_file_tenant *tenant,
                        const struct stored *stored)
{
    const struct quotas_file_limit *limits = tenant->limits.items;
    const char **names = calloc(tenant->limits.count + 1, sizeof(*names));

    CHECK(names);
    for (size_t i = 0; i < tenant->limits.count; i++)
        names[i] = limits[i].limit_id;
    qsort((void *)names, tenant->limits.count, sizeof(*names), compare_names);
    for (size_t i = 0; i < stored->limits_count; i++) {
        struct change change = {.kind = CHANGE_DELETE_LIMIT, .line = tenant->line};

        if (bsearch(&stored->limits[i]->limit_id, (const void *)names, tenant->limits.count,
                    sizeof(*names), compare_names))
            continue;
        change.tenant.tenant = tenant->tenant;
        change.limit = *stored->limits[i];
        change.limit_before = stored->limits[i];
        add_change(changes, &change);
    }
    free((void *)names);
}

bool changes_find(struct cli *cli, const struct quotas_file *file, bool prune, struct changes *ret,
                  struct stub_status *ret_status)
{
    const struct quotas_file_tenant *tenants = file->tenants.items;

    *ret = (struct changes){.stored = calloc(file->tenants.count + 1, sizeof(*ret->stored))};
    CHECK(ret->stored);
    for (size_t t = 0; t < file->tenants.count; t++) {
        const struct quotas_file_limit *limits = tenants[t].limits.items;
        struct stored *stored = &ret->stored[ret->stored_count++];

        ret->reading = &tenants[t];
        stored->name = tenants[t].tenant;
        if (!read_stored(cli, tenants[t].tenant, stored, ret_status))
            return false;
        add_tenant(ret, &tenants[t], stored);
        for (size_t i = 0; i < tenants[t].limits.count; i++)
            if (!add_limit(cli, ret, &tenants[t], &limits[i], stored, ret_status))
                return false;
        if (prune && tenants[t].limits.given)
            add_deletes(ret, &tenants[t], stored);
    }
    /* Only now do they stand still. */
    for (size_t i = 0; i < ret->count; i++)
        set_own_messages(&ret->list[i]);
    return true;
}

/* The changes of one tenant. */
struct slot {
    const struct stored *stored;
    struct change *changes;
    size_t count;
};

/* Deletes stand in the order of what is stored, so *at, which begins with 0, only moves on. */
static bool is_deleted(const struct slot *slot, const Holdfast__V1__Limit *limit, size_t *at)
{
    while (*at < slot->count && slot->changes[*at].kind != CHANGE_DELETE_LIMIT)
        ++*at;
    if (*at == slot->count || slot->changes[*at].limit_before != limit)
        return false;
    ++*at;
    return true;
}

/* What is there, then what is added; without what is deleted if so asked. */
static bool fits(const struct slot *slot, bool deletes_first, const struct room_bounds *bounds,
                 struct room_refusal *ret)
{
    const struct stored *stored = slot->stored;
    struct room_limit *limits = calloc(stored->limits_count + slot->count + 1, sizeof(*limits));
    size_t count = 0, there, at = 0;
    bool good;

    CHECK(limits);
    for (size_t i = 0; i < stored->limits_count; i++)
        if (!deletes_first || !is_deleted(slot, stored->limits[i], &at))
            limits[count++] = (struct room_limit){.scope = stored->limits[i]->scope,
                                                  .meter = stored->limits[i]->meter};
    there = count;
    for (size_t i = 0; i < slot->count; i++) {
        const struct change *change = &slot->changes[i];

        if (change->kind == CHANGE_CREATE_LIMIT)
            limits[count++] = (struct room_limit){change->limit.limit_id, change->limit.scope,
                                                  change->limit.meter, change->line};
    }
    good = count == there || room_check(limits, count, bounds, ret);
    free(limits);
    return good;
}

/* The tenant's own change stays in front; all others keep their order. */
static void delete_first(struct slot *slot)
{
    struct change *sorted = calloc(slot->count + 1, sizeof(*sorted));
    size_t count = 0;

    CHECK(sorted);
    for (int turn = 0; turn < 3; turn++)
        for (size_t i = 0; i < slot->count; i++) {
            const struct change *change = &slot->changes[i];
            bool own = change->kind == CHANGE_UPDATE_TENANT,
                 deletes = change->kind == CHANGE_DELETE_LIMIT;

            if (turn != (own ? 0 : deletes ? 1 : 2))
                continue;
            sorted[count] = *change;
            sorted[count++].after_deletes = change->kind == CHANGE_CREATE_LIMIT;
        }
    for (size_t i = 0; i < count; i++) {
        slot->changes[i] = sorted[i];
        set_own_messages(&slot->changes[i]);
    }
    free(sorted);
}

/* From change *at on, which is moved past them. */
static struct slot slot_of(struct changes *changes, const struct stored *stored, size_t *at)
{
    struct slot slot = {.stored = stored, .changes = changes->list + *at};

    while (*at < changes->count && strcmp(changes->list[*at].tenant.tenant, stored->name) == 0) {
        slot.count++;
        ++*at;
    }
    return slot;
}

bool changes_fit(struct cli *cli, struct changes *changes, const char *path, bool *ret_fit,
                 struct stub_status *ret_status)
{
    struct room_bounds bounds;
    size_t at = 0;

    *ret_fit = true;
    if (!admin_bounds(cli, &bounds, ret_status))
        return false;
    for (size_t t = 0; t < changes->stored_count; t++) {
        struct slot slot = slot_of(changes, &changes->stored[t], &at);
        struct room_refusal refusal;

        if (fits(&slot, false, &bounds, &refusal))
            continue;
        if (fits(&slot, true, &bounds, &refusal)) {
            delete_first(&slot);
            continue;
        }
        fprintf(
            stderr,
            "holdfast apply: %s, line %d: tenant %s, limit %s is not created: there is no room, %s\n",
            path, refusal.limit.line, changes->stored[t].name, refusal.limit.limit_id,
            refusal.text);
        *ret_fit = false;
    }
    return true;
}

void changes_destroy(struct changes *changes)
{
    for (size_t i = 0; i < changes->stored_count; i++) {
        struct stored *stored = &changes->stored[i];

        if (stored->tenant)
            holdfast__v1__tenant__free_unpacked(stored->tenant, NULL);
        admin_limits_free(stored->limits, stored->limits_count);
        admin_usage_free(stored->usage, stored->usage_count);
    }
    free(changes->stored);
    free(changes->list);
    *changes = (struct changes){0};
}

/*
 * A limit of a tenant that is not there yet, and one for which others are to go first, can be checked only
 * as far as its own fields go.
 */
static bool is_expected(const struct change *change, const struct stub_status *status)
{
    struct failure failure;
    bool expected;

    failure_read(status, &failure);
    expected = (change->tenant_is_new && strcmp(failure.reason, "UNKNOWN_TENANT") == 0) ||
               (change->after_deletes && strcmp(failure.reason, "LIMITS_FULL") == 0);
    failure_done(&failure);
    return expected;
}

bool change_make(struct cli *cli, struct change *change, bool validate_only, const char *reason,
                 struct stub_status *ret_status)
{
    const struct admin_change how = {.reason = reason, .validate_only = validate_only};
    bool good = false;

    switch (change->kind) {
    case CHANGE_CREATE_TENANT:
    case CHANGE_UPDATE_TENANT:
        return admin_put_tenant(cli, &change->tenant, change->kind == CHANGE_CREATE_TENANT, &how,
                                ret_status);
    case CHANGE_CREATE_LIMIT:
    case CHANGE_UPDATE_LIMIT:
        good = admin_put_limit(cli, &change->limit, &how, ret_status);
        break;
    case CHANGE_DELETE_LIMIT:
        return admin_delete_limit(cli, change->tenant.tenant, change->limit_before, &how,
                                  ret_status);
    }
    if (!good && validate_only && is_expected(change, ret_status)) {
        stub_status_clear(ret_status);
        good = true;
    }
    return good;
}
