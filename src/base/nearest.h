/*
 * "Did you mean ...?": the word of a list that was probably meant. Pure functions; any thread.
 */
#ifndef HOLDFAST_BASE_NEAREST_H
#define HOLDFAST_BASE_NEAREST_H

#include <stddef.h>

/*
 * The edits (a letter more, less, other, or two swapped) between two words. SIZE_MAX if a word is
 * longer than 31 bytes.
 */
size_t nearest_distance(const char *a, const char *b);

/*
 * The nearest of the words, if it is near enough to be meant: at most a third of its letters differ, or
 * what was written is its beginning (two letters at least). The first, if several are equally near. NULL:
 * none is near enough.
 */
const char *nearest(const char *written, const char *const *words, size_t count);

#endif
