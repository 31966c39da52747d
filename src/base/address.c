#include "base/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { LABEL_MAX = 63, ZONE_MAX = 15 };

#define HEX_AND_DOTS "0123456789abcdefABCDEF:."

static bool contains(struct slice text, char c)
{
    return text.len && memchr(text.data, c, text.len);
}

static bool is_nocase(struct slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.data, word, text.len) == 0;
}

/* Where the last `c` is, or text.len. */
static size_t find_last(struct slice text, char c)
{
    for (size_t i = text.len; i > 0; i--)
        if (text.data[i - 1] == c)
            return i - 1;
    return text.len;
}

__attribute__((format(printf, 2, 3))) static bool refuse(char error[ADDRESS_ERROR_BYTES],
                                                         const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, ADDRESS_ERROR_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

/* --- what is no address at all ---------------------------------------------------------------- */

/* "scheme://rest": what to write instead of the rest, as far as it can be told safely. */
static bool refuse_url(struct slice scheme, struct slice rest, const struct address_use *use,
                       char error[ADDRESS_ERROR_BYTES])
{
    bool secure =
        is_nocase(scheme, "rediss") || is_nocase(scheme, "https") || is_nocase(scheme, "grpcs");
    bool secret = contains(rest, '@');
    struct slice host = secret ? slice_skip(rest, find_last(rest, '@') + 1) : rest;
    const char *tls = "";
    char hint[ADDRESS_HOST_MAX + 32];

    while (host.len && host.data[0] == '/')
        host = slice_skip(host, 1); /* dns:///name:port */
    for (size_t i = 0; i < host.len; i++)
        if (strchr("/?#", host.data[i]))
            host.len = i;
    if (secure && use->tls)
        tls = use->tls;
    else if (secure)
        tls = "; TLS is not supported here";
    snprintf(hint, sizeof(hint), "%.*s%s", (int)(host.len < ADDRESS_HOST_MAX ? host.len : 0),
             host.data, !host.len || contains(host, ':') ? "" : ":PORT");
    return refuse(error, "it is a URL; write %s instead%s%s", host.len ? hint : "HOST:PORT",
                  secret ? "; a user or password is not supported here" : "", tls);
}

static bool check_characters(struct slice text, const struct address_use *use,
                             char error[ADDRESS_ERROR_BYTES])
{
    if (text.len == 0)
        return refuse(error, "it is empty; write HOST:PORT, [IPV6]:PORT or unix:/path");
    for (size_t i = 0; i + 2 < text.len; i++)
        if (memcmp(text.data + i, "://", 3) == 0 && !contains(slice_of(text.data, i), ':'))
            return refuse_url(slice_of(text.data, i), slice_skip(text, i + 3), use, error);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (isspace(c))
            return refuse(error, "there is a space in it; write it without");
        if (iscntrl(c))
            return refuse(error, "there is a control character in it");
    }
    return true;
}

/* --- unix:/path ------------------------------------------------------------------------------- */

static bool parse_unix(struct slice path, struct address *ret, char error[ADDRESS_ERROR_BYTES])
{
    if (slice_starts_with(path, SLICE("///")))
        path = slice_skip(path, 2); /* unix:///path means the same */
    if (path.data[0] != '/' || (path.len > 1 && path.data[1] == '/'))
        return refuse(error, "the path must be absolute; write unix:/path");
    if (path.len == 1 || path.data[path.len - 1] == '/')
        return refuse(error, "the path is that of a folder; write that of a socket, unix:/path");
    if (path.len > ADDRESS_PATH_MAX)
        return refuse(error, "the path has %zu bytes; a socket's has at most %d", path.len,
                      ADDRESS_PATH_MAX);
    for (size_t i = 0; i < path.len; i++)
        if (strchr("%?#,", path.data[i])) /* which gRPC and lists give a meaning */
            return refuse(error, "the path may not have a '%c' in it", path.data[i]);
    ret->kind = ADDRESS_UNIX;
    memcpy(ret->path, path.data, path.len);
    return true;
}

/* --- HOST:PORT -------------------------------------------------------------------------------- */

