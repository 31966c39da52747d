/*
 * A YAML document, read strictly by a table of its keys.
 *
 * Nothing is guessed: every scalar is read as text and must be exactly what the table asks for. Refused,
 * with the line: unknown and repeated keys (with the one that was meant), numbers that are not plain
 * whole decimal numbers (no '_', sign, unit, quotes, octal or hex), anything but true and false where a
 * flag stands, null, anchors, aliases, tags, a second document, text that is not UTF-8.
 *
 * It is built on the events of libyaml, because they say of each scalar how it was written and on which
 * line.
 *
 * Pure; one thread per document.
 */
#ifndef HOLDFAST_CLI_DOCUMENT_H
#define HOLDFAST_CLI_DOCUMENT_H

#include "base/arena.h"
#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DOCUMENT_ERROR_BYTES = 512, DOCUMENT_KEYS_MAX = 16 };

/* What a key's value becomes in the target. What was not said stays zero. */
struct document_number {
    bool given;
    int64_t value;
};

struct document_flag {
    bool given;
    bool value;
};

enum document_type {
    DOCUMENT_TEXT,   /* char *, in the arena */
    DOCUMENT_NUMBER, /* struct document_number, from min to max */
    DOCUMENT_FLAG,   /* struct document_flag */
    DOCUMENT_WORD,   /* whatever `read` makes of the text */
    DOCUMENT_LIST,   /* struct document_list */
};

struct document_list {
    bool given;
    void *items; /* of list->size bytes each */
    size_t count;
};

struct document_key {
    const char *name;
    enum document_type type;
    size_t offset; /* of the field in the target */
    bool required;
    int64_t min; /* numbers only */
    int64_t max;
    /* Words only: NULL if the text is one, else what it should be, "minute, hour or day". */
    const char *(*read)(const char *text, void *field);
    const struct document_map *list; /* lists only: what its items are */
};

/* A mapping: its keys, and the struct that it becomes. */
struct document_map {
    const struct document_key *keys;
    size_t count; /* at most DOCUMENT_KEYS_MAX */
    size_t size;
    size_t line;   /* offset of an int: where the mapping begins */
    size_t unique; /* offset of a char *: no two items of a list have the same; its key is required */
    const char *unique_name;
};

/*
 * Reads the document, a mapping, into target, which is zeroed first. False: error says what is wrong and
 * in which line; target may be half filled. Texts and lists live in the arena.
 */
MUST_CHECK bool document_read(const char *text, size_t len, const struct document_map *map,
                              void *target, struct arena *arena, char error[DOCUMENT_ERROR_BYTES]);

#endif
