#include "cli/arguments.h"

#include "cli/duration.h"

#include <inttypes.h>
#include <string.h>

static error_t add_amount(struct arguments *arguments, char *arg, struct argp_state *state)
{
    struct amount_argument *amount;

    if (!arguments->takes_amounts)
        return ARGP_ERR_UNKNOWN;
    if (arguments->amounts_count == ARGUMENTS_AMOUNTS_MAX)
        argp_error(state, "more than %d amounts", ARGUMENTS_AMOUNTS_MAX);
    amount = &arguments->amounts[arguments->amounts_count];
    if (!amount_argument_parse(arg, amount))
        argp_error(state,
                   "\"%s\" is not an amount such as tokens=1500%s: METER=UNITS, in digits alone",
                   arg, arguments->takes_policies ? " or tokens=1500:cap" : "");
    else if (amount->policy != AMOUNT_POLICY_DEFAULT && !arguments->takes_policies)
        argp_error(state, "an amount has no policy here; write %s=%" PRId64, amount->meter,
                   amount->units);
    arguments->amounts_count++;
    return 0;
}

static void check_needs(const struct arguments *arguments, struct argp_state *state)
{
    switch (arguments->needs) {
    case ARGUMENTS_NEED_NOTHING:
        if (arguments->dry_run && !arguments->repair)
            argp_error(state, "--dry-run goes with --repair");
        if (arguments->accept && (arguments->repair || arguments->dry_run))
            argp_error(state, "--accept goes with neither --repair nor --dry-run");
        if (arguments->accept && !*arguments->tenant)
            argp_error(state, "--accept needs --tenant");
        return;
    case ARGUMENTS_NEED_TENANT:
        if (!*arguments->tenant)
            argp_error(state, "--tenant is needed");
        return;
    case ARGUMENTS_NEED_AMOUNTS:
        if (!*arguments->tenant)
            argp_error(state, "--tenant is needed");
        if (arguments->amounts_count == 0)
            argp_error(state, "an amount is needed, such as tokens=1500");
        return;
    case ARGUMENTS_NEED_ID_AMOUNTS:
        if (!*arguments->id)
            argp_error(state, "--id is needed: with it a repeat changes nothing");
        __attribute__((fallthrough));
    case ARGUMENTS_NEED_JOB_AMOUNTS:
        if (!*arguments->tenant || !*arguments->job)
            argp_error(state, "--tenant and --job are needed");
        if (arguments->amounts_count == 0)
            argp_error(state, "an amount is needed, such as tokens=1500");
        return;
    case ARGUMENTS_NEED_JOB:
        if (!*arguments->reservation && (!*arguments->tenant || !*arguments->job))
            argp_error(state, "--reservation is needed, or --tenant and --job");
        return;
    }
    UNREACHABLE();
}

static void add_kind(struct arguments *arguments, const char *arg, struct argp_state *state)
{
    if (arguments->kinds_count == ARGUMENTS_LIST_MAX)
        argp_error(state, "more than %d kinds", ARGUMENTS_LIST_MAX);
    arguments->kinds[arguments->kinds_count++] = arg;
}

static void parse_number(const char *name, const char *arg, int64_t *ret, struct argp_state *state)
{
    if (!amount_parse(arg, ret) || *ret < 0)
        argp_error(state, "--%s: \"%s\" is not a whole number from 0 on", name, arg);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = arguments->cli;
        return 0;
    case 't':
        arguments->tenant = arg;
        return 0;
    case 's':
        arguments->scope = arg;
        return 0;
    case 'j':
        arguments->job = arg;
        return 0;
    case 'r':
        arguments->reservation = arg;
        return 0;
    case 'm':
        arguments->meter = arg;
        return 0;
    case 'l':
        duration_option(state, "ttl", arg, &arguments->ttl_us);
        return 0;
    case ARGUMENT_KEY_DEFERRABLE:
        arguments->deferrable = true;
        return 0;
    case ARGUMENT_KEY_BRIEF:
        arguments->brief = true;
        return 0;
    case ARGUMENT_KEY_ACCEPT:
        arguments->accept = true;
        return 0;
    case ARGUMENT_KEY_BELOW:
        arguments->below = true;
        return 0;
    case ARGUMENT_KEY_REPAIR:
        arguments->repair = true;
        return 0;
    case ARGUMENT_KEY_DRY_RUN:
        arguments->dry_run = true;
        return 0;
    case ARGUMENT_KEY_NOTE:
        arguments->note = arg;
        return 0;
    case ARGUMENT_KEY_ID:
        arguments->id = arg;
        return 0;
    case ARGUMENT_KEY_REASON:
        arguments->reason = arg;
        return 0;
    case ARGUMENT_KEY_RECEIPT:
        arguments->receipt = arg;
        return 0;
    case ARGUMENT_KEY_AFTER:
        parse_number("after", arg, &arguments->after_seq, state);
        return 0;
    case ARGUMENT_KEY_COUNT:
        parse_number("count", arg, &arguments->count, state);
        if (arguments->count == 0)
            argp_error(state, "--count: it must be at least 1; without it there is no end");
        return 0;
    case ARGUMENT_KEY_KIND:
        add_kind(arguments, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        return add_amount(arguments, arg, state);
    case ARGP_KEY_END:
        check_needs(arguments, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void arguments_parse(struct cli *cli, const struct argp_option *options, const char *args_doc,
                     const char *doc, int argc, char **argv, struct arguments *ret)
{
    const struct argp_child children[] = {{&cli_argp, 0, "Every command:", -1}, {0}};
    const struct argp argp = {options, parse_option, args_doc, doc, children, NULL, NULL};
    const struct arguments command = *ret;

    *ret = (struct arguments){
        .cli = cli,
        .takes_amounts = command.takes_amounts,
        .takes_policies = command.takes_policies,
        .needs = command.needs,
        .tenant = "",
        .scope = "",
        .job = "",
        .id = "",
        .reason = "",
        .reservation = "",
        .receipt = "",
        .meter = "",
        .note = "",
        .ttl_us = -1,
        .after_seq = -1,
    };
    cli_parse(&argp, argc, argv, 0, ret);
}

char *arguments_text(const char *text)
{
    char *writable;

    memcpy(&writable, &text, sizeof(writable));
    return writable;
}
