#include "quota/receipt.h"

#include "base/bytes.h"
#include "quota/hold.h"

#include <inttypes.h>

/* --- writing and reading ---------------------------------------------------------------------- */

/* What a database says may be negative, if a hand was in it. It comes back as it went in. */
static void write_number(struct bytes_writer *writer, int64_t value)
{
    bytes_write_u64(writer, (uint64_t)value);
}

static int64_t read_number(struct bytes_reader *reader)
{
    return (int64_t)bytes_read_u64(reader, UINT64_MAX);
}

static void write_entry(struct bytes_writer *writer, const struct settle_entry *entry)
{
    bytes_write_string(writer, entry->meter);
    write_number(writer, entry->asked);
    write_number(writer, entry->amount);
    write_number(writer, entry->debt);
    write_number(writer, entry->held);
    bytes_write_u64(writer, entry->counted_count);
    for (size_t i = 0; i < entry->counted_count; i++) {
        const struct settle_counted *counted = &entry->counted[i];

        write_number(writer, counted->ref.limit_id);
        write_number(writer, counted->ref.period_start_ms);
        write_number(writer, counted->ledger_seq);
        write_number(writer, counted->amount);
        write_number(writer, counted->debt);
    }
}

static void write_receipt(struct bytes_writer *writer, const struct receipt *receipt)
{
    const struct settle_record *record = &receipt->record;

    bytes_write_string(writer, receipt->tenant);
    bytes_write_string(writer, receipt->job_id);
    write_number(writer, record->attempt.epoch);
    write_number(writer, record->attempt.seq);
    write_number(writer, record->at_ms);
    bytes_write_u64(writer, record->late);
    bytes_write_string(writer, record->scope);
    bytes_write_u64(writer, record->entries_count);
    for (size_t i = 0; i < record->entries_count; i++)
        write_entry(writer, &record->entries[i]);
}

char *receipt_issue(struct token_seal *seal, struct arena *arena, const struct receipt *receipt)
{
    uint8_t body[TOKEN_BODY_MAX];
    char text[TOKEN_TEXT_MAX + 1];
    struct bytes_writer writer = bytes_writer_on(body, sizeof(body));

    write_receipt(&writer, receipt);
    if (writer.bad)
        return NULL;
    return arena_strndup(arena, text,
                         token_seal_close(seal, receipt->tenant, bytes_written(&writer), text));
}

/* False: no memory. What is malformed shows in the reader. */
static bool read_entry(struct bytes_reader *reader, struct arena *arena, struct settle_entry *entry)
{
    entry->meter = bytes_read_string(reader, NAME_BYTES_MAX);
    entry->asked_given = true;
    entry->asked = read_number(reader);
    entry->amount = read_number(reader);
    entry->debt = read_number(reader);
    entry->held = read_number(reader);
    entry->counted_count = (size_t)bytes_read_u64(reader, reader->rest.len);
    entry->counted = arena_array(arena, entry->counted_count, sizeof(*entry->counted));
    if (!entry->counted)
        return false;
    for (size_t i = 0; i < entry->counted_count && !reader->bad; i++) {
        struct settle_counted *counted = &entry->counted[i];

        counted->ref.limit_id = read_number(reader);
        counted->ref.period_start_ms = read_number(reader);
        counted->ledger_seq = read_number(reader);
        counted->amount = read_number(reader);
        counted->debt = read_number(reader);
    }
    return true;
}

static bool read_record(struct bytes_reader *reader, struct arena *arena,
                        struct settle_record *record)
{
    record->attempt.epoch = read_number(reader);
    record->attempt.seq = read_number(reader);
    record->at_ms = read_number(reader);
    record->late = bytes_read_u64(reader, 1) == 1;
    record->scope = bytes_read_string(reader, SCOPE_BYTES_MAX);
    record->entries_count = (size_t)bytes_read_u64(reader, HOLD_METERS_MAX);
    record->entries = arena_array(arena, record->entries_count, sizeof(*record->entries));
    if (!record->entries)
        return false;
    for (size_t i = 0; i < record->entries_count && !reader->bad; i++)
        if (!read_entry(reader, arena, &record->entries[i]))
            return false;
    return true;
}

enum token_verdict receipt_verify(struct token_seal *seal, struct arena *arena, struct slice tenant,
                                  struct slice text, struct receipt *ret_receipt)
{
    uint8_t raw[TOKEN_RAW_MAX];
    struct bytes_reader reader;
    struct receipt receipt = {0};
    struct slice body;
    char *copy;

