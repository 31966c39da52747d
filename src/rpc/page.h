/*
 * Page tokens: where the next page of a list begins, and which list it is, as base64url. Opaque to
 * callers. A token is not secret and gives no rights, so it is not signed: whoever makes one up can
 * only choose where a list begins that he may read anyway. What comes out of one is safe to hand to a
 * store. Any thread.
 */
#ifndef HOLDFAST_RPC_PAGE_H
#define HOLDFAST_RPC_PAGE_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "op/op.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_FILTERS_MAX = 4 };

/*
 * A list: its RPC and the fields that choose its entries, the tenant among them. A page that is asked
 * for with other fields than the page before would skip entries without a word.
 */
struct page_list {
    const char *name;
    struct slice filters[PAGE_FILTERS_MAX];
};

/* The list position (number, name), both or one used. number: -1 to 2^53-1; name: printable ASCII. */
struct page {
    int64_t number;
    struct slice name;
};

char *page_token(struct arena *arena, const struct page_list *list, const struct page *page);

/* A reply is no larger than this, whatever page_size asks for. */
enum { REPLY_BYTES_MAX = 1 << 20 };

/*
 * How many of these messages, from the first, fit into one reply beside its other fields; at least
 * one. Where it is less than count, the page ends there and has a token.
 */
size_t page_fit(const ProtobufCMessage *const *messages, size_t count);

/* The same for messages of one type. */
#define PAGE_FIT(messages, count) page_fit((const ProtobufCMessage *const *)(messages), (count))

/*
 * An empty token is the beginning: {-1, ""}. A damaged one, and one of another list, is named in the
 * op's error.
 */
struct page page_decode(struct op *op, const struct page_list *list, const char *token);

#endif
