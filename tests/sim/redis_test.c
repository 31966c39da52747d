/*
 * The stand-in against a real Redis: random commands, and every script that whole runs of the simulation
 * send. Each reply must be the same, and at the end everything that is stored.
 *
 * HOLDFAST_SEED=N repeats; HOLDFAST_TEST_ROUNDS=full runs ten times as many.
 */
#include "tests/counter/fixture.h"
#include "tests/sim/fibre.h"
#include "tests/sim/redis.h"
#include "tests/sim/world.h"

#include "base/log.h"

#include <criterion/criterion.h>
#include <hiredis.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

enum { COMMANDS = 60000, SCRIPTS = 45000, WORDS_MAX = 12, TEXT = 32, KEYS = 6 };

static struct fixture f;
static redisContext *real;
static struct dice dice;
static int64_t compared;

static void set_up(void)
{
    const char *seed = getenv("HOLDFAST_SEED");

    log_set_level(LOG_ERROR);
    fixture_set_up(&f);
    real = redisConnectUnix(f.socket);
    cr_assert(real && !real->err);
    dice.state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    printf("HOLDFAST_SEED=%" PRIu64 "\n", dice.state);
}

static void tear_down(void)
{
    printf("%" PRId64 " replies compared\n", compared);
    redisFree(real);
    fixture_tear_down(&f);
}

TestSuite(redis, .init = set_up, .fini = tear_down, .timeout = 600);

static int64_t rounds(int64_t usual)
{
    const char *rounds = getenv("HOLDFAST_TEST_ROUNDS");

    return rounds && strcmp(rounds, "full") == 0 ? 10 * usual : usual;
}

static int64_t no_time(void *user)
{
    (void)user;
    return 0;
}

/* --- comparing ---------------------------------------------------------------------------------- */

/* Behind " script:" an error says where it was. */
static size_t error_len(const struct redisReply *reply)
{
    const char *at = strstr(reply->str, " script:");

    return at ? (size_t)(at - reply->str) : reply->len;
}

static bool same(const struct redisReply *a, const struct redisReply *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case REDIS_REPLY_INTEGER:
        return a->integer == b->integer;
    case REDIS_REPLY_ERROR:
        return slice_equal(slice_of(a->str, error_len(a)), slice_of(b->str, error_len(b)));
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        return slice_equal(slice_of(a->str, a->len), slice_of(b->str, b->len));
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < a->elements && a->elements == b->elements; i++)
            if (!same(a->element[i], b->element[i]))
                return false;
        return a->elements == b->elements;
    default:
        return true;
    }
}

/* In any order: what Redis promises none for. step 2: pairs. */
static bool same_in_any_order(const struct redisReply *a, const struct redisReply *b, size_t step)
{
    if (a->type != REDIS_REPLY_ARRAY || b->type != REDIS_REPLY_ARRAY)
        return same(a, b);
    if (a->elements != b->elements)
        return false;
    for (size_t i = 0; i < a->elements; i += step) {
        bool found = false;

        for (size_t k = 0; k < b->elements && !found; k += step)
            found = same(a->element[i], b->element[k]) &&
                    (step == 1 || same(a->element[i + 1], b->element[k + 1]));
        if (!found)
            return false;
    }
    return true;
}

static void describe(const struct redisReply *reply, char *text, size_t size)
{
    size_t at = 0;

    text[0] = '\0';
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(text, size, "(%lld)", reply->integer);
    else if (reply->str)
        snprintf(text, size, "\"%.200s\"", reply->str);
    for (size_t i = 0; i < reply->elements && at + 40 < size; i++) {
        describe(reply->element[i], text + at, size - at);
        at += strlen(text + at);
    }
}

static void expect_same(const struct redisReply *is, const struct redisReply *should, bool equal,
                        const char *what)
{
    char one[400], other[400];

    compared++;
    if (equal)
        return;
    describe(is, one, sizeof(one));
    describe(should, other, sizeof(other));
    cr_assert_fail("%s: the stand-in says %s, Redis %s", what, one, other);
}

/* --- commands ----------------------------------------------------------------------------------- */

/*
 * Letters of a form say what stands there: k key, f field, v value, i integer, s score, b bound of a
 * range, r rank; anything else is said as it is.
 */
