#include "tests/sim/redis.h"

#include "base/check.h"

#include <errno.h>
#include <hiredis.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define WRONG_TYPE "WRONGTYPE Operation against a key holding the wrong kind of value"

/* A command at work: words[0] is its name, words[1] usually the key. */
struct command {
    struct redis *redis;
    const struct slice *words;
    size_t count;
    struct redisReply *error;
};

static bool is_word(struct slice word, const char *text)
{
    return word.len == strlen(text) && strncasecmp(word.data, text, word.len) == 0;
}

static struct redisReply *nil(void)
{
    return reply_new(REDIS_REPLY_NIL);
}

static struct redisReply *text_or_nil(const struct member *member)
{
    return member ? reply_of_text(member->text) : nil();
}

static struct value *fail(struct command *command, const char *text)
{
    if (!command->error)
        command->error = reply_of_error(text);
    return NULL;
}

/* The value under words[1]; NULL: none, or of another type (error is set). */
static struct value *find(struct command *command, enum value_type type)
{
    struct value *value = keyspace_find(command->redis, command->words[1]);

    return value && value->type != type ? fail(command, WRONG_TYPE) : value;
}

static struct value *find_or_add(struct command *command, enum value_type type)
{
    struct value *value = keyspace_add(command->redis, command->words[1], type);

    return value->type != type ? fail(command, WRONG_TYPE) : value;
}

/* Redis keeps no empty collections. */
static void forget_empty(struct command *command, const struct value *value)
{
    if (value->members.count == 0)
        keyspace_remove(command->redis, command->words[1]);
}

static int64_t integer(struct command *command, struct slice word)
{
    int64_t value = 0;

    if (!slice_to_i64(word, &value))
        fail(command, "ERR value is not an integer or out of range");
    return value;
}

static double number(struct command *command, struct slice word)
{
    char text[64], *end = text;
    double value = 0;

    if (word.len > 0 && word.len < sizeof(text)) {
        memcpy(text, word.data, word.len);
        text[word.len] = '\0';
        value = strtod(text, &end);
    }
    if (end == text || *end != '\0' || isnan(value))
        fail(command, "ERR value is not a valid float");
    return value;
}

static struct redisReply *score_reply(double score)
{
    char text[64];

    if (score == (double)(int64_t)score && fabs(score) < 1e17)
        snprintf(text, sizeof(text), "%" PRId64, (int64_t)score);
    else
        snprintf(text, sizeof(text), "%.17g", score);
    return reply_of_text(slice_from_cstr(text));
}

/* --- any key ------------------------------------------------------------------------------------ */

static struct redisReply *do_del(struct command *command)
{
    int64_t removed = 0;

    for (size_t i = 1; i < command->count; i++) {
        removed += keyspace_find(command->redis, command->words[i]) != NULL;
        keyspace_remove(command->redis, command->words[i]);
    }
    return reply_of_int(removed);
}

static struct redisReply *do_exists(struct command *command)
{
    int64_t found = 0;

    for (size_t i = 1; i < command->count; i++)
        found += keyspace_find(command->redis, command->words[i]) != NULL;
    return reply_of_int(found);
}

static struct redisReply *expire(struct command *command, int64_t unit_ms)
{
    struct value *value = keyspace_find(command->redis, command->words[1]);
    int64_t after = integer(command, command->words[2]);
    bool nx = command->count > 3 && is_word(command->words[3], "NX");

    if (!value || command->error || (nx && value->expires_ms != 0))
        return reply_of_int(0);
    value->expires_ms = command->redis->now_ms(command->redis->user) + after * unit_ms;
    return reply_of_int(1);
}

static struct redisReply *do_expire(struct command *command)
{
    return expire(command, 1000);
}

static struct redisReply *do_pexpire(struct command *command)
{
    return expire(command, 1);
}

static struct redisReply *do_ttl(struct command *command)
{
    const struct value *value = keyspace_find(command->redis, command->words[1]);
    int64_t left_ms;

    if (!value || value->expires_ms == 0)
        return reply_of_int(value ? -1 : -2);
    left_ms = value->expires_ms - command->redis->now_ms(command->redis->user);
    return reply_of_int((left_ms + 500) / 1000);
}

