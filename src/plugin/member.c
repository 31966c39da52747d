#include "plugin/member.h"

#include "plugin/name.h"
#include "plugin/reserved.h"
#include "plugin/text.h"

#include <string.h>

const char *member_rename(struct arena *arena, struct parameter *parameter, const char *scope,
                          const char *name, const char *base)
{
    const char *given = parameter->names_count
                            ? parameter_name(parameter, text_format(arena, "%s.%s", scope, name))
                            : NULL;
    const char *member = name_field(arena, name);

    if (given)
        return given;
    if (base && (strcmp(member, base) == 0 || reserved_word(member)))
        return text_format(arena, "%s_", name);
    return NULL;
}
