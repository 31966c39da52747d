/*
 * Parameters and results in Postgres' binary format: integers in network byte order, timestamps in
 * microseconds since 2000, an array as a header and its elements, each behind its length.
 */
#include "ledger/database_internal.h"

#include <limits.h>
#include <string.h>

/* Of the types that occur here; they have never changed (pg_type.dat). */
enum { OID_BOOL = 16, OID_BIGINT = 20, OID_TEXT = 25 };

enum { ARRAY_HEADER_BYTES = 20 };

#define EPOCH_2000_MS INT64_C(946684800000)

static void put_u32(char *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof(value));
}

static void put_i64(char *at, int64_t value)
{
    uint64_t swapped = __builtin_bswap64((uint64_t)value);

    memcpy(at, &swapped, sizeof(swapped));
}

static int32_t get_i32(const char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return (int32_t)__builtin_bswap32(value);
}

static int64_t get_i64(const char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return (int64_t)__builtin_bswap64(value);
}

void sql_params_begin(struct sql_params *params, struct arena *arena)
{
    params->arena = arena;
    params->bad = false;
    params->count = 0;
}

static void add(struct sql_params *params, const char *value, size_t len)
{
    CHECK(params->count < SQL_PARAMS_MAX);
    CHECK(len <= INT_MAX);
    params->values[params->count] = value;
    params->lengths[params->count] = (int)len;
    params->formats[params->count] = 1;
    params->count++;
}

static char *reserve(struct sql_params *params, size_t bytes)
{
    char *memory = arena_alloc(params->arena, bytes);

    if (!memory)
        params->bad = true;
    return memory;
}

void sql_add_null(struct sql_params *params)
{
    add(params, NULL, 0);
}

void sql_add_i64(struct sql_params *params, int64_t value)
{
    char *at = reserve(params, 8);

    if (at)
        put_i64(at, value);
    add(params, at, 8);
}

void sql_add_bool(struct sql_params *params, bool value)
{
    add(params, value ? "\1" : "\0", 1);
}

void sql_add_text(struct sql_params *params, struct slice text)
{
    /* A NULL pointer would mean a null. */
    add(params, text.len ? text.data : "", text.len);
}

void sql_add_time_ms(struct sql_params *params, int64_t ms)
{
    sql_add_i64(params, (ms - EPOCH_2000_MS) * 1000);
}

void sql_add_i64s(struct sql_params *params, const int64_t *values, size_t count)
{
    struct sql_array array = sql_array_begin(params, SQL_BIGINT, count, 0);

    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, values[i]);
}

struct sql_array sql_array_begin(struct sql_params *params, enum sql_type type, size_t count,
                                 size_t text_bytes)
{
    static const uint32_t oids[] = {OID_BIGINT, OID_TEXT, OID_BOOL};
    size_t element = type == SQL_BIGINT ? 12 : type == SQL_BOOLEAN ? 5 : 4;
    size_t room = ARRAY_HEADER_BYTES + count * element + text_bytes;
    struct sql_array array = {.params = params, .left = count};
    char *at = reserve(params, room);

    CHECK(count <= INT_MAX);
    if (at) {
        /* Dimensions, whether there are nulls, the type, then length and lower bound. */
        put_u32(at, count > 0 ? 1 : 0);
        put_u32(at + 4, 1);
        put_u32(at + 8, oids[type]);
        put_u32(at + 12, (uint32_t)count);
        put_u32(at + 16, 1);
        array.end = at + ARRAY_HEADER_BYTES;
        array.room = room - ARRAY_HEADER_BYTES;
    }
    add(params, at, count > 0 ? ARRAY_HEADER_BYTES : 12);
    return array;
}

struct sql_array sql_column_begin(struct sql_params *params, enum sql_type type, size_t count,
                                  size_t text_bytes)
{
    struct sql_array array = {.params = params, .left = 1, .plain = true};

    if (sql_form(count) == SQL_FORM_ROWS)
        return sql_array_begin(params, type, count, text_bytes);
    array.room = type == SQL_BIGINT ? 8 : type == SQL_BOOLEAN ? 1 : text_bytes;
    array.end = reserve(params, array.room + 1); /* an empty text has an address too */
    add(params, array.end, 0);
    return array;
}

/* Room for one more element's value, in an array behind its length; NULL when bad. */
static char *array_next(struct sql_array *array, uint32_t length, size_t bytes)
{
    size_t before = array->plain ? 0 : 4;
    char *at = array->end;

    CHECK(array->left > 0);
    array->left--;
    if (!at)
        return NULL;
    CHECK(array->room >= before + bytes);
    if (!array->plain)
        put_u32(at, length);
    array->end = at + before + bytes;
    array->room -= before + bytes;
    array->params->lengths[array->params->count - 1] += (int)(before + bytes);
    return at + before;
}

