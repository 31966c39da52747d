#include "base/bytes.h"

#include <criterion/criterion.h>
#include <string.h>

Test(bytes, record_comes_back_as_it_was_written)
{
    const uint64_t numbers[] = {0, 1, 127, 128, 300,
                                16383, 16384, (1ULL << 53) - 1, 1ULL << 63, UINT64_MAX};
    uint8_t data[128];
    struct bytes_writer writer = bytes_writer_on(data, sizeof(data));
    struct bytes_reader reader;

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        bytes_write_u64(&writer, numbers[i]);
    bytes_write_string(&writer, SLICE("job\0one"));
    bytes_write_string(&writer, slice_of(NULL, 0));
    bytes_write_raw(&writer, "xyz", 3);
    cr_assert(!writer.bad);

    reader = bytes_reader_on(bytes_written(&writer));
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        cr_assert_eq(bytes_read_u64(&reader, UINT64_MAX), numbers[i]);
    cr_assert(slice_equal(bytes_read_string(&reader, 7), SLICE("job\0one")));
    cr_assert_eq(bytes_read_string(&reader, 7).len, 0);
    cr_assert(!bytes_read_all(&reader));
    cr_assert(slice_equal(bytes_read_raw(&reader, 3), SLICE("xyz")));
    cr_assert(bytes_read_all(&reader));
}

Test(bytes, writer_without_room_turns_bad_and_writes_nothing_more)
{
    uint8_t data[3] = {0, 0, 0xee};
    struct bytes_writer writer = bytes_writer_on(data, 2);

    bytes_write_u64(&writer, 1);
    bytes_write_u64(&writer, 300);
    cr_assert(writer.bad);
    bytes_write_u64(&writer, 1);
    cr_assert(writer.bad);
    cr_assert_eq(writer.len, 1);
    cr_assert_eq(data[2], 0xee);
}

Test(bytes, every_shorter_record_is_refused)
{
    uint8_t data[64];
    struct bytes_writer writer = bytes_writer_on(data, sizeof(data));

    bytes_write_u64(&writer, 1ULL << 40);
    bytes_write_string(&writer, SLICE("hello"));
    for (size_t len = 0; len < writer.len; len++) {
        struct bytes_reader reader = bytes_reader_on(slice_of(data, len));

        bytes_read_u64(&reader, UINT64_MAX);
        cr_assert_eq(bytes_read_string(&reader, 64).len, 0);
        cr_assert(reader.bad);
        cr_assert_eq(bytes_read_u64(&reader, UINT64_MAX), 0);
    }
}

static bool number_is_read(const char *data, size_t len, uint64_t max)
{
    struct bytes_reader reader = bytes_reader_on(slice_of(data, len));

    bytes_read_u64(&reader, max);
    return bytes_read_all(&reader);
}

Test(bytes, numbers_have_one_encoding)
{
    cr_assert(number_is_read("\x80\x01", 2, UINT64_MAX));
    cr_assert(!number_is_read("\x80\x00", 2, UINT64_MAX));
    cr_assert(!number_is_read("\x81\x80\x00", 3, UINT64_MAX));
    cr_assert(number_is_read("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, UINT64_MAX));
    cr_assert(!number_is_read("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, UINT64_MAX));
    cr_assert(!number_is_read("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x01", 11, UINT64_MAX));
    cr_assert(!number_is_read("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10, UINT64_MAX));
}

Test(bytes, bounds_are_kept)
{
    struct bytes_reader reader;

    cr_assert(number_is_read("\x05", 1, 5));
    cr_assert(!number_is_read("\x05", 1, 4));
    reader = bytes_reader_on(SLICE("\x05hello"));
    bytes_read_string(&reader, 4);
    cr_assert(reader.bad);
}
