#include "plugin/parameter.h"

#include "plugin/text.h"
#include "plugin/valid.h"

#include <string.h>

static const char *parse_name(struct arena *arena, struct slice item, struct parameter *parameter)
{
    struct parameter_name *name = &parameter->names[parameter->names_count];
    struct slice full_name = item, c_name;

    for (size_t i = 0; i < item.len && full_name.len == item.len; i++) {
        if (item.data[i] == '=')
            full_name.len = i;
    }
    c_name = slice_skip(item, full_name.len);
    if (c_name.len == 0 || !valid_dotted(full_name) || !valid_identifier(slice_skip(c_name, 1)))
        return text_format(arena,
                           "cstub takes pkg.Service=name, pkg.Service.Method=name, "
                           "pkg.Message.field=name and optional, not \"%.*s\"",
                           SLICE_ARGS(item));
    name->full_name = arena_strndup(arena, full_name.data, full_name.len);
    name->c_name = arena_strndup(arena, c_name.data + 1, c_name.len - 1);
    CHECK(name->full_name && name->c_name);
    parameter->names_count++;
    return NULL;
}

const char *parameter_parse(struct arena *arena, const char *text, struct parameter *ret)
{
    struct slice rest = slice_from_cstr(text), item;
    size_t commas = 0;

    *ret = (struct parameter){0};
    if (rest.len == 0)
        return NULL;
    for (size_t i = 0; i < rest.len; i++)
        commas += rest.data[i] == ',';
    ret->names = arena_array(arena, commas + 1, sizeof(*ret->names));
    CHECK(ret->names);
    while (slice_cut(&rest, ',', &item)) {
        const char *error = NULL;

        if (slice_equal_cstr(item, "optional"))
            ret->optional = true;
        else
            error = parse_name(arena, item, ret);
        if (error)
            return error;
    }
    return NULL;
}

const char *parameter_name(struct parameter *parameter, const char *full_name)
{
    for (size_t i = 0; i < parameter->names_count; i++) {
        if (strcmp(parameter->names[i].full_name, full_name) == 0) {
            parameter->names[i].used = true;
            return parameter->names[i].c_name;
        }
    }
    return NULL;
}

const char *parameter_unused(const struct parameter *parameter)
{
    for (size_t i = 0; i < parameter->names_count; i++) {
        if (!parameter->names[i].used)
            return parameter->names[i].full_name;
    }
    return NULL;
}
