#include "base/id.h"

#include "base/hex.h"

#include <string.h>

struct id id_make(const struct clock *clock, const struct entropy *entropy)
{
    static const size_t group_bytes[] = {4, 2, 2, 2, 6};
    uint64_t ms = (uint64_t)clock_wall_ms(clock);
    uint8_t bytes[16];
    const uint8_t *from = bytes;
    struct id id;
    char *to = id.text;

    entropy_fill(entropy, bytes + 6, sizeof(bytes) - 6);
    for (int i = 0; i < 6; i++)
        bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    bytes[6] = (uint8_t)(0x70 | (bytes[6] & 0x0f)); /* version 7 */
    bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f)); /* variant of RFC 9562 */
    for (size_t i = 0; i < ARRAY_COUNT(group_bytes); i++) {
        hex_encode(from, group_bytes[i], to);
        from += group_bytes[i];
        to += HEX_LEN(group_bytes[i]);
        *to++ = '-';
    }
    id.text[ID_LEN] = '\0';
    return id;
}
