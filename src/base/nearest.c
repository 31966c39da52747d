#include "base/nearest.h"

#include <stdint.h>
#include <string.h>

enum { WORD_MAX = 31, PREFIX_MIN = 2 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    size_t rows[WORD_MAX + 1][WORD_MAX + 1];

    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return SIZE_MAX;
    for (size_t i = 0; i <= a_len; i++) {
        for (size_t k = 0; k <= b_len; k++) {
            if (i == 0 || k == 0) {
                rows[i][k] = i + k;
                continue;
            }
            rows[i][k] = least(rows[i - 1][k - 1] + (a[i - 1] != b[k - 1]),
                               least(rows[i - 1][k], rows[i][k - 1]) + 1);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                rows[i][k] = least(rows[i][k], rows[i - 2][k - 2] + 1);
        }
    }
    return rows[a_len][b_len];
}

const char *nearest(const char *written, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX, len = strlen(written);

    for (size_t i = 0; i < count; i++) {
        size_t distance = nearest_distance(written, words[i]);

        if (len >= PREFIX_MIN && strncmp(written, words[i], len) == 0)
            distance = least(distance, 1);
        if (distance < best_distance && distance <= (strlen(words[i]) + 2) / 3) {
            best = words[i];
            best_distance = distance;
        }
    }
    return best;
}
