/*
 * Makes the server's tenants and limits like those of a file.
 *
 * Read, compare, change what differs: a second run of the same file changes nothing. An object that
 * exists is changed with the etag that was read, so a change by somebody else in between is an error
 * and not lost. Limits that the file does not name stay, unless --prune.
 */
#include "cli/admin.h"
#include "cli/arguments.h"
#include "cli/messages.h"
#include "cli/quotas_file.h"

#include <inttypes.h>
#include <string.h>

enum { KEY_PRUNE = 0x300, KEY_DRY_RUN };

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "tenants and limits in YAML (- is stdin)", 0},
    {"reason", 'm', "TEXT", 0, "why, for the audit log (default: apply FILE)", 0},
    {"prune", KEY_PRUNE, NULL, 0, "delete limits of these tenants that the file does not name", 0},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "print what would change, change nothing", 0},
    {0},
};

static const char doc[] =
    "Makes tenants and limits like those of a file. Applying it again changes nothing.\v"
    "The file:\n\n"
    "  tenants:\n"
    "    - tenant: demo\n"
    "      display_name: Demo                # optional\n"
    "      admit_unlimited_meters: false     # optional\n"
    "      suspended: false                  # optional\n"
    "      limits:\n"
    "        - limit_id: tokens-month\n"
    "          meter: tokens\n"
    "          scope: \"\"                     # optional: team-a/user-7\n"
    "          period: month                 # never minute hour day month\n"
    "          amount: 1000000               # or unlimited: true\n"
    "          soft_percent: 90              # optional, 1 to 100\n"
    "          overage_percent: 10           # optional, or overage_units: N,\n"
    "                                        # or overage_unlimited: true\n"
    "          max_ttl: 15m                  # optional\n";