static struct redisReply *do_type(struct command *command)
{
    static const char *const names[] = {"string", "hash", "set", "zset"};
    const struct value *value = keyspace_find(command->redis, command->words[1]);

    return reply_of_status(value ? names[value->type] : "none");
}

static struct redisReply *do_flushall(struct command *command)
{
    keyspace_clear(&command->redis->data);
    return reply_of_status("OK");
}

static struct redisReply *do_info(struct command *command)
{
    char text[512];

    if (command->count > 1 && is_word(command->words[1], "memory"))
        return reply_of_text(SLICE("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n"));
    snprintf(text, sizeof(text),
             "# Replication\r\nrole:%s\r\nconnected_slaves:0\r\nmaster_replid:%s\r\n",
             command->redis->replica ? "slave" : "master", command->redis->replid);
    return reply_of_text(slice_from_cstr(text));
}

/* --- strings ------------------------------------------------------------------------------------ */

static struct redisReply *do_get(struct command *command)
{
    const struct value *value = find(command, VALUE_STRING);

    return text_or_nil(value ? table_find(&value->members, SLICE("")) : NULL);
}

static struct redisReply *do_set(struct command *command)
{
    struct value *value;
    bool is_new;

    keyspace_remove(command->redis, command->words[1]);
    value = keyspace_add(command->redis, command->words[1], VALUE_STRING);
    member_set_text(table_add(&value->members, SLICE(""), &is_new), command->words[2]);
    return reply_of_status("OK");
}

/* --- hashes ------------------------------------------------------------------------------------- */

static struct redisReply *do_hget(struct command *command)
{
    const struct value *value = find(command, VALUE_HASH);

    return text_or_nil(value ? table_find(&value->members, command->words[2]) : NULL);
}

static struct redisReply *do_hmget(struct command *command)
{
    const struct value *value = find(command, VALUE_HASH);
    struct redisReply *reply = reply_of_array(command->count - 2);

    for (size_t i = 2; i < command->count; i++)
        reply->element[i - 2] =
            text_or_nil(value ? table_find(&value->members, command->words[i]) : NULL);
    return reply;
}

static struct redisReply *do_hset(struct command *command)
{
    struct value *value;
    int64_t added = 0;

    if (command->count % 2 != 0)
        fail(command, "ERR wrong number of arguments for 'hset' command");
    if (command->error || !(value = find_or_add(command, VALUE_HASH)))
        return NULL;
    for (size_t i = 2; i < command->count; i += 2) {
        bool is_new;

        member_set_text(table_add(&value->members, command->words[i], &is_new),
                        command->words[i + 1]);
        added += is_new;
    }
    return reply_of_int(added);
}

static struct redisReply *do_hsetnx(struct command *command)
{
    struct value *value = find_or_add(command, VALUE_HASH);
    struct member *member;
    bool is_new = false;

    if (!value)
        return NULL;
    member = table_add(&value->members, command->words[2], &is_new);
    if (is_new)
        member_set_text(member, command->words[3]);
    return reply_of_int(is_new);
}

static struct redisReply *remove_members(struct command *command, enum value_type type)
{
    struct value *value = find(command, type);
    int64_t removed = 0;

    if (!value)
        return reply_of_int(0);
    for (size_t i = 2; i < command->count; i++) {
        struct member *member = table_find(&value->members, command->words[i]);

        if (!member)
            continue;
        if (type == VALUE_ZSET)
            zset_remove(value, member);
        else
            table_remove(&value->members, member);
        removed++;
    }
    forget_empty(command, value);
    return reply_of_int(removed);
}

static struct redisReply *do_hdel(struct command *command)
{
    return remove_members(command, VALUE_HASH);
}

static struct redisReply *do_hincrby(struct command *command)
{
    int64_t by = integer(command, command->words[3]), before = 0;
    struct value *value = command->error ? NULL : find_or_add(command, VALUE_HASH);
    struct member *member;
    char text[32];
    bool is_new;

