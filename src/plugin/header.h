/*
 * Writes x.stub.h: what a user of the generated code sees. One thread.
 */
#ifndef HOLDFAST_PLUGIN_HEADER_H
#define HOLDFAST_PLUGIN_HEADER_H

#include "plugin/model.h"
#include "plugin/text.h"

void header_write(struct text *out, struct arena *arena, const struct model *model);

#endif