struct apply {
    struct cli *cli;
    const char *path;
    const char *reason;
    bool prune;
    bool dry_run;
    int64_t created;
    int64_t updated;
    int64_t deleted;
    int64_t unchanged;
    struct stub_status status;
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct apply *apply = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = apply->cli;
        return 0;
    case 'f':
        apply->path = strcmp(arg, "-") == 0 ? "/dev/stdin" : arg;
        return 0;
    case 'm':
        apply->reason = arg;
        return 0;
    case KEY_PRUNE:
        apply->prune = true;
        return 0;
    case KEY_DRY_RUN:
        apply->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        if (!apply->path)
            argp_error(state, "--file is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Says what is done, or would be. */
static void tell(struct apply *apply, const char *verb, const char *tenant, const char *limit)
{
    if (!apply->cli->json)
        printf("%s%s %s%s%s\n", apply->dry_run ? "would be " : "", verb, tenant, limit ? " limit " : "",
               limit ? limit : "");
}

static bool same_duration(const Google__Protobuf__Duration *stored, int64_t wanted_us)
{
    if (!stored)
        return wanted_us == 0;
    return stored->seconds * 1000000 + stored->nanos / 1000 == wanted_us;
}

static bool same_bound(const Holdfast__V1__Limit *a, const Holdfast__V1__Limit *b)
{
    if (a->bound_case != b->bound_case)
        return false;
    return a->bound_case != HOLDFAST__V1__LIMIT__BOUND_UNITS || a->units == b->units;
}

/* An overage of 0 and none are the same. */
static bool no_overage(const Holdfast__V1__Limit *limit)
{
    switch (limit->overage_case) {
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS:
        return limit->overage_units == 0;
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT:
        return limit->overage_percent == 0;
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED:
        return !limit->overage_unlimited;
    default:
        return true;
    }
}

static bool same_overage(const Holdfast__V1__Limit *a, const Holdfast__V1__Limit *b)
{
    if (no_overage(a) || no_overage(b))
        return no_overage(a) && no_overage(b);
    if (a->overage_case != b->overage_case)
        return false;
    switch (a->overage_case) {
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS:
        return a->overage_units == b->overage_units;
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT:
        return a->overage_percent == b->overage_percent;
    default:
        return true;
    }
}

static int32_t soft_percent(const Holdfast__V1__Limit *limit)
{
    return limit->soft_percent ? limit->soft_percent : 90;
}

static bool same_limit(const Holdfast__V1__Limit *stored, const Holdfast__V1__Limit *wanted,
                       int64_t max_ttl_us)
{
    return strcmp(stored->scope, wanted->scope) == 0 && strcmp(stored->meter, wanted->meter) == 0 &&
           stored->period == wanted->period && same_bound(stored, wanted) &&
           soft_percent(stored) == soft_percent(wanted) && same_overage(stored, wanted) &&
           same_duration(stored->max_ttl, max_ttl_us);
}

/* The file's limit as a message; numbers outside int32 become ones that the server refuses. */
static void build_limit(const char *tenant, const struct quotas_file_limit *from,
                        Google__Protobuf__Duration *max_ttl, Holdfast__V1__Limit *ret)
{
    holdfast__v1__limit__init(ret);
    ret->limit_id = from->limit_id;
    ret->tenant = arguments_text(tenant);
    ret->scope = arguments_text(from->scope ? from->scope : "");
    ret->meter = from->meter;
    ret->period = (Holdfast__V1__Period)from->period;
    ret->soft_percent = from->soft_percent == (int32_t)from->soft_percent
                            ? (int32_t)from->soft_percent
                            : INT32_MAX;
    if (from->amount) {
        ret->bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
        ret->units = *from->amount;
    } else {
        ret->bound_case = HOLDFAST__V1__LIMIT__BOUND_UNLIMITED;
        ret->unlimited = true;
    }
    if (from->overage_percent) {
        ret->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT;
        ret->overage_percent = *from->overage_percent == (int32_t)*from->overage_percent
                                   ? (int32_t)*from->overage_percent
                                   : INT32_MAX;
    } else if (from->overage_units) {
        ret->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS;
        ret->overage_units = *from->overage_units;
    } else if (from->overage_unlimited) {
        ret->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED;
        ret->overage_unlimited = true;
    }
    if (from->max_ttl) {
        *max_ttl = duration_message(from->max_ttl_us);
        ret->max_ttl = max_ttl;
    }
}

static bool apply_limit(struct apply *apply, const char *tenant,
                        const struct quotas_file_limit *wanted, Holdfast__V1__Limit *const *stored,
                        size_t stored_count)
{
    Holdfast__V1__Limit limit;
    Google__Protobuf__Duration max_ttl;
    const Holdfast__V1__Limit *before = NULL;

    build_limit(tenant, wanted, &max_ttl, &limit);
    for (size_t i = 0; i < stored_count && !before; i++) {
        if (strcmp(stored[i]->limit_id, limit.limit_id) == 0)
            before = stored[i];
    }
    if (before && same_limit(before, &limit, wanted->max_ttl_us)) {
        apply->unchanged++;
        return true;
    }
    if (before)
        limit.etag = before->etag;
    if (!apply->dry_run &&
        !admin_put_limit(apply->cli, &limit, apply->reason, &apply->status))
        return false;
    tell(apply, before ? "updated" : "created", tenant, limit.limit_id);
    *(before ? &apply->updated : &apply->created) += 1;
    return true;
}

static bool named_in_file(const struct quotas_file_tenant *tenant, const char *limit_id)
{
    for (unsigned int i = 0; i < tenant->limits_count; i++) {
        if (strcmp(tenant->limits[i].limit_id, limit_id) == 0)
            return true;
    }
    return false;
}

static bool prune_limits(struct apply *apply, const struct quotas_file_tenant *wanted,
                         Holdfast__V1__Limit *const *stored, size_t stored_count)
{
    for (size_t i = 0; i < stored_count; i++) {
        if (named_in_file(wanted, stored[i]->limit_id))
            continue;
        if (!apply->dry_run && !admin_delete_limit(apply->cli, wanted->tenant, stored[i],
                                                   apply->reason, &apply->status))
            return false;
        tell(apply, "deleted", wanted->tenant, stored[i]->limit_id);
        apply->deleted++;
    }
    return true;
}

static bool same_tenant(const Holdfast__V1__Tenant *stored, const Holdfast__V1__Tenant *wanted)
{
    return strcmp(stored->display_name, wanted->display_name) == 0 &&
           stored->state == wanted->state &&
           stored->admit_unlimited_meters == wanted->admit_unlimited_meters;
}

/* *ret_exists: the server has the tenant, now or before, so that its limits can be listed. */
static bool apply_tenant_itself(struct apply *apply, const struct quotas_file_tenant *wanted,
                                bool *ret_exists)
{
    Holdfast__V1__Tenant tenant = HOLDFAST__V1__TENANT__INIT, *before;
    bool good = true;

    tenant.tenant = wanted->tenant;
    tenant.display_name = arguments_text(wanted->display_name ? wanted->display_name : "");
    tenant.state = wanted->suspended ? HOLDFAST__V1__TENANT_STATE__TENANT_STATE_SUSPENDED
                                     : HOLDFAST__V1__TENANT_STATE__TENANT_STATE_ACTIVE;
    tenant.admit_unlimited_meters = wanted->admit_unlimited_meters;
    if (!admin_find_tenant(apply->cli, wanted->tenant, &before, &apply->status))
        return false;
    *ret_exists = before || !apply->dry_run;
    if (before && same_tenant(before, &tenant)) {
        apply->unchanged++;
    } else {
        if (before)
            tenant.etag = before->etag;
        good = apply->dry_run || admin_put_tenant(apply->cli, &tenant, !before, apply->reason,
                                                  &apply->status);
        if (good) {
            tell(apply, before ? "updated" : "created", tenant.tenant, NULL);
            *(before ? &apply->updated : &apply->created) += 1;
        }
    }
    if (before)
        holdfast__v1__tenant__free_unpacked(before, NULL);
    return good;
}

static bool apply_tenant(struct apply *apply, const struct quotas_file_tenant *wanted)
{
    Holdfast__V1__Limit **stored = NULL;
    size_t stored_count = 0;
    bool good = true, exists;

    if (!apply_tenant_itself(apply, wanted, &exists))
        return false;
    if (exists &&
        !admin_list_limits(apply->cli, wanted->tenant, &stored, &stored_count, &apply->status))
        return false;
    for (unsigned int i = 0; i < wanted->limits_count && good; i++)
        good = apply_limit(apply, wanted->tenant, &wanted->limits[i], stored, stored_count);
    if (good && apply->prune)
        good = prune_limits(apply, wanted, stored, stored_count);
    admin_limits_free(stored, stored_count);
    return good;
}

static void print_totals(const struct apply *apply)
{
    if (apply->cli->json)
        cli_print_object(json_pack("{s:I, s:I, s:I, s:I, s:b}", "created", (json_int_t)apply->created,
                                   "updated", (json_int_t)apply->updated, "deleted",
                                   (json_int_t)apply->deleted, "unchanged",
                                   (json_int_t)apply->unchanged, "dry_run", apply->dry_run));
    else
        printf("%" PRId64 " created, %" PRId64 " updated, %" PRId64 " deleted, %" PRId64
               " unchanged%s\n",
               apply->created, apply->updated, apply->deleted, apply->unchanged,
               apply->dry_run ? " (dry run)" : "");
}

int command_apply(struct cli *cli, int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_argp, 0, "Every command:", -1}, {0}};
    const struct argp argp = {options, parse_option, NULL, doc, children, NULL, NULL};
    struct apply apply = {.cli = cli};
    char error[QUOTAS_FILE_ERROR_BYTES], reason[256];
    struct quotas_file *file;
    bool good = true;

    argp_parse(&argp, argc, argv, 0, NULL, &apply);
    file = quotas_file_load(apply.path, error);
    if (!file) {
        fprintf(stderr, "holdfast apply: %s: %s\n", apply.path, error);
        return CLI_USAGE;
    }
    if (!apply.reason) {
        snprintf(reason, sizeof(reason), "apply %s", apply.path);
        apply.reason = reason;
    }
    for (unsigned int i = 0; i < file->tenants_count && good; i++)
        good = apply_tenant(&apply, &file->tenants[i]);
    if (good)
        print_totals(&apply);
    else
        cli_fail(cli, &apply.status);
    stub_status_clear(&apply.status);
    quotas_file_destroy(file);
    return good ? CLI_OK : CLI_SERVER;
}