    if (!value)
        return NULL;
    member = table_add(&value->members, command->words[2], &is_new);
    if (!is_new && !slice_to_i64(member->text, &before)) {
        fail(command, "ERR hash value is not an integer");
        return NULL;
    }
    snprintf(text, sizeof(text), "%" PRId64, before + by);
    member_set_text(member, slice_from_cstr(text));
    return reply_of_int(before + by);
}

static struct redisReply *count_of(struct command *command, enum value_type type)
{
    const struct value *value = find(command, type);

    return reply_of_int(value ? (int64_t)value->members.count : 0);
}

static struct redisReply *do_hlen(struct command *command)
{
    return count_of(command, VALUE_HASH);
}

/* Names, texts or both, of every member. */
static struct redisReply *all_of(struct command *command, enum value_type type, bool names,
                                 bool texts)
{
    const struct value *value = find(command, type);
    struct redisReply *reply =
        reply_of_array(value ? value->members.count * ((size_t)names + (size_t)texts) : 0);
    struct member *member = NULL;
    size_t at = 0;

    while (value && (member = table_next(&value->members, member))) {
        if (names)
            reply->element[at++] = reply_of_text(member->name);
        if (texts)
            reply->element[at++] = reply_of_text(member->text);
    }
    return reply;
}

static struct redisReply *do_hgetall(struct command *command)
{
    return all_of(command, VALUE_HASH, true, true);
}

static struct redisReply *do_hkeys(struct command *command)
{
    return all_of(command, VALUE_HASH, true, false);
}

static struct redisReply *do_hvals(struct command *command)
{
    return all_of(command, VALUE_HASH, false, true);
}

/* All in one go, whatever the cursor: that is one of the things that Redis may do. */
static struct redisReply *scan(struct command *command, enum value_type type)
{
    struct redisReply *reply = reply_of_array(2);

    reply->element[0] = reply_of_text(SLICE("0"));
    reply->element[1] = all_of(command, type, true, type == VALUE_HASH);
    return reply;
}

static struct redisReply *do_hscan(struct command *command)
{
    return scan(command, VALUE_HASH);
}

static struct redisReply *do_sscan(struct command *command)
{
    return scan(command, VALUE_SET);
}

/* The first ones of the table: Redis promises no order. */
static struct redisReply *do_hrandfield(struct command *command)
{
    const struct value *value = find(command, VALUE_HASH);
    int64_t max = command->count > 2 ? integer(command, command->words[2]) : 1;
    size_t per = command->count > 3 && is_word(command->words[3], "WITHVALUES") ? 2 : 1;
    struct member *member = NULL;
    struct redisReply *reply;
    size_t count = value ? value->members.count : 0;

    if (command->count <= 2)
        return value ? reply_of_text(table_next(&value->members, NULL)->name) : nil();
    if (max < 0)
        max = -max;
    count = (int64_t)count < max ? count : (size_t)max;
    reply = reply_of_array(count * per);
    for (size_t i = 0; i < count; i++) {
        member = table_next(&value->members, member);
        reply->element[i * per] = reply_of_text(member->name);
        if (per == 2)
            reply->element[i * per + 1] = reply_of_text(member->text);
    }
    return reply;
}

/* --- sets --------------------------------------------------------------------------------------- */

static struct redisReply *do_sadd(struct command *command)
{
    struct value *value = find_or_add(command, VALUE_SET);
    int64_t added = 0;

    if (!value)
        return NULL;
    for (size_t i = 2; i < command->count; i++) {
        bool is_new;

        (void)table_add(&value->members, command->words[i], &is_new);
        added += is_new;
    }
    return reply_of_int(added);
}

static struct redisReply *do_srem(struct command *command)
{
    return remove_members(command, VALUE_SET);
}

static struct redisReply *do_scard(struct command *command)
{
    return count_of(command, VALUE_SET);
}

static struct redisReply *do_smembers(struct command *command)
{
    return all_of(command, VALUE_SET, true, false);
}

static struct redisReply *has(struct command *command, enum value_type type)
{
    const struct value *value = find(command, type);

    return reply_of_int(value && table_find(&value->members, command->words[2]));
}

static struct redisReply *do_sismember(struct command *command)
{
    return has(command, VALUE_SET);
}

static struct redisReply *do_hexists(struct command *command)
{
    return has(command, VALUE_HASH);
}

