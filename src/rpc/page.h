/*
 * Page tokens: where the next page of a list begins, as base64url. Opaque to callers; they are not
 * secret and give no rights, so they are checked for shape and not signed. Any thread.
 */
#ifndef HOLDFAST_RPC_PAGE_H
#define HOLDFAST_RPC_PAGE_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "op/op.h"

#include <stdbool.h>
#include <stdint.h>

/* The list position (number, name), both or one used. */
struct page {
    int64_t number;
    struct slice name;
};

char *page_token(struct arena *arena, const struct page *page);

/* An empty token is the beginning: {-1, ""}. A damaged one is named in the op's error. */
struct page page_decode(struct op *op, const char *token);

#endif
