#include "base/bytes.h"

#include <string.h>

void bytes_write_raw(struct bytes_writer *writer, const void *data, size_t size)
{
    if (writer->bad || size > writer->room - writer->len) {
        writer->bad = true;
        return;
    }
    if (size)
        memcpy(writer->data + writer->len, data, size);
    writer->len += size;
}

void bytes_write_u64(struct bytes_writer *writer, uint64_t value)
{
    uint8_t bytes[VARINT_BYTES_MAX];
    size_t size = 0;

    for (; value > 0x7f; value >>= 7)
        bytes[size++] = (uint8_t)(value | 0x80);
    bytes[size++] = (uint8_t)value;
    bytes_write_raw(writer, bytes, size);
}

void bytes_write_string(struct bytes_writer *writer, struct slice string)
{
    bytes_write_u64(writer, string.len);
    bytes_write_raw(writer, string.data, string.len);
}

struct slice bytes_read_raw(struct bytes_reader *reader, size_t size)
{
    struct slice raw;

    if (reader->bad || size > reader->rest.len) {
        reader->bad = true;
        return slice_of("", 0);
    }
    raw = slice_of(reader->rest.data, size);
    reader->rest = slice_skip(reader->rest, size);
    return raw;
}

static uint64_t reader_fail(struct bytes_reader *reader)
{
    reader->bad = true;
    return 0;
}

uint64_t bytes_read_u64(struct bytes_reader *reader, uint64_t max)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        struct slice raw = bytes_read_raw(reader, 1);
        uint64_t byte;

        if (reader->bad)
            return 0;
        byte = (uint8_t)raw.data[0];
        /* The tenth byte has room for one bit, and a last byte of 0 would be a second encoding. */
        if ((shift == 63 && byte > 1) || (byte == 0 && shift > 0))
            return reader_fail(reader);
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80)
            return value <= max ? value : reader_fail(reader);
    }
    return reader_fail(reader);
}

struct slice bytes_read_string(struct bytes_reader *reader, size_t len_max)
{
    uint64_t len = bytes_read_u64(reader, len_max);

    return bytes_read_raw(reader, (size_t)len);
}
