/*
 * A small Redis in memory: the commands that the scripts of src/counter/lua use and a few of their
 * neighbours, and the scripts themselves, run by liblua5.1 as Redis runs them. It knows nothing of
 * keys and their layout. redis_test.c compares it with a real one.
 *
 * One thread; nothing blocks. Its clock is a function, for EXPIRE only.
 */
#ifndef HOLDFAST_TESTS_SIM_REDIS_H
#define HOLDFAST_TESTS_SIM_REDIS_H

#include "base/slice.h"
#include "tests/sim/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply;
struct lua_State;

enum value_type { VALUE_STRING, VALUE_HASH, VALUE_SET, VALUE_ZSET };

/* What stands under a key. */
struct value {
    enum value_type type;
    int64_t expires_ms;     /* 0: never */
    struct table members;   /* of a string: one, with an empty name */
    struct member **sorted; /* of a sorted set: by score, then name */
    size_t sorted_room;
};

struct keyspace {
    struct table keys;
};

struct redis {
    struct keyspace data;
    char replid[41];
    bool replica;
    bool dead;     /* nobody is reached there any more */
    int64_t (*now_ms)(void *user);
    void *user;
    /* Told of every command in RESP, after it ran; may be NULL. */
    void (*observer)(void *user, struct slice bytes, const struct redisReply *reply);
    void *observer_user;
    struct lua_State *lua; /* made at the first script */
    struct table scripts;  /* by SHA-1 */
    int64_t commands, scripts_run;
};

void redis_init(struct redis *redis, const char *replid, int64_t (*now_ms)(void *user), void *user);
void redis_done(struct redis *redis);

/* Runs one command. The reply is the caller's: freeReplyObject. Never NULL. */
struct redisReply *redis_command(struct redis *redis, const struct slice *words, size_t count);

/* The same for a command in RESP, as counter/request.c writes it. Returns its length in bytes. */
struct redisReply *redis_command_resp(struct redis *redis, struct slice bytes, size_t *ret_len);

/* Everything that is stored, as it is now; and back again. */
void keyspace_copy(const struct keyspace *from, struct keyspace *to);
void keyspace_clear(struct keyspace *keyspace);

/* --- for redis_*.c ------------------------------------------------------------------------------ */

/* NULL: no such key (any more). */
struct value *keyspace_find(struct redis *redis, struct slice key);
struct value *keyspace_add(struct redis *redis, struct slice key, enum value_type type);
void keyspace_remove(struct redis *redis, struct slice key);

/* A sorted set's member: new or moved. True: it is new. */
bool zset_put(struct value *value, struct slice name, double score);
void zset_remove(struct value *value, struct member *member);
/* Index of the first member with a score of at least (strict: above) `score`. */
size_t zset_at(const struct value *value, double score, bool strict);

struct redisReply *reply_new(int type);
struct redisReply *reply_of_int(int64_t value);
struct redisReply *reply_of_text(struct slice text);
struct redisReply *reply_of_status(const char *text);
struct redisReply *reply_of_error(const char *text);
struct redisReply *reply_of_array(size_t count); /* elements NULL, to be set */

/* EVAL and EVALSHA. */
struct redisReply *redis_script(struct redis *redis, const struct slice *words, size_t count,
                                bool by_sha);
void redis_script_done(struct redis *redis);

#endif
