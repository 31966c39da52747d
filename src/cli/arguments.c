#include "cli/arguments.h"

#include "cli/duration.h"

#include <string.h>

static error_t add_amount(struct arguments *arguments, char *arg, struct argp_state *state)
{
    if (!arguments->takes_amounts)
        return ARGP_ERR_UNKNOWN;
    if (arguments->amounts_count == ARGUMENTS_AMOUNTS_MAX)
        argp_error(state, "more than %d amounts", ARGUMENTS_AMOUNTS_MAX);
    if (!amount_argument_parse(arg, &arguments->amounts[arguments->amounts_count]))
        argp_error(state, "\"%s\" is not an amount such as tokens=1500", arg);
    arguments->amounts_count++;
    return 0;
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
        argp_error(state, "--%s: \"%s\" is not a whole number", name, arg);
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
        if (!duration_parse(arg, &arguments->ttl_us))
            argp_error(state, "--ttl: \"%s\" is not a duration such as 500ms, 30s or 15m", arg);
        return 0;
    case ARGUMENT_KEY_DEFERRABLE:
        arguments->deferrable = true;
        return 0;
    case ARGUMENT_KEY_BRIEF:
        arguments->brief = true;
        return 0;
    case ARGUMENT_KEY_BELOW:
        arguments->below = true;
        return 0;
    case ARGUMENT_KEY_NOTE:
        arguments->note = arg;
        return 0;
    case ARGUMENT_KEY_AFTER:
        parse_number("after", arg, &arguments->after_seq, state);
        return 0;
    case ARGUMENT_KEY_COUNT:
        parse_number("count", arg, &arguments->count, state);
        return 0;
    case ARGUMENT_KEY_KIND:
        add_kind(arguments, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        return add_amount(arguments, arg, state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void arguments_parse(struct cli *cli, const struct argp_option *options, const char *args_doc,
                     const char *doc, int argc, char **argv, struct arguments *ret)
{
    const struct argp_child children[] = {{&cli_argp, 0, "Every command:", -1}, {0}};
    const struct argp argp = {options, parse_option, args_doc, doc, children, NULL, NULL};
    bool takes_amounts = ret->takes_amounts;

    *ret = (struct arguments){
        .cli = cli,
        .takes_amounts = takes_amounts,
        .tenant = "",
        .scope = "",
        .job = "",
        .reservation = "",
        .meter = "",
        .note = "",
        .ttl_us = -1,
        .after_seq = -1,
    };
    argp_parse(&argp, argc, argv, 0, NULL, ret);
}

char *arguments_text(const char *text)
{
    char *writable;

    memcpy(&writable, &text, sizeof(writable));
    return writable;
}
