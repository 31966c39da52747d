/*
 * Options and amounts of the commands that make one call. Each command lists the options that it
 * takes; the parser is one for all.
 *
 * A wrong command line prints what is wrong and exits with CLI_USAGE, as argp does.
 */
#ifndef HOLDFAST_CLI_ARGUMENTS_H
#define HOLDFAST_CLI_ARGUMENTS_H

#include "cli/amounts.h"
#include "cli/cli.h"

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than the server takes, so that its answer to too many can be seen. */
#define ARGUMENTS_AMOUNTS_MAX 64
#define ARGUMENTS_LIST_MAX 64

enum arguments_key {
    ARGUMENT_KEY_BRIEF = 0x200,
    ARGUMENT_KEY_DEFERRABLE,
    ARGUMENT_KEY_NOTE,
    ARGUMENT_KEY_BELOW,
    ARGUMENT_KEY_AFTER,
    ARGUMENT_KEY_COUNT,
    ARGUMENT_KEY_KIND,
    ARGUMENT_KEY_RECEIPT,
    ARGUMENT_KEY_REPAIR,
    ARGUMENT_KEY_DRY_RUN,
    ARGUMENT_KEY_ACCEPT,
    ARGUMENT_KEY_ID,
    ARGUMENT_KEY_REASON,
};

/* Lines for a command's table of options; it ends with {0}. */
#define ARGUMENT_TENANT                                                                            \
    {                                                                                              \
        "tenant", 't', "NAME", 0, "whose quota", 0                                                 \
    }
#define ARGUMENT_SCOPE                                                                             \
    {                                                                                              \
        "scope", 's', "PATH", 0, "path below the tenant, team-a/user-7", 0                         \
    }
#define ARGUMENT_JOB                                                                               \
    {                                                                                              \
        "job", 'j', "ID", 0, "idempotency key of the job", 0                                       \
    }
#define ARGUMENT_RESERVATION                                                                       \
    {                                                                                              \
        "reservation", 'r', "TOKEN", 0, "reservation_id from reserve or extend", 0                 \
    }
#define ARGUMENT_RECEIPT                                                                           \
    {                                                                                              \
        "receipt", ARGUMENT_KEY_RECEIPT, "TEXT", 0, "receipt from commit", 0                       \
    }
#define ARGUMENT_REPAIR                                                                            \
    {                                                                                              \
        "repair", ARGUMENT_KEY_REPAIR, NULL, 0,                                                    \
            "put right what differs, where it is proven which account is right", 0                 \
    }
#define ARGUMENT_DRY_RUN                                                                           \
    {                                                                                              \
        "dry-run", ARGUMENT_KEY_DRY_RUN, NULL, 0, "with --repair: only say what would be done", 0  \
    }
#define ARGUMENT_ACCEPT                                                                            \
    {                                                                                              \
        "accept", ARGUMENT_KEY_ACCEPT, NULL, 0,                                                    \
            "accept what the database has lost of the tenant, which is read-only until then", 0    \
    }
#define ARGUMENT_ID                                                                                \
    {                                                                                              \
        "id", ARGUMENT_KEY_ID, "ID", 0, "idempotency key of the correction", 0                     \
    }
#define ARGUMENT_REASON                                                                            \
    {                                                                                              \
        "reason", ARGUMENT_KEY_REASON, "TEXT", 0, "why, kept with the correction", 0               \
    }
#define ARGUMENT_METER                                                                             \
    {                                                                                              \
        "meter", 'm', "NAME", 0, "only this meter", 0                                              \
    }
#define ARGUMENT_TTL                                                                               \
    {                                                                                              \
        "ttl", 'l', "DURATION", 0, "life of the hold from now, 100ms to 24h (default: 60s)", 0     \
    }
#define ARGUMENT_DEFERRABLE                                                                        \
    {                                                                                              \
        "deferrable", ARGUMENT_KEY_DEFERRABLE, NULL, 0, "refuse above the soft stop: it can wait", \
            0                                                                                      \
    }
#define ARGUMENT_BRIEF                                                                             \
    {                                                                                              \
        "brief", ARGUMENT_KEY_BRIEF, NULL, 0, "without the state of the quotas", 0                 \
    }
#define ARGUMENT_NOTE                                                                              \
    {                                                                                              \
        "note", ARGUMENT_KEY_NOTE, "TEXT", 0, "a note for the server's log", 0                     \
    }
#define ARGUMENT_BELOW                                                                             \
    {                                                                                              \
        "below", ARGUMENT_KEY_BELOW, NULL, 0, "also the scopes below", 0                           \
    }

/* What a command cannot do without. */
enum arguments_needs {
    ARGUMENTS_NEED_NOTHING,
    ARGUMENTS_NEED_TENANT,      /* --tenant */
    ARGUMENTS_NEED_AMOUNTS,     /* --tenant and an amount */
    ARGUMENTS_NEED_JOB,         /* --reservation, or --tenant and --job */
    ARGUMENTS_NEED_JOB_AMOUNTS, /* --tenant, --job and an amount */
    ARGUMENTS_NEED_ID_AMOUNTS,  /* --id beside these */
};

struct arguments {
    struct cli *cli;
    bool takes_amounts; /* these three are set by the command before parsing */
    bool takes_policies;
    enum arguments_needs needs;
    const char *tenant; /* the texts are "" if not given, as the messages want it */
    const char *scope;
    const char *job;
    const char *id;
    const char *reason;
    const char *reservation;
    const char *receipt;
    const char *meter;
    const char *note;
    int64_t ttl_us; /* -1: not given */
    bool deferrable;
    bool brief;
    bool below;
    bool repair, dry_run;
    bool accept;
    int64_t after_seq; /* -1: not given */
    int64_t count;     /* 0: no end */
    struct amount_argument amounts[ARGUMENTS_AMOUNTS_MAX];
    size_t amounts_count;
    const char *kinds[ARGUMENTS_LIST_MAX];
    size_t kinds_count;
};

/*
 * options NULL: none of its own. args_doc and doc as in struct argp. What the command has set is kept, all
 * else is set.
 */
void arguments_parse(struct cli *cli, const struct argp_option *options, const char *args_doc,
                     const char *doc, int argc, char **argv, struct arguments *ret);

/* protobuf-c wants char * where it only reads. */
char *arguments_text(const char *text);

#endif