static const struct form {
    const char *words[WORDS_MAX];
    size_t unordered; /* 1 items, 2 pairs in any order; 0: in this order */
} forms[] = {
    {{"HSET", "k", "f", "v"}, 0},
    {{"HSET", "k", "f", "v", "f", "i"}, 0},
    {{"HGET", "k", "f"}, 0},
    {{"HMGET", "k", "f", "f", "f"}, 0},
    {{"HDEL", "k", "f"}, 0},
    {{"HDEL", "k", "f", "f"}, 0},
    {{"HINCRBY", "k", "f", "i"}, 0},
    {{"HLEN", "k"}, 0},
    {{"HEXISTS", "k", "f"}, 0},
    {{"HSETNX", "k", "f", "v"}, 0},
    {{"HGETALL", "k"}, 2},
    {{"HKEYS", "k"}, 1},
    {{"HVALS", "k"}, 1},
    {{"SADD", "k", "f"}, 0},
    {{"SADD", "k", "f", "f", "f"}, 0},
    {{"SREM", "k", "f", "f"}, 0},
    {{"SCARD", "k"}, 0},
    {{"SISMEMBER", "k", "f"}, 0},
    {{"SMISMEMBER", "k", "f", "f", "f"}, 0},
    {{"SMEMBERS", "k"}, 1},
    {{"ZADD", "k", "s", "f"}, 0},
    {{"ZADD", "k", "s", "f", "s", "f"}, 0},
    {{"ZADD", "k", "LT", "s", "f"}, 0},
    {{"ZADD", "k", "GT", "s", "f"}, 0},
    {{"ZADD", "k", "NX", "s", "f"}, 0},
    {{"ZADD", "k", "XX", "CH", "s", "f"}, 0},
    {{"ZREM", "k", "f"}, 0},
    {{"ZCARD", "k"}, 0},
    {{"ZSCORE", "k", "f"}, 0},
    {{"ZCOUNT", "k", "b", "b"}, 0},
    {{"ZRANGE", "k", "r", "r"}, 0},
    {{"ZRANGE", "k", "r", "r", "WITHSCORES"}, 0},
    {{"ZRANGE", "k", "b", "b", "BYSCORE"}, 0},
    {{"ZRANGEBYSCORE", "k", "b", "b", "WITHSCORES"}, 0},
    {{"ZRANGEBYSCORE", "k", "b", "b", "LIMIT", "1", "3"}, 0},
    {{"ZREVRANGE", "k", "r", "r", "WITHSCORES"}, 0},
    {{"ZREVRANGEBYSCORE", "k", "b", "b", "WITHSCORES"}, 0},
    {{"ZREVRANGEBYSCORE", "k", "b", "b", "LIMIT", "1", "3"}, 0},
    {{"ZREMRANGEBYSCORE", "k", "b", "b"}, 0},
    {{"HRANDFIELD", "k", "100", "WITHVALUES"}, 2},
    {{"DEL", "k"}, 0},
    {{"EXISTS", "k", "k"}, 0},
    {{"TYPE", "k"}, 0},
    {{"TTL", "k"}, 0},
    {{"SET", "k", "v"}, 0},
    {{"GET", "k"}, 0},
    {{"EXPIRE", "k", "100000", "NX"}, 0},
};

static void say(const char *form, char text[TEXT])
{
    static const char *const bounds[] = {"-inf", "+inf", "("};
    int64_t at = dice_below(&dice, 12);

    if (form[1] != '\0' || !strchr("kfvisbr", form[0])) {
        snprintf(text, TEXT, "%s", form);
        return;
    }
    switch (form[0]) {
    case 'k':
        snprintf(text, TEXT, "key%" PRId64, dice_below(&dice, KEYS));
        break;
    case 'f':
        snprintf(text, TEXT, "f%" PRId64, dice_below(&dice, 20));
        break;
    case 'v':
        snprintf(text, TEXT, "value%" PRId64, dice_below(&dice, 1000));
        break;
    case 'b':
        if (at < 2)
            snprintf(text, TEXT, "%s", bounds[at]);
        else
            snprintf(text, TEXT, "%s%" PRId64, at < 5 ? "(" : "", dice_below(&dice, 30));
        break;
    case 'r':
        snprintf(text, TEXT, "%" PRId64, dice_between(&dice, -6, 12));
        break;
    default:
        snprintf(text, TEXT, "%" PRId64, dice_between(&dice, form[0] == 'i' ? -50 : 0, 30));
    }
}