static bool parse_port(struct slice port, const struct address_use *use, struct address *ret,
                       char error[ADDRESS_ERROR_BYTES])
{
    uint64_t number;

    if (port.len == 0)
        return refuse(error, "the port is missing after the ':', for example :%u", use->usual_port);
    if (!slice_to_u64(port, &number))
        return refuse(error, "the port is not a whole number, for example :%u", use->usual_port);
    if (number > UINT16_MAX || (number == 0 && !use->listen))
        return refuse(error, "the port must be a number from %d to 65535", !use->listen);
    ret->port = (uint16_t)number;
    return true;
}

static bool zone_is_good(struct slice zone)
{
    for (size_t i = 0; i < zone.len; i++)
        if (!isalnum((unsigned char)zone.data[i]) && !strchr("._-", zone.data[i]))
            return false;
    return zone.len > 0 && zone.len <= ZONE_MAX;
}

/* The address between the brackets. */
static bool parse_ipv6(struct slice host, struct address *ret, char error[ADDRESS_ERROR_BYTES])
{
    size_t number = find_last(host, '%');
    char text[INET6_ADDRSTRLEN] = "";
    struct in6_addr parsed;

    if (number < sizeof(text) && host.len <= ADDRESS_HOST_MAX) {
        memcpy(text, host.data, number);
        memcpy(ret->host, host.data, host.len);
    }
    if (inet_pton(AF_INET6, text, &parsed) != 1 ||
        (number < host.len && !zone_is_good(slice_skip(host, number + 1))))
        return refuse(error, "what stands in the brackets is not an IPv6 address such as ::1");
    ret->kind = ADDRESS_IPV6;
    return true;
}

/* A name whose last label is a number is a numeric address, or a mistake. */
static bool looks_numeric(struct slice host)
{
    size_t dot = find_last(host, '.');
    struct slice label = dot < host.len ? slice_skip(host, dot + 1) : host;

    for (size_t i = 0; i < label.len; i++)
        if (!isdigit((unsigned char)label.data[i]))
            return false;
    return label.len > 0;
}

static bool name_is_good(struct slice host)
{
    struct slice label;

    if (host.len > ADDRESS_HOST_MAX)
        return false;
    if (host.len > 1 && host.data[host.len - 1] == '.')
        host.len--;
    while (slice_cut(&host, '.', &label)) {
        if (label.len == 0 || label.len > LABEL_MAX || label.data[0] == '-' ||
            label.data[label.len - 1] == '-')
            return false;
        for (size_t i = 0; i < label.len; i++)
            if (!isalnum((unsigned char)label.data[i]) && !strchr("-_", label.data[i]))
                return false;
    }
    return true;
}

static bool parse_host(struct slice host, const struct address_use *use, struct address *ret,
                       char error[ADDRESS_ERROR_BYTES])
{
    struct in_addr parsed;

    if (host.len == 0 || slice_equal_cstr(host, "*"))
        return refuse(error, "the host is missing; write 127.0.0.1:PORT%s",
                      use->listen ? ", or 0.0.0.0:PORT for every interface" : "");
    if (host.len <= ADDRESS_HOST_MAX)
        memcpy(ret->host, host.data, host.len);
    if (looks_numeric(host)) {
        ret->kind = ADDRESS_IPV4;
        return inet_pton(AF_INET, ret->host, &parsed) == 1 ||
               refuse(error, "the host is not an IPv4 address: four numbers from 0 to 255");
    }
    ret->kind = ADDRESS_NAME;
    return name_is_good(host) ||
           refuse(error, "the host is neither a name nor an address: letters, digits, '-' and '.'");
}

/* ::1 or ::1:7070. */
static bool refuse_bare_ipv6(struct slice text, const struct address_use *use,
                             char error[ADDRESS_ERROR_BYTES])
{
    size_t colon = find_last(text, ':');
    struct slice port = slice_skip(text, colon + 1);
    uint64_t number;

    if (slice_to_u64(port, &number) && number > 9 && number <= UINT16_MAX)
        return refuse(error, "an IPv6 address stands in brackets; write [%.*s]:%.*s", (int)colon,
                      text.data, SLICE_ARGS(port));
    return refuse(error, "an IPv6 address stands in brackets; write [%.*s]:%u", SLICE_ARGS(text),
                  use->usual_port);
}

