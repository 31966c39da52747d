/*
 * TLS: the files with which a server or a channel proves who it is and checks the other side.
 *
 * All files are PEM. The oldest version is TLS 1.2. A private key that others may read or change, or that
 * its group may change, is refused. So are an encrypted key and one that does not belong to the certificate.
 * An expired certificate is used, with a warning: the other side will refuse it.
 *
 * Server: stub_server_options.tls. The files are looked at again whenever a client connects, so that
 * new ones are in use from the next connection on; running connections keep what they began with. Files
 * that cannot be used (half-written, not a pair) change nothing: the old ones stay, and the reason is
 * reported once. Replace them in any order, at best by rename(2).
 *
 * Client: stub_credentials_create reads the files once; for new files make new credentials and a new
 * channel. A call that cannot reach its server ends with UNAVAILABLE or DEADLINE_EXCEEDED, and its message
 * says why the handshake fails: "...; TLS: the server asks for a client certificate, and there is
 * none". The reason comes from a handshake that the channel makes itself, at most once in two seconds; a
 * call that has no time left may end without it.
 */
#ifndef HOLDFAST_STUB_TLS_H
#define HOLDFAST_STUB_TLS_H

#include "stub/attribute.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stub_tls_files {
    /* Own certificate, then those between it and the root. A client may have neither this nor a key. */
    const char *certificate;
    const char *key;

    /*
     * The certificates that the other side's must be signed by. Server: every client must have such a
     * certificate (mTLS); NULL: clients need none, and are nobody (stub_call_peer_identities). Client:
     * NULL is the system's collection.
     */
    const char *authority;
};

/*
 * What a server did with files: loaded, with the certificate's serial number and end in text; or not,
 * with the reason in text, naming the file. Runs on any thread, under a lock: do not call the server.
 */
typedef void stub_tls_report(void *user, bool loaded, const char *text);

struct stub_credentials;

/*
 * What a channel needs for TLS; stub_channel_options.credentials. Any number of channels may be made
 * with it, and it may go before them. NULL: ret_error says why, naming the file.
 */
STUB_MUST_CHECK struct stub_credentials *stub_credentials_create(const struct stub_tls_files *files,
                                                                 char *ret_error,
                                                                 size_t error_bytes) STUB_NONNULL;
void stub_credentials_destroy(struct stub_credentials *credentials);

#ifdef __cplusplus
}
#endif

#endif