    if (!token_seal_open(seal, tenant, text, raw, &body))
        return TOKEN_FORGED;
    copy = arena_strndup(arena, body.data, body.len);
    if (!copy)
        return TOKEN_NO_MEMORY;
    reader = bytes_reader_on(slice_of(copy, body.len));
    receipt.tenant = bytes_read_string(&reader, NAME_BYTES_MAX);
    receipt.job_id = bytes_read_string(&reader, JOB_ID_BYTES_MAX);
    if (!read_record(&reader, arena, &receipt.record))
        return TOKEN_NO_MEMORY;
    /* The signature is right, so nobody but another version of ourselves wrote this. */
    if (!bytes_read_all(&reader) || !slice_equal(receipt.tenant, tenant))
        return TOKEN_FORGED;
    *ret_receipt = receipt;
    return TOKEN_GENUINE;
}

/* --- comparing -------------------------------------------------------------------------------- */

static const char *told(const char *text)
{
    return text ? text : "it differs";
}

/* NULL: equal. */
static const char *number_difference(struct arena *arena, const char *of, struct slice meter,
                                     int64_t is, int64_t says)
{
    if (is == says)
        return NULL;
    if (meter.len == 0)
        return told(
            arena_printf(arena, "%s is %" PRId64 ", the receipt says %" PRId64, of, is, says));
    return told(arena_printf(arena, "meter \"%.*s\" has %s %" PRId64 ", the receipt says %" PRId64,
                             SLICE_ARGS(meter), of, is, says));
}

static const char *text_difference(struct arena *arena, const char *of, struct slice is,
                                   struct slice says)
{
    if (slice_equal(is, says))
        return NULL;
    return told(arena_printf(arena, "%s is \"%.*s\", the receipt says \"%.*s\"", of, SLICE_ARGS(is),
                             SLICE_ARGS(says)));
}

struct number {
    const char *name;
    int64_t is, says;
};

static const char *first_difference(struct arena *arena, struct slice meter,
                                    const struct number *numbers, size_t count)
{
    const char *found = NULL;

    for (size_t i = 0; i < count && !found; i++)
        found = number_difference(arena, numbers[i].name, meter, numbers[i].is, numbers[i].says);
    return found;
}

static const char *counted_difference(struct arena *arena, struct slice meter,
                                      const struct settle_counted *is,
                                      const struct settle_counted *says)
{
    const struct number numbers[] = {
        {"limit number", is->ref.limit_id, says->ref.limit_id},
        {"period start", is->ref.period_start_ms, says->ref.period_start_ms},
        {"ledger_seq", is->ledger_seq, says->ledger_seq},
        {"counted amount", is->amount, says->amount},
        {"counted debt", is->debt, says->debt},
    };

    return first_difference(arena, meter, numbers, sizeof(numbers) / sizeof(*numbers));
}

static const char *entry_difference(struct arena *arena, const struct settle_entry *is,
                                    const struct settle_entry *says)
{
    const struct number numbers[] = {
        {"asked", is->asked, says->asked},
        {"amount", is->amount, says->amount},
        {"debt", is->debt, says->debt},
        {"held", is->held, says->held},
        {"quotas", (int64_t)is->counted_count, (int64_t)says->counted_count},
    };
    const char *found = text_difference(arena, "a meter", is->meter, says->meter);

    if (!found)
        found = first_difference(arena, says->meter, numbers, sizeof(numbers) / sizeof(*numbers));
    for (size_t i = 0; !found && i < says->counted_count; i++)
        found = counted_difference(arena, says->meter, &is->counted[i], &says->counted[i]);
    return found;
}

const char *receipt_difference(struct arena *arena, const struct receipt *receipt,
                               const struct settle_record *record)
{
    const struct settle_record *says = &receipt->record;
    const struct number numbers[] = {
        {"the attempt's epoch", record->attempt.epoch, says->attempt.epoch},
        {"the attempt's number", record->attempt.seq, says->attempt.seq},
        {"the time in ms", record->at_ms, says->at_ms},
        {"late", record->late, says->late},
        {"the number of meters", (int64_t)record->entries_count, (int64_t)says->entries_count},
    };
    const char *found =
        first_difference(arena, slice_of(NULL, 0), numbers, sizeof(numbers) / sizeof(*numbers));

    if (!found)
        found = text_difference(arena, "the scope", record->scope, says->scope);
    for (size_t i = 0; !found && i < says->entries_count; i++)
        found = entry_difference(arena, &record->entries[i], &says->entries[i]);
    return found;
}
