#include "base/digits.h"

#include <string.h>

size_t digits_write(int64_t value, char *out)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char chars[DIGITS_MAX];
    char *end = chars + sizeof(chars), *at = end;

    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        *--at = '-';
    memcpy(out, at, (size_t)(end - at));
    return (size_t)(end - at);
}

size_t digits_write_pair(int64_t a, char separator, int64_t b, char *out)
{
    size_t len = digits_write(a, out);

    out[len++] = separator;
    return len + digits_write(b, out + len);
}
