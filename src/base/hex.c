#include "base/hex.h"

#include <stdint.h>

static const char hex_digits[] = "0123456789abcdef";
static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void hex_encode(const void *data, size_t size, char *out)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++) {
        *out++ = hex_digits[bytes[i] >> 4];
        *out++ = hex_digits[bytes[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(struct slice text, void *out, size_t size)
{
    uint8_t *bytes = out;

    if (text.len / 2 != size || text.len % 2)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = hex_value(text.data[2 * i]);
        int low = hex_value(text.data[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

size_t base64url_encode(const void *data, size_t size, char *out)
{
    const uint8_t *bytes = data;
    char *at = out;
    uint32_t bits;

    for (; size >= 3; size -= 3, bytes += 3) {
        bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
        *at++ = base64url_digits[bits >> 18];
        *at++ = base64url_digits[bits >> 12 & 63];
        *at++ = base64url_digits[bits >> 6 & 63];
        *at++ = base64url_digits[bits & 63];
    }
    if (size > 0) {
        bits = (uint32_t)bytes[0] << 16 | (size > 1 ? (uint32_t)bytes[1] << 8 : 0);
        *at++ = base64url_digits[bits >> 18];
        *at++ = base64url_digits[bits >> 12 & 63];
        if (size > 1)
            *at++ = base64url_digits[bits >> 6 & 63];
    }
    *at = '\0';
    return (size_t)(at - out);
}

/* One more than the value of a character; 0: it has none. */
static const uint8_t base64url_places[UINT8_MAX + 1] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['-'] = 63, ['_'] = 64,
};

/* All bits set if it has none: then they also stand above those of its group. */
static uint32_t value_of(char c)
{
    return base64url_places[(uint8_t)c] - 1U;
}

/* The end: two characters for a byte, three for two bytes, and the bits beyond them are 0. */
static bool decode_end(const char *text, size_t chars, uint8_t *bytes)
{
    uint32_t bits = value_of(text[0]) << 6 | value_of(text[1]);
    unsigned stray = 4;

    if (chars == 3) {
        bits = bits << 6 | value_of(text[2]);
        stray = 2;
    }
    if (bits >> (6 * chars) || bits & ((1U << stray) - 1))
        return false;
    bits >>= stray;
    if (chars == 3)
        *bytes++ = (uint8_t)(bits >> 8);
    *bytes = (uint8_t)bits;
    return true;
}

bool base64url_decode(struct slice text, void *out, size_t out_size, size_t *ret_size)
{
    size_t groups = text.len / 4, rest = text.len % 4;
    size_t size = groups * 3 + rest * 3 / 4;
    const char *at = text.data;
    uint8_t *bytes = out;

    if (rest == 1 || size > out_size)
        return false;
    for (; groups > 0; groups--, at += 4, bytes += 3) {
        uint32_t bits =
            value_of(at[0]) << 18 | value_of(at[1]) << 12 | value_of(at[2]) << 6 | value_of(at[3]);

        if (bits >> 24)
            return false;
        bytes[0] = (uint8_t)(bits >> 16);
        bytes[1] = (uint8_t)(bits >> 8);
        bytes[2] = (uint8_t)bits;
    }
    if (rest > 0 && !decode_end(at, rest, bytes))
        return false;
    *ret_size = size;
    return true;
}
