/*
 * Calls on a TLS channel that does not come up end with the reason. For the files of src/stub/ only.
 *
 * A thread of the channel's sleeps until a call begins while a connection is not ready. Once one has
 * failed, or has been connecting for half a second, that thread makes a handshake of its own with the server
 * (tls_probe.h), at most once in two seconds. A call that ends without having reached the server
 * gets the finding appended. If it has time left, it waits for one, two seconds at most: in the form that
 * waits, its thread does. A call that calls back is put aside: its callback comes later, on the channel's
 * thread, which goes on in between. A finding is valid for ten seconds, or until the connection is ready.
 */
#ifndef HOLDFAST_STUB_TLS_REASON_H
#define HOLDFAST_STUB_TLS_REASON_H

#include "stub/channel.h"
#include "stub/tls_probe.h"

struct tls_reason;

/*
 * Of count connections to the target, which outlive it. NULL: the target is in no form whose server could be
 * asked. Keeps a reference to the probe.
 */
struct tls_reason *tls_reason_create(struct tls_probe *probe, const char *target,
                                     const char *server_name, grpc_channel *const *connections,
                                     int count);

/* The channel closes: no call waits any more. NULL: nothing. */
void tls_reason_stop(struct tls_reason *reason);

/* After the last call. Waits for no server, only for a name that is looked up. NULL: nothing. */
void tls_reason_destroy(struct tls_reason *reason);

/* A call has begun on this connection. NULL: nothing. */
void tls_reason_begin(struct tls_reason *reason, grpc_channel *connection);

/*
 * On the channel's thread, for a call that has ended and had begun: should its callback wait for a
 * finding? True: it is put aside, and its tag runs on this thread when there is one, when time is up, or
 * when the channel closes; the call must not be given up before. False: not, and always so for NULL.
 */
MUST_CHECK bool tls_reason_defer(struct tls_reason *reason, const struct client_link *link,
                                 const struct status_source *source, struct tls_wait *wait,
                                 void (*run)(struct client_tag *tag, bool ok));

/* On the channel's thread: the tag of a call whose time is up, or NULL; and when the next one's is. */
struct client_tag *tls_reason_due(struct tls_reason *reason);
gpr_timespec tls_reason_due_at(struct tls_reason *reason);

/*
 * Appends the finding to the text of a call that has ended, and that had begun. may_wait: not on the
 * channel's thread. NULL: nothing.
 */
void tls_reason_append(struct tls_reason *reason, const struct client_link *link,
                       struct status_source *source, bool may_wait);

#endif
