#include "rpc/page.h"

#include "base/amount.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/hex.h"
#include "rpc/validate.h"

enum {
    ENTRY_HEAD_BYTES = 6,    /* tag and length of an entry */
    REPLY_REST_BYTES = 4096, /* for all but the list: times, the token */
    PAGE_VERSION = 2,
    PAGE_BYTES_MAX = 1 + 3 * VARINT_BYTES_MAX + 2 + JOB_ID_BYTES_MAX,
    PAGE_LIST = 0x7fffffff, /* part of a hash: which list it is */
    PAGE_CHECK = 0xffff,    /* part of a hash, against typing errors */
};

static uint64_t check_of(const struct page *page)
{
    return (hash_slice(page->name) ^ hash_bytes(&page->number, sizeof(page->number))) & PAGE_CHECK;
}

static uint64_t list_of(const struct page_list *list)
{
    uint64_t hash = hash_combine(0, slice_from_cstr(list->name));

    for (size_t i = 0; i < PAGE_FILTERS_MAX; i++)
        hash = hash_combine(hash, list->filters[i]);
    return hash & PAGE_LIST;
}

char *page_token(struct arena *arena, const struct page_list *list, const struct page *page)
{
    uint8_t bytes[PAGE_BYTES_MAX];
    char text[BASE64URL_LEN(PAGE_BYTES_MAX) + 1];
    struct bytes_writer writer = bytes_writer_on(bytes, sizeof(bytes));
    struct slice written;
    char *copy;

    bytes_write_u64(&writer, PAGE_VERSION);
    bytes_write_u64(&writer, list_of(list));
    bytes_write_u64(&writer, (uint64_t)page->number);
    bytes_write_string(&writer, page->name);
    bytes_write_u64(&writer, check_of(page));
    CHECK(!writer.bad);
    written = bytes_written(&writer);
    copy = arena_strndup(arena, text, base64url_encode(written.data, written.len, text));
    CHECK(copy);
    return copy;
}

/* A position is handed to a store, which may choke on bytes that no list has. */
static bool position_is_lawful(const struct page *page)
{
    for (size_t i = 0; i < page->name.len; i++)
        if (page->name.data[i] < 0x20 || page->name.data[i] > 0x7e)
            return false;
    return page->number >= -1 && page->number <= AMOUNT_MAX;
}

static bool read_page(struct op *op, struct slice text, uint64_t *ret_list, struct page *page)
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
    *ret_list = bytes_read_u64(&reader, PAGE_LIST);
    page->number = (int64_t)bytes_read_u64(&reader, UINT64_MAX);
    page->name = bytes_read_string(&reader, JOB_ID_BYTES_MAX);
    check = bytes_read_u64(&reader, PAGE_CHECK);
    if (!bytes_read_all(&reader) || version != PAGE_VERSION || check != check_of(page) ||
        !position_is_lawful(page))
        return false;
    name = arena_strndup(op->arena, page->name.data ? page->name.data : "", page->name.len);
    CHECK(name);
    page->name = slice_of(name, page->name.len);
    return true;
}

size_t page_fit(const ProtobufCMessage *const *messages, size_t count)
{
    size_t bytes = REPLY_REST_BYTES, fit = 0;

    for (; fit < count; fit++) {
        bytes += protobuf_c_message_get_packed_size(messages[fit]) + ENTRY_HEAD_BYTES;
        if (bytes > REPLY_BYTES_MAX && fit > 0)
            break;
    }
    return fit;
}

struct page page_decode(struct op *op, const struct page_list *list, const char *token)
{
    const struct page beginning = {.number = -1};
    struct page page = beginning;
    struct slice text = slice_from_cstr(token);
    uint64_t of_list;

    if (text.len == 0)
        return beginning;
    if (!read_page(op, text, &of_list, &page)) {
        invalid(op, FIELD("page_token"),
                "is damaged; pass next_page_token of the page before, or nothing");
        return beginning;
    }
    if (of_list != list_of(list)) {
        invalid(op, FIELD("page_token"),
                "is of another list; all fields but page_size must be those of the page before");
        return beginning;
    }
    return page;
}
