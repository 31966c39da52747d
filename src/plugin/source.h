/*
 * Writes x.stub.c: embedded descriptor, method tables, dispatch, asynchronous calls. It is C11, and
 * C++17 as well for projects that compile everything as C++. One thread.
 */
#ifndef HOLDFAST_PLUGIN_SOURCE_H
#define HOLDFAST_PLUGIN_SOURCE_H

#include "base/slice.h"
#include "plugin/model.h"
#include "plugin/text.h"

/* bytes: the file as protoc serialized it. */
void source_write(struct text *out, struct arena *arena, const struct model *model,
                  struct slice bytes);

#endif
