#include "plugin/clash.h"

#include "plugin/reserved.h"
#include "plugin/text.h"

#include <stdlib.h>
#include <string.h>

void clash_init(struct clash *clash, struct arena *arena)
{
    *clash = (struct clash){.arena = arena};
}

void clash_done(struct clash *clash)
{
    free(clash->items);
}

static void add(struct clash *clash, const char *name, const char *owner)
{
    if (clash->count == clash->capacity) {
        clash->capacity = clash->capacity ? 2 * clash->capacity : 256;
        clash->items = realloc(clash->items, clash->capacity * sizeof(*clash->items));
        CHECK(clash->items);
    }
    clash->items[clash->count] = (struct clash_name){name, owner, clash->count};
    clash->count++;
}

void clash_take(struct clash *clash, const char *name, const char *owner)
{
    add(clash, name, owner);
    if (reserved_global(name))
        add(clash, name, "the C library or protobuf-c");
}

static int compare(const void *a, const void *b)
{
    const struct clash_name *left = a, *right = b;
    int order = strcmp(left->name, right->name);

    return order ? order : (left->order > right->order) - (left->order < right->order);
}

const char *clash_find(struct clash *clash)
{
    const struct clash_name *first = NULL, *second = NULL;

    if (clash->count)
        qsort(clash->items, clash->count, sizeof(*clash->items), compare);
    for (size_t i = 1; i < clash->count; i++) {
        const struct clash_name *left = &clash->items[i - 1], *right = &clash->items[i];

        if (strcmp(left->name, right->name) != 0 || strcmp(left->owner, right->owner) == 0)
            continue;
        if (!second || right->order < second->order) {
            first = left;
            second = right;
        }
    }
    if (!second)
        return NULL;
    return text_format(clash->arena,
                       "%s and %s would both become %s in C; rename one, in the .proto or with "
                       "--cstub_opt=package.Service.Method=name (or package.Service=name, "
                       "package.Message.field=name, package.Message.oneof=name)",
                       first->owner, second->owner, second->name);
}
