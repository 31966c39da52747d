/*
 * Where a server is, as people write it. Everything that takes an address reads it here: --listen,
 * --redis, --server.
 *
 *     127.0.0.1:7070      IPv4 and port
 *     [::1]:7070          IPv6 in brackets and port; a zone may follow, [fe80::1%eth0]:7070
 *     db-1.example:6379   name and port
 *     unix:/run/x.sock    path of a Unix socket, absolute
 *
 * Nothing else is an address: no URL, no user or password, no default port, no spaces. A refusal says
 * what to write instead. It never repeats what stands before an '@', which may be a password.
 *
 * Pure functions; any thread.
 */
#ifndef HOLDFAST_BASE_ADDRESS_H
#define HOLDFAST_BASE_ADDRESS_H

#include "base/check.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ADDRESS_HOST_MAX = 253, /* as in DNS; a numeric address is shorter */
    ADDRESS_PATH_MAX = 107, /* as in struct sockaddr_un, with its NUL */
    ADDRESS_TEXT_BYTES = ADDRESS_HOST_MAX + 16,
    ADDRESS_ERROR_BYTES = 512,
};

enum address_kind { ADDRESS_NAME, ADDRESS_IPV4, ADDRESS_IPV6, ADDRESS_UNIX };

struct address {
    enum address_kind kind;
    char host[ADDRESS_HOST_MAX + 1]; /* without brackets; "" for ADDRESS_UNIX */
    uint16_t port;                   /* 0 for ADDRESS_UNIX */
    char path[ADDRESS_PATH_MAX + 1]; /* "" for all others */
};

/* What the address is for. */
struct address_use {
    uint16_t usual_port; /* shown as an example where the port is missing */
    bool listen;         /* one's own address: port 0 means any free one */
    const char *tls; /* how to ask for TLS, told to whoever writes https://; NULL: there is none */
};

/* False: `error` says what is wrong, without the text itself, and *ret is unspecified. */
MUST_CHECK bool address_parse(struct slice text, const struct address_use *use, struct address *ret,
                              char error[ADDRESS_ERROR_BYTES]);

/* The address as it is written above, also the way gRPC takes it. Returns `text`. */
const char *address_format(const struct address *address, char text[ADDRESS_TEXT_BYTES]);

/* True if only this machine can reach it. A name is trusted only if it is "localhost". */
bool address_is_local(const struct address *address);

/* True if both are written the same way. */
bool address_equal(const struct address *a, const struct address *b);

#endif
