/*
 * Compact binary records: unsigned varints (LEB128) and byte strings with their length in front.
 *
 * Both ends carry a flag instead of answering every call: write or read the whole record, then ask
 * once. A writer without room and a reader past the end or over a malformed number turn bad and do
 * nothing more; a bad reader gives 0 and empty strings. Every value has exactly one encoding, so
 * equal records are equal bytes. One thread at a time.
 */
#ifndef HOLDFAST_BASE_BYTES_H
#define HOLDFAST_BASE_BYTES_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VARINT_BYTES_MAX = 10 };

struct bytes_writer {
    uint8_t *data; /* the caller's memory */
    size_t room;
    size_t len; /* written so far */
    bool bad;
};

struct bytes_reader {
    struct slice rest; /* not read yet */
    bool bad;
};

static inline struct bytes_writer bytes_writer_on(void *data, size_t room)
{
    return (struct bytes_writer){.data = data, .room = room};
}

void bytes_write_u64(struct bytes_writer *writer, uint64_t value);
void bytes_write_string(struct bytes_writer *writer, struct slice string);

/* The bytes as they are, without a length. */
void bytes_write_raw(struct bytes_writer *writer, const void *data, size_t size);

/* What was written; the caller has looked at writer->bad. */
static inline struct slice bytes_written(const struct bytes_writer *writer)
{
    return slice_of(writer->data, writer->len);
}

static inline struct bytes_reader bytes_reader_on(struct slice data)
{
    return (struct bytes_reader){.rest = data};
}

/* A number of at most max; anything larger turns the reader bad. */
uint64_t bytes_read_u64(struct bytes_reader *reader, uint64_t max);

/* A string of at most len_max bytes, inside the data that is being read. */
struct slice bytes_read_string(struct bytes_reader *reader, size_t len_max);

/* Exactly size bytes. */
struct slice bytes_read_raw(struct bytes_reader *reader, size_t size);

/* True if nothing was malformed and nothing is left over. */
static inline MUST_CHECK bool bytes_read_all(const struct bytes_reader *reader)
{
    return !reader->bad && reader->rest.len == 0;
}

#endif