void sql_array_i64(struct sql_array *array, int64_t value)
{
    char *at = array_next(array, 8, 8);

    if (at)
        put_i64(at, value);
}

void sql_array_bool(struct sql_array *array, bool value)
{
    char *at = array_next(array, 1, 1);

    if (at)
        *at = value ? 1 : 0;
}

void sql_array_text(struct sql_array *array, struct slice text)
{
    char *at = array_next(array, (uint32_t)text.len, text.len);

    if (at && text.len > 0)
        memcpy(at, text.data, text.len);
}

void sql_array_null(struct sql_array *array)
{
    CHECK(!array->plain);
    (void)array_next(array, UINT32_MAX, 0);
}

struct sql_row sql_rows(PGresult *result, struct arena *arena)
{
    return (struct sql_row){.result = result, .arena = arena, .row = -1};
}

size_t sql_count(const struct sql_row *row)
{
    return row->result ? (size_t)PQntuples(row->result) : 0;
}

bool sql_next(struct sql_row *row)
{
    if (!row->result) {
        row->bad = true;
        return false;
    }
    if (row->row >= 0 && row->column != PQnfields(row->result))
        row->bad = true;
    row->row++;
    row->column = 0;
    return !row->bad && row->row < PQntuples(row->result);
}

enum status sql_done(struct sql_row *row)
{
    PQclear(row->result);
    row->result = NULL;
    return row->bad ? STATUS_CORRUPT : STATUS_OK;
}

bool sql_is_null(const struct sql_row *row)
{
    return row->column < PQnfields(row->result) && PQgetisnull(row->result, row->row, row->column);
}

void sql_skip(struct sql_row *row)
{
    row->column++;
}

/* The bytes of the next column; NULL, and bad, if it is null or not there. */
static const char *next_value(struct sql_row *row, size_t *ret_len)
{
    int column = row->column++;

    *ret_len = 0;
    if (column >= PQnfields(row->result) || PQgetisnull(row->result, row->row, column)) {
        row->bad = true;
        return NULL;
    }
    *ret_len = (size_t)PQgetlength(row->result, row->row, column);
    return PQgetvalue(row->result, row->row, column);
}

int64_t sql_i64(struct sql_row *row)
{
    size_t len;
    const char *value = next_value(row, &len);

    if (value && len == 8)
        return get_i64(value);
    if (value && len == 4)
        return get_i32(value);
    if (value && len == 2)
        return (int16_t)((uint8_t)value[0] << 8 | (uint8_t)value[1]);
    row->bad = true;
    return 0;
}

int64_t sql_i64_or(struct sql_row *row, int64_t if_null)
{
    if (!sql_is_null(row))
        return sql_i64(row);
    sql_skip(row);
    return if_null;
}

static char one_byte(struct sql_row *row)
{
    size_t len;
    const char *value = next_value(row, &len);

    if (value && len == 1)
        return *value;
    row->bad = true;
    return 0;
}

bool sql_bool(struct sql_row *row)
{
    return one_byte(row) != 0;
}

char sql_char(struct sql_row *row)
{
    return one_byte(row);
}

struct slice sql_text(struct sql_row *row)
{
    size_t len;
    const char *value = next_value(row, &len);
    char *copy;

    if (!value || len == 0)
        return (struct slice){"", 0};
    copy = arena_strndup(row->arena, value, len);
    if (!copy) {
        row->bad = true;
        return (struct slice){"", 0};
    }
    return slice_of(copy, len);
}

int64_t sql_time_ms(struct sql_row *row)
{
    int64_t us = sql_i64(row);
    int64_t ms = us / 1000 - (us % 1000 < 0);

    return ms + EPOCH_2000_MS;
}

size_t sql_i64s(struct sql_row *row, int64_t **ret)
{
    size_t len;
    const char *value = next_value(row, &len);
    size_t count;
    int64_t *values;

    *ret = NULL;
    if (!value || len < 12 || get_i32(value) == 0)
        return 0;
    count = len >= ARRAY_HEADER_BYTES ? (size_t)get_i32(value + 12) : 0;
    if (get_i32(value) != 1 || get_i32(value + 8) != OID_BIGINT ||
        len != ARRAY_HEADER_BYTES + count * 12) {
        row->bad = true;
        return 0;
    }
    values = arena_array(row->arena, count, sizeof(*values));
    if (!values) {
        row->bad = true;
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        values[i] = get_i64(value + ARRAY_HEADER_BYTES + i * 12 + 4);
    *ret = values;
    return count;
}
