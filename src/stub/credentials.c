#include "stub/credentials.h"

#include "stub/core.h"
#include "stub/pem.h"

#include <stdio.h>
#include <stdlib.h>

struct stub_credentials *stub_credentials_create(const struct stub_tls_files *files,
                                                 char *ret_error, size_t error_bytes)
{
    struct stub_credentials *credentials;
    grpc_ssl_pem_key_cert_pair pair;
    char error[PEM_ERROR_MAX];
    struct pem pem;

    CHECK(files);
    if (core_is_forked()) {
        snprintf(ret_error, error_bytes, "%s", CORE_FORKED_TEXT);
        return NULL;
    }
    if (!pem_load(files, &pem, error)) {
        snprintf(ret_error, error_bytes, "%s", error);
        return NULL;
    }
    core_use();
    grpc_init();
    pair = (grpc_ssl_pem_key_cert_pair){.private_key = pem.key, .cert_chain = pem.certificate};
    credentials = calloc(1, sizeof(*credentials));
    CHECK(credentials);
    credentials->core =
        grpc_ssl_credentials_create_ex(pem.authority, pem.key ? &pair : NULL, NULL, NULL);
    credentials->probe = tls_probe_create(files, &pem);
    pem_done(&pem);
    return credentials;
}

void stub_credentials_destroy(struct stub_credentials *credentials)
{
    if (!credentials || core_is_forked())
        return;
    grpc_channel_credentials_release(credentials->core);
    tls_probe_unref(credentials->probe);
    free(credentials);
    grpc_shutdown();
}
