/*
 * Defaults of proto2 that protoc-c 1.4 writes inexactly: it writes 15 digits of a double, which may round to
 * more than a double holds, 6 digits of a float, and -0.0 as the integer 0. So it gets another number in
 * place of each, one that is nobody's default. Afterwards sed puts the right one there. One thread.
 */
#ifndef HOLDFAST_PLUGIN_DEFAULTS_H
#define HOLDFAST_PLUGIN_DEFAULTS_H

#include "base/arena.h"
#include "plugin/text.h"

#include <google/protobuf/descriptor.pb-c.h>

/*
 * Replaces the defaults that need it; the new texts are in the arena. rules, unless NULL, gets the lines of
 * the sed script. The same set always gives the same lines.
 */
void defaults_hide(struct arena *arena, Google__Protobuf__FileDescriptorSet *set,
                   struct text *rules);

#endif