static struct redisReply *do_smismember(struct command *command)
{
    const struct value *value = find(command, VALUE_SET);
    struct redisReply *reply = reply_of_array(command->count - 2);

    for (size_t i = 2; i < command->count; i++)
        reply->element[i - 2] =
            reply_of_int(value && table_find(&value->members, command->words[i]));
    return reply;
}

/* --- sorted sets -------------------------------------------------------------------------------- */

struct zadd_flags {
    bool nx, xx, lt, gt, ch;
};

static bool zadd_flag(struct zadd_flags *flags, struct slice word)
{
    bool *const places[] = {&flags->nx, &flags->xx, &flags->lt, &flags->gt, &flags->ch};
    static const char *const names[] = {"NX", "XX", "LT", "GT", "CH"};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (is_word(word, names[i])) {
            *places[i] = true;
            return true;
        }
    return false;
}

static struct redisReply *do_zadd(struct command *command)
{
    struct zadd_flags flags = {0};
    size_t first = 2;
    struct value *value;
    int64_t added = 0, changed = 0;

    while (first < command->count && zadd_flag(&flags, command->words[first]))
        first++;
    if (first >= command->count || (command->count - first) % 2 != 0)
        fail(command, "ERR syntax error");
    for (size_t i = first; i < command->count && !command->error; i += 2)
        (void)number(command, command->words[i]);
    if (command->error || !(value = find_or_add(command, VALUE_ZSET)))
        return NULL;
    for (size_t i = first; i < command->count; i += 2) {
        double score = number(command, command->words[i]);
        const struct member *member = table_find(&value->members, command->words[i + 1]);

        if (member ? flags.nx || (flags.lt && score >= member->score) ||
                         (flags.gt && score <= member->score)
                   : flags.xx)
            continue;
        changed += !member || member->score < score || member->score > score;
        added += zset_put(value, command->words[i + 1], score);
    }
    forget_empty(command, value);
    return reply_of_int(flags.ch ? changed : added);
}

static struct redisReply *do_zrem(struct command *command)
{
    return remove_members(command, VALUE_ZSET);
}

static struct redisReply *do_zcard(struct command *command)
{
    return count_of(command, VALUE_ZSET);
}

static struct redisReply *do_zscore(struct command *command)
{
    const struct value *value = find(command, VALUE_ZSET);
    const struct member *member = value ? table_find(&value->members, command->words[2]) : NULL;

    return member ? score_reply(member->score) : nil();
}

/* Where a range by score begins (as an index) or ends (one past it). */
static size_t bound(struct command *command, const struct value *value, struct slice word, bool end)
{
    bool open = word.len > 0 && word.data[0] == '(';
    double score = number(command, open ? slice_skip(word, 1) : word);

    return zset_at(value, score, end != open);
}

static struct redisReply *do_zcount(struct command *command)
{
    const struct value *value = find(command, VALUE_ZSET);
    size_t from, to;

    if (!value)
        return reply_of_int(0);
    from = bound(command, value, command->words[2], false);
    to = bound(command, value, command->words[3], true);
    return reply_of_int(to > from ? (int64_t)(to - from) : 0);
}

/* What a range command asks for besides its ends. */
struct range {
    bool scores, by_score, falling;
    int64_t offset, limit;
};

static struct redisReply *slice_reply(const struct value *value, size_t from, size_t to,
                                      const struct range *range)
{
    size_t per = range->scores ? 2 : 1, count = to > from ? to - from : 0, at = 0;
    struct redisReply *reply = reply_of_array(count * per);

    for (size_t i = 0; i < count; i++) {
        const struct member *member = value->sorted[range->falling ? to - 1 - i : from + i];

        reply->element[at++] = reply_of_text(member->name);
        if (range->scores)
            reply->element[at++] = score_reply(member->score);
    }
    return reply;
}

