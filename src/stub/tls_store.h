/*
 * A server's TLS files as its ports use them: the newest that could be used. For the files of
 * src/stub/ only.
 *
 * Core 1.51 has two ways to change certificates while it serves. This uses the callback
 * (grpc_ssl_server_credentials_create_options_using_config_fetcher), which Core calls for each new
 * connection. The other, grpc_tls_certificate_provider_file_watcher, gives up the old certificate
 * before it tries the new one: a pair that does not match leaves the port with neither.
 */
#ifndef HOLDFAST_STUB_TLS_STORE_H
#define HOLDFAST_STUB_TLS_STORE_H

#include "base/check.h"
#include "stub/security.h"
#include "stub/tls.h"

#include <stdbool.h>
#include <stddef.h>

struct tls_store;

/* Reads the files; report may be NULL, then the log is told. NULL: ret_error says why. */
MUST_CHECK struct tls_store *tls_store_create(const struct stub_tls_files *files,
                                              stub_tls_report *report, void *user, char *ret_error,
                                              size_t error_bytes);

/* After Core's server is gone. */
void tls_store_destroy(struct tls_store *store);

/* Credentials for one port, to be released by the caller; Core asks the store through them. */
MUST_CHECK grpc_server_credentials *tls_store_port(struct tls_store *store);

/* [any thread] Looks at the files. True: from now on the ports use what is in them. */
bool tls_store_refresh(struct tls_store *store);

/* Are all clients asked for certificates? */
bool tls_store_verifies(const struct tls_store *store);

#endif
