/*
 * Scripts as Redis 7 runs them: Lua 5.1 with redis.call, KEYS and ARGV, and its rules of conversion.
 * An error inside a script undoes nothing, as there.
 */
#include "tests/sim/redis.h"

#include "tests/sim/mutants.h"

#include "base/check.h"
#include "base/hex.h"

#include <hiredis.h>
#include <lauxlib.h>
#include <lualib.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHA1_BYTES = 20, WORDS_MAX = 8192 };

static const char redis_key = 0; /* its address names the stand-in in Lua's registry */

static struct redis *redis_of(lua_State *lua)
{
    struct redis *redis;

    lua_pushlightuserdata(lua, (void *)(uintptr_t)&redis_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);
    redis = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    return redis;
}

/* --- replies, into Lua and out of it ------------------------------------------------------------ */

static void push_reply(lua_State *lua, const struct redisReply *reply)
{
    luaL_checkstack(lua, 4, "reply");
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        lua_pushnumber(lua, (lua_Number)reply->integer);
        break;
    case REDIS_REPLY_STRING:
        lua_pushlstring(lua, reply->str, reply->len);
        break;
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        lua_newtable(lua);
        lua_pushlstring(lua, reply->str, reply->len);
        lua_setfield(lua, -2, reply->type == REDIS_REPLY_ERROR ? "err" : "ok");
        break;
    case REDIS_REPLY_ARRAY:
        lua_createtable(lua, (int)reply->elements, 0);
        for (size_t i = 0; i < reply->elements; i++) {
            push_reply(lua, reply->element[i]);
            lua_rawseti(lua, -2, (int)i + 1);
        }
        break;
    default:
        lua_pushboolean(lua, 0);
    }
}

static struct redisReply *take_reply(lua_State *lua, int at);

static struct redisReply *take_array(lua_State *lua, int at)
{
    size_t count = 0;
    struct redisReply *reply;

    for (;; count++) {
        lua_rawgeti(lua, at, (int)count + 1);
        if (lua_isnil(lua, -1))
            break;
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    reply = reply_of_array(count);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, at, (int)i + 1);
        reply->element[i] = take_reply(lua, lua_gettop(lua));
        lua_pop(lua, 1);
    }
    return reply;
}

static struct redisReply *take_table(lua_State *lua, int at)
{
    static const char *const fields[] = {"err", "ok"};
    struct redisReply *reply = NULL;

    for (size_t i = 0; i < ARRAY_COUNT(fields) && !reply; i++) {
        lua_pushstring(lua, fields[i]);
        lua_rawget(lua, at);
        if (lua_type(lua, -1) == LUA_TSTRING)
            reply = i == 0 ? reply_of_error(lua_tostring(lua, -1))
                           : reply_of_status(lua_tostring(lua, -1));
        lua_pop(lua, 1);
    }
    return reply ? reply : take_array(lua, at);
}

static struct redisReply *take_reply(lua_State *lua, int at)
{
    size_t len;
    const char *text;

    luaL_checkstack(lua, 4, "reply");
    switch (lua_type(lua, at)) {
    case LUA_TSTRING:
        text = lua_tolstring(lua, at, &len);
        return reply_of_text(slice_of(text, len));
    case LUA_TNUMBER:
        return reply_of_int((int64_t)lua_tonumber(lua, at));
    case LUA_TBOOLEAN:
        return lua_toboolean(lua, at) ? reply_of_int(1) : reply_new(REDIS_REPLY_NIL);
    case LUA_TTABLE:
        return take_table(lua, at);
    default:
        return reply_new(REDIS_REPLY_NIL);
    }
}

/* --- redis.* ------------------------------------------------------------------------------------ */

static int call(lua_State *lua, bool raise)
{
    struct redis *redis = redis_of(lua);
    size_t count = (size_t)lua_gettop(lua);
    struct slice *words;
    struct redisReply *reply;
    bool failed;

    if (count == 0 || count > WORDS_MAX)
        return luaL_error(lua, "Please specify at least one argument for this redis.call()");
    /* Lua collects it, also when an error leaves this function. */
    words = lua_newuserdata(lua, count * sizeof(*words));
    for (size_t i = 0; i < count; i++) {
        int at = (int)i + 1;

        if (lua_type(lua, at) == LUA_TNUMBER) {
            char text[64];

            /* Not Lua's own conversion, which keeps 14 digits. */
            snprintf(text, sizeof(text), "%.17g", lua_tonumber(lua, at));
            lua_pushstring(lua, text);
            lua_replace(lua, at);
        } else if (lua_type(lua, at) != LUA_TSTRING) {
            return luaL_error(lua, "Lua redis lib command arguments must be strings or integers");
        }
        words[i].data = lua_tolstring(lua, at, &words[i].len);
    }
    reply = redis_command(redis, words, count);
    failed = reply->type == REDIS_REPLY_ERROR;
    push_reply(lua, reply);
    freeReplyObject(reply);
    return failed && raise ? lua_error(lua) : 1;
}

static int redis_call(lua_State *lua)
{
    return call(lua, true);
}

static int redis_pcall(lua_State *lua)
{
    return call(lua, false);
}

static int named_reply(lua_State *lua, const char *field)
{
    lua_newtable(lua);
    lua_pushvalue(lua, 1);
    lua_setfield(lua, -2, field);
    return 1;
}

