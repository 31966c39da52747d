#include "base/config.h"

#include "base/options.h"
#include "base/slice.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Keys of options without a letter: above every character. */
enum { KEY_FIRST = 1000, ENVIRONMENT_NAME_MAX = 80 };

static void *field_of(const struct config *config, const struct config_option *option)
{
    return (char *)config->target + option->offset;
}

static bool parse_flag(const char *value, bool *ret)
{
    bool yes = strcmp(value, "1") == 0 || strcmp(value, "true") == 0;
    bool no = strcmp(value, "0") == 0 || strcmp(value, "false") == 0;

    if (yes || no)
        *ret = yes;
    return yes || no;
}

static bool option_set(const struct config *config, const struct config_option *option,
                       const char *shown_as, const char *value, char error[CONFIG_ERROR_MAX])
{
    void *field = field_of(config, option);
    int64_t number;

    switch (option->type) {
    case CONFIG_TEXT:
        if (!*value) {
            snprintf(error, CONFIG_ERROR_MAX, "%s is empty; give it a value, or leave it out",
                     shown_as);
            return false;
        }
        memcpy(field, &value, sizeof(value));
        return true;
    case CONFIG_INTEGER:
        if (slice_to_i64(slice_from_cstr(value), &number) && number >= option->min &&
            number <= option->max) {
            memcpy(field, &number, sizeof(number));
            return true;
        }
        snprintf(error, CONFIG_ERROR_MAX,
                 "%s is '%.64s'; it must be a whole number from %" PRId64 " to %" PRId64, shown_as,
                 value, option->min, option->max);
        return false;
    case CONFIG_FLAG:
        if (parse_flag(value, field))
            return true;
        snprintf(error, CONFIG_ERROR_MAX, "%s is '%.64s'; it must be 0, 1, false or true", shown_as,
                 value);
        return false;
    }
    UNREACHABLE();
}

void config_defaults(const struct config *config)
{
    static const size_t sizes[] = {
        [CONFIG_TEXT] = sizeof(const char *),
        [CONFIG_INTEGER] = sizeof(int64_t),
        [CONFIG_FLAG] = sizeof(bool),
    };
    char error[CONFIG_ERROR_MAX];

    for (size_t i = 0; i < config->count; i++) {
        const struct config_option *option = &config->options[i];

        if (option->fallback)
            CHECK_MSG(option_set(config, option, option->name, option->fallback, error), "%s",
                      error);
        else
            memset(field_of(config, option), 0, sizes[option->type]);
    }
}

static void environment_name(const struct config_option *option, char out[ENVIRONMENT_NAME_MAX])
{
    int len = snprintf(out, ENVIRONMENT_NAME_MAX, "HOLDFAST_%s", option->name);

    CHECK(len > 0 && len < ENVIRONMENT_NAME_MAX);
    for (char *at = out; *at; at++)
        *at = (char)(*at == '-' ? '_' : toupper((unsigned char)*at));
}

bool config_environment(const struct config *config, char error[CONFIG_ERROR_MAX])
{
    char name[ENVIRONMENT_NAME_MAX];

    for (size_t i = 0; i < config->count; i++) {
        const char *value;

        environment_name(&config->options[i], name);
        value = getenv(name);
        if (value && !option_set(config, &config->options[i], name, value, error))
            return false;
    }
    return true;
}

static int option_key(const struct config *config, size_t i)
{
    return config->options[i].letter ? config->options[i].letter : KEY_FIRST + (int)i;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    const struct config *config = *(const struct config **)state->input;
    char error[CONFIG_ERROR_MAX];
    char shown_as[ENVIRONMENT_NAME_MAX];

    if (key == OPTIONS_KEY_HELP)
        options_help(state);
    for (size_t i = 0; i < config->count; i++) {
        const struct config_option *option = &config->options[i];

        if (option_key(config, i) != key)
            continue;
        snprintf(shown_as, sizeof(shown_as), "--%s", option->name);
        if (!option_set(config, option, shown_as, arg ? arg : "true", error))
            argp_error(state, "%s", error);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

struct help {
    char text[512];
};

/* The line of --help: what it is, then range, default and variable. */
static void help_write(const struct config_option *option, struct help *ret)
{
    char name[ENVIRONMENT_NAME_MAX];
    char range[64] = "";
    const char *nothing = option->type == CONFIG_FLAG ? "false" : "none";

    environment_name(option, name);
    if (option->type == CONFIG_INTEGER)
        snprintf(range, sizeof(range), "%" PRId64 " to %" PRId64 "; ", option->min, option->max);
    snprintf(ret->text, sizeof(ret->text), "%s (%sdefault %s; %s)", option->doc ? option->doc : "",
             range, option->fallback ? option->fallback : nothing, name);
}

void config_load(const struct config *config, int argc, char **argv, const char *doc)
{
    struct argp_option options[CONFIG_OPTIONS_MAX + 2] = {{0}};
    struct argp argp = {.options = options, .parser = parse_option, .doc = doc};
    struct help help[CONFIG_OPTIONS_MAX];
    char error[CONFIG_ERROR_MAX];

    CHECK(config->count <= CONFIG_OPTIONS_MAX);
    config_defaults(config);
    if (!config_environment(config, error)) {
        fprintf(stderr, "%s: %s\n", argv[0], error);
        exit(EX_USAGE);
    }
    for (size_t i = 0; i < config->count; i++) {
        const struct config_option *option = &config->options[i];
        bool flag = option->type == CONFIG_FLAG;

        help_write(option, &help[i]);
        options[i] = (struct argp_option){
            .name = option->name,
            .key = option_key(config, i),
            .arg = option->arg ? option->arg
                   : flag      ? "true|false"
                               : "VALUE",
            .flags = flag ? OPTION_ARG_OPTIONAL : 0,
            .doc = help[i].text,
        };
    }
    options[config->count] = (struct argp_option)OPTIONS_HELP;
    options_check(&argp, argc, argv, 0);
    CHECK(argp_parse(&argp, argc, argv, 0, NULL, &config) == 0);
}
