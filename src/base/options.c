#include "base/options.h"

#include "base/nearest.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 128 };

struct known_option {
    const char *name; /* NULL: a letter alone */
    int key;
    bool has_value;   /* perhaps */
    bool takes_value; /* always, so the next word may be it */
    bool repeated;
    bool given;
};

/* All options, argp's own included. */
struct known {
    struct known_option options[OPTIONS_MAX];
    size_t count;
    const char *program;
    bool before_command; /* what comes after a word is somebody else's */
};

void options_help(struct argp_state *state)
{
    argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
}

static void add(struct known *known, const struct argp_option *option)
{
    if (known->count == OPTIONS_MAX)
        return;
    known->options[known->count++] = (struct known_option){
        .name = option->name,
        .key = option->key,
        .has_value = option->arg,
        .takes_value = option->arg && !(option->flags & OPTION_ARG_OPTIONAL),
        .repeated = option->flags & OPTIONS_REPEATED,
    };
}

static void collect(const struct argp *argp, struct known *known)
{
    const struct argp_option *option = argp->options;

    for (; option && (option->name || option->key || option->doc); option++)
        add(known, option);
    for (const struct argp_child *child = argp->children; child && child->argp; child++)
        collect(child->argp, known);
}

static _Noreturn void give_up(const struct known *known)
{
    fprintf(stderr, "Try `%s --help' for more information.\n", known->program);
    exit(argp_err_exit_status);
}

/* Most likely it is one of the command's, which comes after it. */
static _Noreturn void misplaced(const struct known *known, const char *dashes, const char *written)
{
    fprintf(
        stderr,
        "%s: there is no option %s%s before the command; a command's own options come after it\n",
        known->program, dashes, written);
    give_up(known);
}

static _Noreturn void unknown(const struct known *known, const char *name, size_t len)
{
    const char *names[OPTIONS_MAX], *meant;
    size_t count = 0;
    char written[64];

    for (size_t i = 0; i < known->count; i++)
        if (known->options[i].name)
            names[count++] = known->options[i].name;
    snprintf(written, sizeof(written), "%.*s", (int)len, name);
    meant = nearest(written, names, count);
    if (!meant && known->before_command)
        misplaced(known, "--", written);
    fprintf(stderr, "%s: there is no option --%s%s%s%s\n", known->program, written,
            meant ? "; did you mean --" : "", meant ? meant : "", meant ? "?" : "");
    give_up(known);
}

/* Of a long option by its whole name or its beginning. */
static struct known_option *find_long(struct known *known, const char *name, size_t len)
{
    struct known_option *begun = NULL;

    for (size_t i = 0; i < known->count; i++) {
        struct known_option *option = &known->options[i];

        if (!option->name || strncmp(option->name, name, len) != 0)
            continue;
        if (option->name[len] == '\0')
            return option;
        if (!begun)
            begun = option;
    }
    return begun;
}

static struct known_option *find_letter(struct known *known, int letter)
{
    for (size_t i = 0; i < known->count; i++)
        if (known->options[i].key == letter)
            return &known->options[i];
    return NULL;
}

/* value NULL: there is none. */
static void take(const struct known *known, struct known_option *option, const char *value)
{
    const char letter[] = {(char)option->key, '\0'};
    const char *dashes = option->name ? "--" : "-", *name = option->name ? option->name : letter;

    if (!option->has_value)
        return;
    if (option->given && !option->repeated) {
        fprintf(stderr, "%s: %s%s is given twice; give it once\n", known->program, dashes, name);
        give_up(known);
    }
    option->given = true;
    if (value && !*value) {
        fprintf(stderr, "%s: %s%s is empty; give it a value, or leave it out\n", known->program,
                dashes, name);
        give_up(known);
    }
}

/* How many words behind it are the option's value. */
static int check_long(struct known *known, const char *name, const char *next_word)
{
    size_t len = strcspn(name, "=");
    struct known_option *option = find_long(known, name, len);
    bool apart;

    if (!option)
        unknown(known, name, len);
    apart = option->takes_value && name[len] != '=';
    if (apart)
        take(known, option, next_word);
    else
        take(known, option, name[len] == '=' ? name + len + 1 : NULL);
    return apart;
}

/* "-tvalue", "-t value", "-qv". Other unknown letters are argp's to refuse. */
static int check_letters(struct known *known, const char *letters, const char *next_word)
{
    for (const char *at = letters; *at; at++) {
        struct known_option *option = find_letter(known, (unsigned char)*at);
        const char written[] = {*at, '\0'};

        if (!option && known->before_command)
            misplaced(known, "-", written);
        if (!option)
            continue;
        if (option->takes_value) {
            take(known, option, at[1] ? at + 1 : next_word);
            return at[1] == '\0';
        }
        take(known, option, NULL);
        if (option->has_value) /* the rest is it */
            return 0;
    }
    return 0;
}

void options_check(const struct argp *argp, int argc, char **argv, unsigned flags)
{
    static const struct argp_option own[] = {{.name = "help", .key = '?'},
                                             {.name = "usage"},
                                             {.name = "version", .key = 'V'}};
    struct known known = {.before_command = flags & ARGP_IN_ORDER};
    const char *slash = strrchr(argv[0], '/');

    known.program = slash ? slash + 1 : argv[0];
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        add(&known, &own[i]);
    collect(argp, &known);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *next_word = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(word, "--") == 0 || (known.before_command && word[0] != '-'))
            return;
        if (strncmp(word, "--", 2) == 0)
            i += check_long(&known, word + 2, next_word);
        else if (word[0] == '-')
            i += check_letters(&known, word + 1, next_word);
    }
}
