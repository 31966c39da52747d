#include "tests/sim/redis.h"

#include "base/check.h"

#include <hiredis.h>
#include <stdlib.h>
#include <string.h>

/* --- keys --------------------------------------------------------------------------------------- */

static void value_free(struct value *value)
{
    table_clear(&value->members);
    free(value->sorted);
    free(value);
}

void keyspace_remove(struct redis *redis, struct slice key)
{
    struct member *member = table_find(&redis->data.keys, key);

    if (!member)
        return;
    value_free(member->value);
    table_remove(&redis->data.keys, member);
}

struct value *keyspace_find(struct redis *redis, struct slice key)
{
    struct member *member = table_find(&redis->data.keys, key);

    if (!member)
        return NULL;
    if (member->value->expires_ms == 0 || member->value->expires_ms > redis->now_ms(redis->user))
        return member->value;
    keyspace_remove(redis, key);
    return NULL;
}

struct value *keyspace_add(struct redis *redis, struct slice key, enum value_type type)
{
    struct value *value = keyspace_find(redis, key);
    struct member *member;
    bool is_new;

    if (value)
        return value;
    member = table_add(&redis->data.keys, key, &is_new);
    value = calloc(1, sizeof(*value));
    CHECK(value && is_new);
    value->type = type;
    member->value = value;
    return value;
}

void keyspace_clear(struct keyspace *keyspace)
{
    struct member *member = NULL;

    while ((member = table_next(&keyspace->keys, member)))
        value_free(member->value);
    table_clear(&keyspace->keys);
}

static struct value *value_copy(const struct value *from)
{
    struct value *to = calloc(1, sizeof(*to));
    struct member *member = NULL;

    CHECK(to);
    to->type = from->type;
    to->expires_ms = from->expires_ms;
    while ((member = table_next(&from->members, member))) {
        struct member *copy;
        bool is_new;

        if (from->type == VALUE_ZSET) {
            zset_put(to, member->name, member->score);
            continue;
        }
        copy = table_add(&to->members, member->name, &is_new);
        if (member->text.data)
            member_set_text(copy, member->text);
    }
    return to;
}

void keyspace_copy(const struct keyspace *from, struct keyspace *to)
{
    struct member *member = NULL;

    keyspace_clear(to);
    while ((member = table_next(&from->keys, member))) {
        bool is_new;

        table_add(&to->keys, member->name, &is_new)->value = value_copy(member->value);
    }
}

/* --- sorted sets -------------------------------------------------------------------------------- */

static bool is_before(const struct member *member, double score, struct slice name)
{
    if (member->score < score || member->score > score)
        return member->score < score;
    return slice_compare(member->name, name) < 0;
}

static size_t place_of(const struct value *value, double score, struct slice name)
{
    size_t low = 0, high = value->members.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (is_before(value->sorted[middle], score, name))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void take_out(struct value *value, const struct member *member, size_t count)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (is_before(value->sorted[middle], member->score, member->name))
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low < count && value->sorted[low] == member);
    memmove(&value->sorted[low], &value->sorted[low + 1],
            (count - low - 1) * sizeof(struct member *));
}

bool zset_put(struct value *value, struct slice name, double score)
{
    bool is_new;
    struct member *member = table_add(&value->members, name, &is_new);
    size_t count = value->members.count - 1, at;

    if (!is_new)
        take_out(value, member, count + 1);
    if (value->members.count > value->sorted_room) {
        value->sorted_room = 2 * value->members.count + 8;
        value->sorted =
            realloc(value->sorted, value->sorted_room * sizeof(struct member *));
        CHECK(value->sorted);
    }
    member->score = score;
    /* The table counts the member already; the array does not hold it yet. */
    value->members.count--;
    at = place_of(value, score, member->name);
    value->members.count++;
    memmove(&value->sorted[at + 1], &value->sorted[at], (count - at) * sizeof(struct member *));
    value->sorted[at] = member;
    return is_new;
}

void zset_remove(struct value *value, struct member *member)
{
    take_out(value, member, value->members.count);
    table_remove(&value->members, member);
}

size_t zset_at(const struct value *value, double score, bool strict)
{
    size_t low = 0, high = value->members.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (value->sorted[middle]->score < score ||
            (strict && value->sorted[middle]->score <= score))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- replies ------------------------------------------------------------------------------------ */

struct redisReply *reply_new(int type)
{
    struct redisReply *reply = calloc(1, sizeof(*reply));

    CHECK(reply);
    reply->type = type;
    return reply;
}

struct redisReply *reply_of_int(int64_t value)
{
    struct redisReply *reply = reply_new(REDIS_REPLY_INTEGER);

    reply->integer = value;
    return reply;
}

static struct redisReply *text_reply(int type, struct slice text)
{
    struct redisReply *reply = reply_new(type);

    reply->str = malloc(text.len + 1);
    CHECK(reply->str);
    if (text.len > 0)
        memcpy(reply->str, text.data, text.len);
    reply->str[text.len] = '\0';
    reply->len = text.len;
    return reply;
}

struct redisReply *reply_of_text(struct slice text)
{
    return text_reply(REDIS_REPLY_STRING, text);
}

struct redisReply *reply_of_status(const char *text)
{
    return text_reply(REDIS_REPLY_STATUS, slice_from_cstr(text));
}

struct redisReply *reply_of_error(const char *text)
{
    return text_reply(REDIS_REPLY_ERROR, slice_from_cstr(text));
}

struct redisReply *reply_of_array(size_t count)
{
    struct redisReply *reply = reply_new(REDIS_REPLY_ARRAY);

    reply->elements = count;
    if (count > 0) {
        reply->element = calloc(count, sizeof(struct redisReply *));
        CHECK(reply->element);
    }
    return reply;
}
