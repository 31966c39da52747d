/*
 * Text of a .proto inside C: comments and string literals. Whatever the text holds, it cannot change the C
 * around it: it ends no comment, and has no trigraph and no character that changes the direction of writing.
 * One thread.
 */
#ifndef HOLDFAST_PLUGIN_COMMENT_H
#define HOLDFAST_PLUGIN_COMMENT_H

#include "plugin/text.h"

/*
 * A block comment: the lines of `comment`, an empty line, the lines of `note`. Each may be NULL or empty; if
 * both are, nothing is written. `indent` stands before each line.
 */
void comment_write(struct text *out, const char *indent, const char *comment, const char *note);

/* "content", quotes included. */
void comment_write_literal(struct text *out, const char *content);

#endif