static bool is_bare_ipv6(struct slice text)
{
    size_t colons = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (!strchr(HEX_AND_DOTS, text.data[i]))
            return false;
        colons += text.data[i] == ':';
    }
    return colons > 1;
}

static bool parse_bracketed(struct slice text, const struct address_use *use, struct address *ret,
                            char error[ADDRESS_ERROR_BYTES])
{
    size_t close = find_last(text, ']');
    struct slice after;

    if (close == text.len)
        return refuse(error, "the ']' is missing; write [IPV6]:PORT");
    after = slice_skip(text, close + 1);
    if (after.len == 0)
        return refuse(error, "the port is missing; write %.*s:%u", SLICE_ARGS(text),
                      use->usual_port);
    if (after.data[0] != ':')
        return refuse(error, "after the ']' comes :PORT, for example :%u", use->usual_port);
    return parse_ipv6(slice_of(text.data + 1, close - 1), ret, error) &&
           parse_port(slice_skip(after, 1), use, ret, error);
}

static bool parse_tcp(struct slice text, const struct address_use *use, struct address *ret,
                      char error[ADDRESS_ERROR_BYTES])
{
    size_t colon = find_last(text, ':');

    if (contains(text, '@'))
        return refuse(error, "a user or password is not supported here; write HOST:PORT alone");
    if (text.data[0] == '[')
        return parse_bracketed(text, use, ret, error);
    if (is_bare_ipv6(text))
        return refuse_bare_ipv6(text, use, error);
    if (text.data[0] == '/')
        return refuse(error, "a socket's path comes after unix:, as in unix:/path");
    if (colon == text.len && slice_to_u64(text, &(uint64_t){0}))
        return refuse(error, "the host is missing; write 127.0.0.1:%.*s", SLICE_ARGS(text));
    if (colon == text.len)
        return parse_host(text, use, ret, error) &&
               refuse(error, "the port is missing; write %.*s:%u", SLICE_ARGS(text),
                      use->usual_port);
    return parse_host(slice_of(text.data, colon), use, ret, error) &&
           parse_port(slice_skip(text, colon + 1), use, ret, error);
}

bool address_parse(struct slice text, const struct address_use *use, struct address *ret,
                   char error[ADDRESS_ERROR_BYTES])
{
    const struct slice scheme = SLICE("unix:");

    *ret = (struct address){0};
    if (!slice_starts_with(text, scheme))
        return check_characters(text, use, error) && parse_tcp(text, use, ret, error);
    text = slice_skip(text, scheme.len);
    if (text.len == 0)
        return refuse(error, "the path is missing; write unix:/path");
    return check_characters(text, use, error) && parse_unix(text, ret, error);
}

/* --- the way back ----------------------------------------------------------------------------- */

const char *address_format(const struct address *address, char text[ADDRESS_TEXT_BYTES])
{
    switch (address->kind) {
    case ADDRESS_UNIX:
        snprintf(text, ADDRESS_TEXT_BYTES, "unix:%s", address->path);
        return text;
    case ADDRESS_IPV6:
        snprintf(text, ADDRESS_TEXT_BYTES, "[%s]:%u", address->host, address->port);
        return text;
    case ADDRESS_IPV4:
    case ADDRESS_NAME:
        snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", address->host, address->port);
        return text;
    }
    UNREACHABLE();
}

static bool ipv6_is_local(const char *host)
{
    struct in6_addr parsed;

    return inet_pton(AF_INET6, host, &parsed) == 1 &&
           (IN6_IS_ADDR_LOOPBACK(&parsed) ||
            (IN6_IS_ADDR_V4MAPPED(&parsed) && parsed.s6_addr[12] == 127));
}

bool address_is_local(const struct address *address)
{
    switch (address->kind) {
    case ADDRESS_UNIX:
        return true;
    case ADDRESS_IPV4:
        return strncmp(address->host, "127.", 4) == 0;
    case ADDRESS_IPV6:
        return ipv6_is_local(address->host);
    case ADDRESS_NAME:
        return strcasecmp(address->host, "localhost") == 0;
    }
    UNREACHABLE();
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->kind == b->kind && a->port == b->port && strcasecmp(a->host, b->host) == 0 &&
           strcmp(a->path, b->path) == 0;
}
