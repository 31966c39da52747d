#include "interop/flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool refuse(const struct flag *flags, size_t count, const char *argument, const char *why)
{
    fprintf(stderr, "%s: %s. Flags:", argument, why);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, " --%s", flags[i].name);
    fprintf(stderr, "\n");
    return false;
}

static const struct flag *find(const struct flag *flags, size_t count, const char *argument)
{
    const char *name = argument + strspn(argument, "-");
    size_t bytes = strcspn(name, "=");

    for (size_t i = 0; name != argument && i < count; i++)
        if (strncmp(flags[i].name, name, bytes) == 0 && !flags[i].name[bytes])
            return &flags[i];
    return NULL;
}

static bool is_truth(const char *value)
{
    return value && (strcmp(value, "true") == 0 || strcmp(value, "false") == 0);
}

static bool set(const struct flag *flag, const char *value)
{
    char *end;

    if (flag->text) {
        *flag->text = value;
        return true;
    }
    if (flag->on) {
        *flag->on = strcmp(value, "true") == 0;
        return is_truth(value);
    }
    *flag->number = (int)strtol(value, &end, 10);
    return *value && !*end;
}

bool flags_read(const struct flag *flags, size_t count, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        const struct flag *flag = find(flags, count, argument);
        const char *value = strchr(argument, '=');

        if (!flag)
            return refuse(flags, count, argument, "no such flag");
        if (value)
            value++;
        else if (i + 1 < argc && (!flag->on || is_truth(argv[i + 1])))
            value = argv[++i];
        else if (flag->on)
            value = "true";
        if (!value || !set(flag, value))
            return refuse(flags, count, argument, "wants a value");
    }
    return true;
}
