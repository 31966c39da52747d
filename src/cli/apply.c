/*
 * Makes the server's tenants and limits like those of a file.
 *
 *   read      the file, then what the server has of its tenants
 *   compare   what differs becomes a list of changes (cli/changes.h)
 *   check     the server is asked for the bounds of all of them together, then about each of them; all
 *             that is refused is told, and nothing is changed unless all are good
 *   change    one after the other, each with the etag that was read: a change by somebody else in
 *             between is an error and not lost
 *
 * A signal is obeyed between two changes, and what was done until then is told. An apply that was cut
 * short is finished by the next one: what is done does not differ any more.
 */
#include "cli/arguments.h"
#include "cli/changes.h"
#include "cli/failure.h"
#include "cli/fields.h"
#include "cli/quotas_file.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

enum { KEY_PRUNE = 0x300, KEY_DRY_RUN };

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "tenants and limits in YAML (- is stdin)", 0},
    {"reason", 'm', "TEXT", 0, "why, for the audit log (default: apply FILE)", 0},
    {"prune", KEY_PRUNE, NULL, 0,
     "delete limits that the file does not name, in tenants whose limits it gives", 0},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "have the server check it and print what would change", 0},
    {0},
};

static const char doc[] =
    "Makes tenants and limits like those of a file. Applying it again changes nothing, and what the "
    "file does not say stays as it is. Nothing is changed unless the server accepts all of it.\v"
    "The file; only the two names are needed of what is there already:\n\n"
    "  tenants:\n"
    "    - tenant: demo\n"
    "      display_name: Demo\n"
    "      admit_unlimited_meters: false     # true or false, nothing else\n"
    "      suspended: false\n"
    "      limits:\n"
    "        - limit_id: tokens-month\n"
    "          meter: tokens\n"
    "          scope: team-a/user-7          # left out: the whole tenant\n"
    "          period: month                 # never minute hour day week month year\n"
    "          time_zone: Europe/Berlin      # left out: UTC\n"
    "          anchor_time: 2026-01-31T08:00:00Z # left out: 00:00 of the first day\n"
    "          amount: 1000000               # digits alone; or unlimited: true\n"
    "          soft_percent: 90              # 1 to 100\n"
    "          overage_percent: 10           # or overage_units: N,\n"
    "                                        # or overage_unlimited: true\n"
    "          max_ttl: 15m                  # or none\n"
    "          redis_away: postgres          # closed; or open, with redis_away_units: N\n"
    "          reserved_crossings: false     # true: events also for use with what is held\n\n"
    "  holdfast apply -f quotas.yaml --dry-run\n"
    "  holdfast apply -f quotas.yaml -m \"ticket 4711\"";

