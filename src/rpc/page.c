#include "rpc/page.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/hex.h"
#include "rpc/validate.h"

enum {
    PAGE_VERSION = 1,
    PAGE_BYTES_MAX = 1 + 2 * VARINT_BYTES_MAX + 2 + JOB_ID_BYTES_MAX,
    PAGE_CHECK = 0xffff, /* part of a hash, against typing errors */
};

static uint64_t check_of(const struct page *page)
{
    return (hash_slice(page->name) ^ hash_bytes(&page->number, sizeof(page->number))) & PAGE_CHECK;
}

char *page_token(struct arena *arena, const struct page *page)
{
    uint8_t bytes[PAGE_BYTES_MAX];
    char text[BASE64URL_LEN(PAGE_BYTES_MAX) + 1];
    struct bytes_writer writer = bytes_writer_on(bytes, sizeof(bytes));
    struct slice written;
    char *copy;

    bytes_write_u64(&writer, PAGE_VERSION);
    bytes_write_u64(&writer, (uint64_t)page->number);
    bytes_write_string(&writer, page->name);
    bytes_write_u64(&writer, check_of(page));
    CHECK(!writer.bad);
    written = bytes_written(&writer);
    copy = arena_strndup(arena, text, base64url_encode(written.data, written.len, text));
    CHECK(copy);
    return copy;
}

static bool read_page(struct op *op, struct slice text, struct page *page)
{
    uint8_t bytes[PAGE_BYTES_MAX];
    struct bytes_reader reader;
    uint64_t version, check;
    size_t size;
    char *name;

    if (text.len > BASE64URL_LEN(PAGE_BYTES_MAX) ||
        !base64url_decode(text, bytes, sizeof(bytes), &size))
        return false;
    reader = bytes_reader_on(slice_of(bytes, size));
    version = bytes_read_u64(&reader, PAGE_VERSION);
    page->number = (int64_t)bytes_read_u64(&reader, UINT64_MAX);
    page->name = bytes_read_string(&reader, JOB_ID_BYTES_MAX);
    check = bytes_read_u64(&reader, PAGE_CHECK);
    if (!bytes_read_all(&reader) || version != PAGE_VERSION || check != check_of(page))
        return false;
    name = arena_strndup(op->arena, page->name.data ? page->name.data : "", page->name.len);
    CHECK(name);
    page->name = slice_of(name, page->name.len);
    return true;
}

struct page page_decode(struct op *op, const char *token)
{
    struct page page = {.number = -1};
    struct slice text = slice_from_cstr(token);

    if (text.len > 0 && !read_page(op, text, &page)) {
        invalid(op, FIELD("page_token"),
                "is damaged; pass next_page_token of the page before, or nothing");
        page = (struct page){.number = -1};
    }
    return page;
}
