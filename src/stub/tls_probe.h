/*
 * Finds out why TLS with a server fails. Core 1.51 says it in its log only, so this makes one more handshake
 * with the same address and the same files, by OpenSSL alone. For the files of src/stub/ only.
 */
#ifndef HOLDFAST_STUB_TLS_PROBE_H
#define HOLDFAST_STUB_TLS_PROBE_H

#include "base/address.h"
#include "base/check.h"
#include "stub/pem.h"
#include "stub/tls.h"

enum { TLS_FINDING_MAX = 512, TLS_PROBE_MS = 1500 };

/* The files of a client's credentials as OpenSSL has them; shared, never changed. */
struct tls_probe;

/* From files that pem_load has accepted. NULL: OpenSSL still refuses them, and there is no probe. */
struct tls_probe *tls_probe_create(const struct stub_tls_files *files, const struct pem *pem);
struct tls_probe *tls_probe_ref(struct tls_probe *probe);
void tls_probe_unref(struct tls_probe *probe);

/*
 * Connects, shakes hands and waits for the server's first byte, TLS_PROBE_MS at most; looking up a
 * name and loading the system's collection take what they take. name is what the certificate must be
 * for; NULL: the address's host. Returns early when stop_fd can be read. ret is a sentence that begins
 * with "TLS: ", or "" if there is nothing to say: no connection, or no fault. The caller's thread
 * blocks SIGPIPE.
 */
void tls_probe_run(struct tls_probe *probe, const struct address *address, const char *name,
                   int stop_fd, char ret[TLS_FINDING_MAX]);

#endif