/* ZRANGEBYSCORE key min max, ZREVRANGEBYSCORE key max min, ZRANGE key min max BYSCORE */
static struct redisReply *by_score(struct command *command, const struct value *value,
                                   const struct range *range)
{
    size_t least = range->falling ? 3 : 2;
    size_t from = bound(command, value, command->words[least], false);
    size_t to = bound(command, value, command->words[5 - least], true);
    size_t offset = (size_t)range->offset;

    offset = to > from && offset < to - from ? offset : to > from ? to - from : 0;
    if (range->falling)
        to -= offset;
    else
        from += offset;
    if (range->limit >= 0 && to > from && to - from > (size_t)range->limit) {
        from = range->falling ? to - (size_t)range->limit : from;
        to = from + (size_t)range->limit;
    }
    return slice_reply(value, from, to, range);
}

static struct redisReply *by_rank(struct command *command, const struct value *value,
                                  const struct range *range)
{
    int64_t count = (int64_t)value->members.count;
    int64_t from = integer(command, command->words[2]);
    int64_t to = integer(command, command->words[3]);

    from = from < 0 ? from + count : from;
    to = to < 0 ? to + count : to;
    from = from < 0 ? 0 : from;
    to = to >= count ? count - 1 : to;
    if (from > to)
        return reply_of_array(0);
    return range->falling ? slice_reply(value, (size_t)(count - 1 - to), (size_t)(count - from), range)
                          : slice_reply(value, (size_t)from, (size_t)to + 1, range);
}

static struct redisReply *range(struct command *command, bool score_range, bool falling)
{
    const struct value *value = find(command, VALUE_ZSET);
    struct range asked = {.by_score = score_range, .falling = falling, .limit = -1};

    for (size_t i = 4; i < command->count; i++) {
        if (is_word(command->words[i], "WITHSCORES")) {
            asked.scores = true;
        } else if (is_word(command->words[i], "BYSCORE")) {
            asked.by_score = true;
        } else if (is_word(command->words[i], "LIMIT") && i + 2 < command->count) {
            asked.offset = integer(command, command->words[i + 1]);
            asked.limit = integer(command, command->words[i + 2]);
            i += 2;
        } else {
            fail(command, "ERR syntax error");
        }
    }
    if (command->error || !value)
        return command->error ? NULL : reply_of_array(0);
    return asked.by_score ? by_score(command, value, &asked) : by_rank(command, value, &asked);
}

static struct redisReply *do_zrange(struct command *command)
{
    return range(command, false, false);
}

static struct redisReply *do_zrevrange(struct command *command)
{
    return range(command, false, true);
}

static struct redisReply *do_zrevrangebyscore(struct command *command)
{
    return range(command, true, true);
}

static struct redisReply *do_zrangebyscore(struct command *command)
{
    return range(command, true, false);
}

static struct redisReply *do_zremrangebyscore(struct command *command)
{
    struct value *value = find(command, VALUE_ZSET);
    size_t from, to;

    if (!value)
        return reply_of_int(0);
    from = bound(command, value, command->words[2], false);
    to = bound(command, value, command->words[3], true);
    if (command->error)
        return NULL;
    for (size_t i = to; i > from; i--)
        zset_remove(value, value->sorted[i - 1]);
    forget_empty(command, value);
    return reply_of_int(to > from ? (int64_t)(to - from) : 0);
}

/* All in one go. */
static struct redisReply *do_zscan(struct command *command)
{
    const struct value *value = find(command, VALUE_ZSET);
    const struct range all = {.scores = true};
    struct redisReply *reply = reply_of_array(2);

    reply->element[0] = reply_of_text(SLICE("0"));
    reply->element[1] =
        value ? slice_reply(value, 0, value->members.count, &all) : reply_of_array(0);
    return reply;
}

/* --- the table ---------------------------------------------------------------------------------- */

static struct redisReply *do_eval(struct command *command)
{
    return redis_script(command->redis, command->words, command->count, false);
}

static struct redisReply *do_evalsha(struct command *command)
{
    return redis_script(command->redis, command->words, command->count, true);
}

