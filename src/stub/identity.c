/*
 * Who the client is, by the certificate that it has proven to own. Only names that the certificate's
 * issuer has vouched for as subject alternative names count; the common name has no defined meaning.
 */
#include "stub/core.h"
#include "stub/runtime.h"

#include "stub/security.h"
#include "stub/tls_store.h"

#include <string.h>

static const struct {
    enum stub_identity_kind kind;
    const char *property;
} kinds[] = {
    {STUB_IDENTITY_URI, GRPC_PEER_URI_PROPERTY_NAME},
    {STUB_IDENTITY_DNS, GRPC_PEER_DNS_PROPERTY_NAME},
    {STUB_IDENTITY_EMAIL, GRPC_PEER_EMAIL_PROPERTY_NAME},
    {STUB_IDENTITY_IP, GRPC_PEER_IP_PROPERTY_NAME},
};

/* A plaintext port of the same server has not asked for a certificate. */
static bool is_tls(const grpc_auth_context *context)
{
    grpc_auth_property_iterator properties =
        grpc_auth_context_find_properties_by_name(context,
                                                  GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME);
    const grpc_auth_property *property = grpc_auth_property_iterator_next(&properties);

    return property && strcmp(property->value, GRPC_SSL_TRANSPORT_SECURITY_TYPE) == 0;
}

/* Counts the names, and writes them down unless names is NULL. */
static size_t collect(struct stub_call *call, const grpc_auth_context *context,
                      struct stub_identity *names)
{
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        grpc_auth_property_iterator properties =
            grpc_auth_context_find_properties_by_name(context, kinds[i].property);
        const grpc_auth_property *property;

        while ((property = grpc_auth_property_iterator_next(&properties))) {
            /* "admin\0.example.com" is not "admin". */
            if (property->value_length == 0 ||
                memchr(property->value, '\0', property->value_length))
                continue;
            if (names) {
                names[count].kind = kinds[i].kind;
                names[count].name =
                    arena_strndup(&call->arena, property->value, property->value_length);
                CHECK(names[count].name);
            }
            count++;
        }
    }
    return count;
}

const struct stub_identity *stub_call_peer_identities(struct stub_call *call, size_t *ret_count)
{
    grpc_auth_context *context;
    struct stub_identity *names;

    CHECK(call && ret_count);
    *ret_count = call->identities_count;
    if (call->identities_known || core_is_forked() || !call->server->tls ||
        !tls_store_verifies(call->server->tls))
        return call->identities;
    call->identities_known = true;
    context = grpc_call_auth_context(call->core);
    if (context && is_tls(context) && grpc_auth_context_peer_is_authenticated(context)) {
        *ret_count = call->identities_count = collect(call, context, NULL);
        if (*ret_count > 0) {
            names = stub_call_alloc(call, *ret_count * sizeof(*names));
            collect(call, context, names);
            call->identities = names;
        }
    }
    if (context)
        grpc_auth_context_release(context);
    return call->identities;
}
