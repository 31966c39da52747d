/*
 * What a field or oneof is called in C, as a member of its message's struct.
 *
 *   protoc-c      makes it lower case and puts a _ behind a word of C or C++ that it knows
 *   here          `base` (which each message has), words that it does not know, and macros in lower case
 *                 get a _ as well: unix_, errno_, requires_
 *   --cstub_opt   pkg.Message.field=name says otherwise
 *
 * protoc-c learns of the last two from a rewritten descriptor (rewrite.h), so the message's own descriptor
 * has that name too. The wire and reflection do not change. One thread.
 */
#ifndef HOLDFAST_PLUGIN_MEMBER_H
#define HOLDFAST_PLUGIN_MEMBER_H

#include "base/arena.h"
#include "plugin/parameter.h"

/*
 * The name that protoc-c is to see for the field or oneof `name` of the message `scope`; NULL: its own.
 * `base` is what the struct's first member is called, NULL for a oneof, whose name always stands before
 * _case. The result is in the arena.
 */
const char *member_rename(struct arena *arena, struct parameter *parameter, const char *scope,
                          const char *name, const char *base);

#endif
