#include "tests/stub/bearer.h"

#include <string.h>
#include <strings.h>

/* How long it takes says nothing about where they differ. */
static bool same(const char *given, const char *token)
{
    size_t given_len = strlen(given), token_len = strlen(token);
    unsigned char differ = given_len != token_len;

    for (size_t i = 0; i < given_len; i++)
        differ |= (unsigned char)(given[i] ^ token[token_len ? i % token_len : 0]);
    return !differ;
}

static const struct bearer_user *find(const struct bearer *bearer, const char *token)
{
    const struct bearer_user *found = NULL;

    for (size_t i = 0; i < bearer->users_count; i++) {
        if (same(token, bearer->users[i].token))
            found = &bearer->users[i];
    }
    return found;
}

bool bearer_before(void *bearer, struct stub_call *call, void **state)
{
    static const char scheme[] = "Bearer ", health[] = "/grpc.health.v1.Health/";
    const char *given = stub_call_metadata(call, "authorization");
    const struct bearer_user *user = NULL;
    union {
        const char *in;
        void *out; /* the call's user is the application's to write, a name is not */
    } name;

    (void)state;
    if (strncmp(stub_call_method(call), health, strlen(health)) == 0)
        return true;
    if (given && strncasecmp(given, scheme, strlen(scheme)) == 0)
        user = find(bearer, given + strlen(scheme));
    if (user) {
        name.in = user->name;
        stub_call_set_user(call, name.out);
        return true;
    }
    stub_call_add_trailing_static(call, "www-authenticate", "Bearer");
    stub_call_fail(call, STUB_UNAUTHENTICATED, given ? "the token is not known" : "no token was given",
                   NULL, 0);
    return false;
}

const char *bearer_name(const struct stub_call *call)
{
    return stub_call_user(call);
}