struct apply {
    struct cli *cli;
    const char *path;
    const char *reason;
    bool prune;
    bool dry_run;
    struct changes changes;
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
        apply->path = arg;
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

/* --- what is told ----------------------------------------------------------------------------- */

static const char *verb_of(const struct change *change)
{
    switch (change->kind) {
    case CHANGE_CREATE_TENANT:
    case CHANGE_CREATE_LIMIT:
        return "created";
    case CHANGE_UPDATE_TENANT:
    case CHANGE_UPDATE_LIMIT:
        return "updated";
    case CHANGE_DELETE_LIMIT:
        return "deleted";
    }
    UNREACHABLE();
}

/* NULL if the change is one of the tenant itself. */
static const char *limit_of(const struct change *change)
{
    return change->kind == CHANGE_CREATE_TENANT || change->kind == CHANGE_UPDATE_TENANT
               ? NULL
               : change->limit.limit_id;
}

/* *ret_before is set if there is a before. */
static bool fields_of(const struct change *change, struct fields *ret_before, struct fields *ret)
{
    if (!limit_of(change)) {
        fields_of_tenant(&change->tenant, ret);
        if (change->tenant_before)
            fields_of_tenant(change->tenant_before, ret_before);
        return change->tenant_before;
    }
    fields_of_limit(&change->limit, ret);
    if (change->limit_before)
        fields_of_limit(change->limit_before, ret_before);
    return change->limit_before && change->kind != CHANGE_DELETE_LIMIT;
}

static void tell_json(const struct change *change, const struct fields *before,
                      const struct fields *after)
{
    json_t *object = json_pack("{s:s, s:s, s:o}", "change", verb_of(change), "tenant",
                               change->tenant.tenant, "fields", fields_json(before, after));

    if (limit_of(change))
        json_object_set_new(object, "limit_id", json_string(limit_of(change)));
    if (change->in_use)
        json_object_set_new(object, "in_use",
                            json_pack("{s:I, s:I, s:I}", "committed",
                                      (json_int_t)change->in_use->committed, "debt",
                                      (json_int_t)change->in_use->debt, "held",
                                      (json_int_t)change->in_use->held));
    cli_print_object(object);
}

/* What is done, or would be. */
static void tell(const struct apply *apply, const struct change *change)
{
    struct fields before, after;
    bool has_before = fields_of(change, &before, &after);
    const char *limit = limit_of(change);

    if (apply->cli->json) {
        tell_json(change, has_before ? &before : NULL, &after);
        return;
    }
    printf("%s%s %s%s%s: ", apply->dry_run ? "would be " : "", verb_of(change),
           change->tenant.tenant, limit ? " limit " : "", limit ? limit : "");
    fields_print(stdout, has_before ? &before : NULL, &after);
    putchar('\n');
    if (change->in_use)
        printf("  in use now, above the new amount: %" PRId64 " committed, %" PRId64
               " debt, %" PRId64 " held\n",
               change->in_use->committed, change->in_use->debt, change->in_use->held);
    fflush(stdout); /* whatever becomes of us, what is done has been told */
}

static void tell_totals(const struct apply *apply)
{
    json_int_t created = 0, updated = 0, deleted = 0,
               unchanged = (json_int_t)apply->changes.unchanged;

    for (size_t i = 0; i < apply->changes.count; i++) {
        const char *verb = verb_of(&apply->changes.list[i]);

        created += strcmp(verb, "created") == 0;
        updated += strcmp(verb, "updated") == 0;
        deleted += strcmp(verb, "deleted") == 0;
    }
    if (apply->cli->json)
        cli_print_object(json_pack("{s:I, s:I, s:I, s:I, s:b}", "created", created, "updated",
                                   updated, "deleted", deleted, "unchanged", unchanged, "dry_run",
                                   apply->dry_run));
    else
        printf("%lld created, %lld updated, %lld deleted, %lld unchanged%s\n", created, updated,
               deleted, unchanged, apply->dry_run ? " (dry run)" : "");
}

/* Which change the error that follows is about. */
static void tell_refused(const struct apply *apply, const struct change *change, enum cli_call call)
{
    const char *limit = limit_of(change);

    fprintf(stderr, "holdfast apply: %s, line %d: tenant %s%s%s is not %s:\n", apply->path,
            change->line, change->tenant.tenant, limit ? ", limit " : "", limit ? limit : "",
            verb_of(change));
    cli_fail(apply->cli, call, &apply->status);
}

/* --- the steps -------------------------------------------------------------------------------- */

/* All that is refused is told, but a server that does not answer is not asked again and again. */
static int check_all(struct apply *apply)
{
    size_t refused = 0;

    for (size_t i = 0; i < apply->changes.count; i++) {
        struct change *change = &apply->changes.list[i];
        struct failure failure;
        bool away;

        if (change_make(apply->cli, change, true, apply->reason, &apply->status))
            continue;
        refused++;
        tell_refused(apply, change, CLI_CALL_READS); /* it was a trial */
        failure_read(&apply->status, &failure);
        away = failure_is_transient(&failure);
        failure_done(&failure);
        if (away)
            break;
    }
    if (refused)
        fprintf(stderr, "holdfast apply: nothing was changed\n");
    return refused ? CLI_SERVER : CLI_OK;
}

/* What no answer about one change alone tells. */
static int check_room(struct apply *apply)
{
    bool fit;

    if (!changes_fit(apply->cli, &apply->changes, apply->path, &fit, &apply->status))
        return cli_fail(apply->cli, CLI_CALL_READS, &apply->status);
    if (!fit)
        fprintf(stderr, "holdfast apply: nothing was changed\n");
    return fit ? CLI_OK : CLI_SERVER;
}

/* What the server has of a tenant cannot be read. */
static int tell_unread(struct apply *apply)
{
    const struct quotas_file_tenant *tenant = apply->changes.reading;

    fprintf(stderr,
            "holdfast apply: %s, line %d: what the server has of tenant %.64s cannot be read:\n",
            apply->path, tenant->line, tenant->tenant);
    return cli_fail(apply->cli, CLI_CALL_READS, &apply->status);
}

static volatile sig_atomic_t stop_signal; /* 0: none has come */

static void note_signal(int number)
{
    stop_signal = number;
}

/* From now on the first of these signals waits for the change under way; a second one does not. */
static void hold_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND}, before;

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
}

static void tell_cut_short(const struct apply *apply, size_t done, const char *why)
{
    fprintf(stderr,
            "holdfast apply: %s%zu of %zu changes were made before that; apply the file again to "
            "make the rest\n",
            why, done, apply->changes.count);
}

static int change_all(struct apply *apply)
{
    hold_signals();
    for (size_t i = 0; i < apply->changes.count; i++) {
        struct change *change = &apply->changes.list[i];

        if (stop_signal) {
            tell_cut_short(apply, i, "interrupted: ");
            (void)signal(stop_signal, SIG_DFL);
            (void)raise(stop_signal);
            return CLI_SERVER; /* it is blocked */
        }
        if (!apply->dry_run &&
            !change_make(apply->cli, change, false, apply->reason, &apply->status)) {
            tell_refused(apply, change, CLI_CALL_CHANGES);
            tell_cut_short(apply, i, "");
            return CLI_SERVER;
        }
        tell(apply, change);
    }
    tell_totals(apply);
    return CLI_OK;
}

int command_apply(struct cli *cli, int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_argp, 0, "Every command:", -1}, {0}};
    const struct argp argp = {options, parse_option, NULL, doc, children, NULL, NULL};
    struct apply apply = {.cli = cli};
    char error[QUOTAS_FILE_ERROR_BYTES], reason[256];
    struct quotas_file *file;
    int result;

    cli_parse(&argp, argc, argv, 0, &apply);
    file = quotas_file_load(apply.path, error);
    if (strcmp(apply.path, "-") == 0)
        apply.path = "stdin"; /* which it is called from now on */
    if (!file) {
        fprintf(stderr, "holdfast apply: %s: %s\n", apply.path, error);
        return CLI_USAGE;
    }
    if (!apply.reason) {
        snprintf(reason, sizeof(reason), "apply %s", apply.path);
        apply.reason = reason;
    }
    if (changes_find(cli, file, apply.prune, &apply.changes, &apply.status))
        result = check_room(&apply);
    else
        result = tell_unread(&apply);
    if (result == CLI_OK)
        result = check_all(&apply);
    if (result == CLI_OK)
        result = change_all(&apply);
    stub_status_clear(&apply.status);
    changes_destroy(&apply.changes);
    quotas_file_destroy(file);
    return result;
}