static const struct verb {
    const char *name;
    size_t words_min;
    struct redisReply *(*run)(struct command *command);
} verbs[] = {
    {"HMGET", 3, do_hmget},       {"HSET", 4, do_hset},       {"EVALSHA", 3, do_evalsha},
    {"HGET", 3, do_hget},         {"ZRANGE", 4, do_zrange},   {"ZADD", 4, do_zadd},
    {"INFO", 1, do_info},         {"EVAL", 3, do_eval},       {"DEL", 2, do_del},
    {"UNLINK", 2, do_del},        {"EXISTS", 2, do_exists},   {"EXPIRE", 3, do_expire},
    {"PEXPIRE", 3, do_pexpire},   {"TTL", 2, do_ttl},         {"TYPE", 2, do_type},
    {"FLUSHALL", 1, do_flushall}, {"GET", 2, do_get},         {"SET", 3, do_set},
    {"HSETNX", 4, do_hsetnx},     {"HDEL", 3, do_hdel},       {"HINCRBY", 4, do_hincrby},
    {"HLEN", 2, do_hlen},         {"HGETALL", 2, do_hgetall}, {"HKEYS", 2, do_hkeys},
    {"HVALS", 2, do_hvals},       {"HSCAN", 3, do_hscan},     {"HRANDFIELD", 2, do_hrandfield},
    {"HEXISTS", 3, do_hexists},   {"SADD", 3, do_sadd},       {"SREM", 3, do_srem},
    {"SCARD", 2, do_scard},       {"SMEMBERS", 2, do_smembers},
    {"SISMEMBER", 3, do_sismember}, {"SMISMEMBER", 3, do_smismember}, {"SSCAN", 3, do_sscan},
    {"ZREM", 3, do_zrem},         {"ZCARD", 2, do_zcard},     {"ZSCORE", 3, do_zscore},
    {"ZCOUNT", 4, do_zcount},     {"ZRANGEBYSCORE", 4, do_zrangebyscore},
    {"ZREVRANGE", 4, do_zrevrange}, {"ZREVRANGEBYSCORE", 4, do_zrevrangebyscore},
    {"ZREMRANGEBYSCORE", 4, do_zremrangebyscore}, {"ZSCAN", 3, do_zscan},
};

struct redisReply *redis_command(struct redis *redis, const struct slice *words, size_t count)
{
    struct command command = {.redis = redis, .words = words, .count = count};
    struct redisReply *reply;
    char text[128];

    CHECK(count > 0);
    redis->commands++;
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (!is_word(words[0], verbs[i].name))
            continue;
        if (count < verbs[i].words_min)
            return reply_of_error("ERR wrong number of arguments");
        reply = verbs[i].run(&command);
        if (!command.error)
            return reply;
        if (reply)
            freeReplyObject(reply);
        return command.error;
    }
    snprintf(text, sizeof(text), "ERR unknown command '%.*s'", SLICE_ARGS(words[0]));
    return reply_of_error(text);
}

/* --- RESP --------------------------------------------------------------------------------------- */

/* "*3\r\n" or "$5\r\n": the number; *at moves behind it. */
static size_t resp_number(struct slice bytes, size_t *at, char mark)
{
    size_t value = 0;

    CHECK(*at < bytes.len && bytes.data[*at] == mark);
    for (++*at; bytes.data[*at] != '\r'; ++*at)
        value = 10 * value + (size_t)(bytes.data[*at] - '0');
    *at += 2;
    return value;
}

struct redisReply *redis_command_resp(struct redis *redis, struct slice bytes, size_t *ret_len)
{
    size_t at = 0;
    size_t count = resp_number(bytes, &at, '*');
    struct slice *words = calloc(count, sizeof(*words));
    struct redisReply *reply;

    CHECK(words);
    for (size_t i = 0; i < count; i++) {
        words[i].len = resp_number(bytes, &at, '$');
        words[i].data = bytes.data + at;
        at += words[i].len + 2;
        CHECK(at <= bytes.len);
    }
    reply = redis_command(redis, words, count);
    free(words);
    *ret_len = at;
    if (redis->observer)
        redis->observer(redis->observer_user, slice_of(bytes.data, at), reply);
    return reply;
}

void redis_init(struct redis *redis, const char *replid, int64_t (*now_ms)(void *user), void *user)
{
    *redis = (struct redis){.now_ms = now_ms, .user = user};
    snprintf(redis->replid, sizeof(redis->replid), "%s", replid);
}

void redis_done(struct redis *redis)
{
    keyspace_clear(&redis->data);
    redis_script_done(redis);
}