static int error_reply(lua_State *lua)
{
    return named_reply(lua, "err");
}

static int status_reply(lua_State *lua)
{
    return named_reply(lua, "ok");
}

static void sha1_hex(struct slice text, char out[HEX_LEN(SHA1_BYTES) + 1])
{
    unsigned char digest[SHA1_BYTES];
    unsigned int size = 0;

    CHECK(EVP_Digest(text.data, text.len, digest, &size, EVP_sha1(), NULL) == 1);
    hex_encode(digest, sizeof(digest), out);
}

static int sha1hex(lua_State *lua)
{
    char sha[HEX_LEN(SHA1_BYTES) + 1];
    struct slice text;

    text.data = luaL_checklstring(lua, 1, &text.len);
    sha1_hex(text, sha);
    lua_pushstring(lua, sha);
    return 1;
}

static void open_lua(struct redis *redis)
{
    static const luaL_Reg functions[] = {
        {"call", redis_call},           {"pcall", redis_pcall},
        {"error_reply", error_reply},   {"status_reply", status_reply},
        {"sha1hex", sha1hex},           {NULL, NULL},
    };

    redis->lua = luaL_newstate();
    CHECK(redis->lua);
    luaL_openlibs(redis->lua);
    lua_pushlightuserdata(redis->lua, (void *)(uintptr_t)&redis_key);
    lua_pushlightuserdata(redis->lua, redis);
    lua_rawset(redis->lua, LUA_REGISTRYINDEX);
    luaL_register(redis->lua, "redis", functions);
    lua_settop(redis->lua, 0);
}

/* --- EVAL --------------------------------------------------------------------------------------- */

/* The compiled script's place in Lua's registry, kept under its SHA-1 as a decimal text. */
static bool load_script(struct redis *redis, struct slice text, const char *sha, int *ret_place,
                        struct redisReply **ret_error)
{
    struct member *member;
    char place[16], *mutant = mutant_script(text.data, text.len);
    bool is_new, loaded;

    if (mutant)
        text = slice_from_cstr(mutant);
    /* The first line may say flags; line numbers stay. */
    if (slice_starts_with(text, SLICE("#!"))) {
        const char *end = memchr(text.data, '\n', text.len);

        text = end ? slice_skip(text, (size_t)(end - text.data)) : slice_of("", 0);
    }
    loaded = luaL_loadbuffer(redis->lua, text.data, text.len, "@user_script") == 0;
    free(mutant);
    if (!loaded) {
        *ret_error = reply_of_error(lua_tostring(redis->lua, -1));
        lua_settop(redis->lua, 0);
        return false;
    }
    *ret_place = luaL_ref(redis->lua, LUA_REGISTRYINDEX);
    snprintf(place, sizeof(place), "%d", *ret_place);
    member = table_add(&redis->scripts, slice_from_cstr(sha), &is_new);
    member_set_text(member, slice_from_cstr(place));
    return true;
}

static void push_words(lua_State *lua, const char *name, const struct slice *words, size_t count)
{
    lua_createtable(lua, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(lua, words[i].data, words[i].len);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setglobal(lua, name);
}

static struct redisReply *script_error(lua_State *lua)
{
    char text[512];

    if (lua_istable(lua, -1)) {
        lua_getfield(lua, -1, "err");
        snprintf(text, sizeof(text), "%s script: ", lua_tostring(lua, -1));
    } else {
        snprintf(text, sizeof(text), "ERR %s script: ", lua_tostring(lua, -1));
    }
    return reply_of_error(text);
}

struct redisReply *redis_script(struct redis *redis, const struct slice *words, size_t count,
                                bool by_sha)
{
    char sha[HEX_LEN(SHA1_BYTES) + 1] = "";
    const struct member *known;
    struct redisReply *reply = NULL;
    size_t keys = 0;
    int64_t place = 0;

    for (size_t i = 0; i < words[2].len; i++)
        keys = 10 * keys + (size_t)(words[2].data[i] - '0');
    CHECK(keys + 3 <= count);
    if (!redis->lua)
        open_lua(redis);
    if (by_sha)
        snprintf(sha, sizeof(sha), "%.*s", SLICE_ARGS(words[1]));
    else
        sha1_hex(words[1], sha);
    known = table_find(&redis->scripts, slice_from_cstr(sha));
    if (known) {
        CHECK(slice_to_i64(known->text, &place));
    } else {
        int loaded;

        if (by_sha)
            return reply_of_error("NOSCRIPT No matching script. Please use EVAL.");
        if (!load_script(redis, words[1], sha, &loaded, &reply))
            return reply;
        place = loaded;
    }
    redis->scripts_run++;
    push_words(redis->lua, "KEYS", words + 3, keys);
    push_words(redis->lua, "ARGV", words + 3 + keys, count - 3 - keys);
    lua_rawgeti(redis->lua, LUA_REGISTRYINDEX, (int)place);
    if (lua_pcall(redis->lua, 0, 1, 0) != 0)
        reply = script_error(redis->lua);
    else
        reply = take_reply(redis->lua, 1);
    lua_settop(redis->lua, 0);
    return reply;
}

void redis_script_done(struct redis *redis)
{
    if (redis->lua)
        lua_close(redis->lua);
    table_clear(&redis->scripts);
    redis->lua = NULL;
}
