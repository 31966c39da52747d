/*
 * Text of a .proto inside C: comments, string literals. Whatever is in it, the C stays as it is: no
 * end of the comment, no trigraph, no character that turns the direction of writing. One thread.
 */
#ifndef HOLDFAST_PLUGIN_COMMENT_H
#define HOLDFAST_PLUGIN_COMMENT_H

#include "plugin/text.h"

/*
 * A block comment of the lines of `comment`, then, after an empty line, of `note`; each may be NULL or
 * empty, and without both nothing is written. `indent` stands before each line.
 */
void comment_write(struct text *out, const char *indent, const char *comment, const char *note);

/* "content", quotes included. */
void comment_write_literal(struct text *out, const char *content);

#endif