static void one_command(struct redis *redis)
{
    const struct form *form = &forms[dice_below(&dice, (int64_t)ARRAY_COUNT(forms))];
    char texts[WORDS_MAX][TEXT], line[WORDS_MAX * TEXT];
    const char *words[WORDS_MAX];
    struct slice slices[WORDS_MAX];
    struct redisReply *is, *should;
    size_t count = 0, at = 0;

    for (; count < WORDS_MAX && form->words[count]; count++) {
        say(form->words[count], texts[count]);
        words[count] = texts[count];
        slices[count] = slice_from_cstr(texts[count]);
        at += (size_t)snprintf(line + at, sizeof(line) - at, "%s ", texts[count]);
    }
    is = redis_command(redis, slices, count);
    should = redisCommandArgv(real, (int)count, words, NULL);
    cr_assert(should);
    expect_same(is, should,
                form->unordered ? same_in_any_order(is, should, form->unordered) : same(is, should),
                line);
    freeReplyObject(is);
    freeReplyObject(should);
}

Test(redis, random_commands_answer_as_redis_does)
{
    struct redis redis;

    redis_init(&redis, "", no_time, NULL);
    freeReplyObject(redisCommand(real, "FLUSHALL"));
    for (int64_t i = 0; i < rounds(COMMANDS); i++)
        one_command(&redis);
    redis_done(&redis);
}

/* --- scripts ------------------------------------------------------------------------------------ */

static void repeat_at_redis(void *user, struct slice bytes, const struct redisReply *reply)
{
    struct redisReply *should = NULL;

    (void)user;
    cr_assert_eq(redisAppendFormattedCommand(real, bytes.data, bytes.len), REDIS_OK);
    cr_assert_eq(redisGetReply(real, (void **)&should), REDIS_OK);
    expect_same(reply, should, same(reply, should), "a script");
    freeReplyObject(should);
}

/* Everything that one has must be what the other has. */
static void compare_stored(struct redis *redis)
{
    static const char *const readers[] = {"GET", "HGETALL", "SMEMBERS", "ZRANGE"};
    struct redisReply *size = redisCommand(real, "DBSIZE");
    struct member *member = NULL;

    cr_assert_eq(size->integer, (int64_t)redis->data.keys.count);
    freeReplyObject(size);
    while ((member = table_next(&redis->data.keys, member))) {
        enum value_type type = member->value->type;
        struct slice words[] = {slice_from_cstr(readers[type]), member->name, SLICE("0"), SLICE("-1"),
                                SLICE("WITHSCORES")};
        const char *texts[] = {words[0].data, member->name.data, "0", "-1", "WITHSCORES"};
        size_t count = type == VALUE_ZSET ? 5 : 2;
        struct redisReply *is = redis_command(redis, words, count);
        struct redisReply *should = redisCommandArgv(real, (int)count, texts, NULL);

        expect_same(is, should,
                    type == VALUE_HASH  ? same_in_any_order(is, should, 2)
                    : type == VALUE_SET ? same_in_any_order(is, should, 1)
                                        : same(is, should),
                    member->name.data);
        freeReplyObject(is);
        freeReplyObject(should);
    }
}

/* Runs without losses of Redis: what happens to the one would have to happen to the other. */
static const uint32_t themes[] = {
    1u << THEME_LATE | 1u << THEME_POSTGRES_NET,
    1u << THEME_RACE | 1u << THEME_REDIS_NET | 1u << THEME_KILL,
    1u << THEME_ADMIN | 1u << THEME_PERIOD | 1u << THEME_TIGHT,
    1u << THEME_BULK | 1u << THEME_NEVER,
};

Test(redis, every_script_of_a_run_answers_as_at_redis)
{
    int64_t scripts = 0;

    for (int i = 0; scripts < rounds(SCRIPTS); i++) {
        struct world *world =
            world_create(dice_u64(&dice), themes[(size_t)i % ARRAY_COUNT(themes)], 0, 3);
        struct redis *redis = &world->nodes[0];

        freeReplyObject(redisCommand(real, "FLUSHALL"));
        snprintf(redis->replid, sizeof(redis->replid), "%s", f.view.replid);
        redis->observer = repeat_at_redis;
        (void)world_run(world); /* whether its promises were kept is not asked here */
        scripts += redis->scripts_run;
        compare_stored(redis);
        world_destroy(world);
    }
}
