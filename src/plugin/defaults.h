/*
 * Defaults of proto2 that protoc-c 1.4 writes inexactly: 15 digits of a double, which may be too much for
 * it then, 6 of a float, and -0.0 as the integer 0. So it gets another number in place of each, one that
 * nobody has as a default, and afterwards sed puts the right one in its place. One thread.
 */
#ifndef HOLDFAST_PLUGIN_DEFAULTS_H
#define HOLDFAST_PLUGIN_DEFAULTS_H

#include "base/arena.h"
#include "plugin/text.h"

#include <google/protobuf/descriptor.pb-c.h>

/*
 * Puts such numbers in place of the defaults that need it; the new texts lie in the arena. rules, unless
 * NULL, gets the lines of the sed script, which are the same each time for the same set.
 */
void defaults_hide(struct arena *arena, Google__Protobuf__FileDescriptorSet *set,
                   struct text *rules);

#endif
