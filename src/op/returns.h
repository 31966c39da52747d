/*
 * Commits on their way back from the committer: whichever worker comes first takes all.
 */
#ifndef HOLDFAST_OP_RETURNS_H
#define HOLDFAST_OP_RETURNS_H

#include "ledger/committer.h"

#include <stdbool.h>
#include <stddef.h>

struct returns;

struct returns *returns_create(void);
void returns_destroy(struct returns *returns); /* accepts NULL */

/*
 * [any thread] True: nobody is on the way to take them yet, so the caller must make sure that
 * somebody calls returns_take. Until then the items stay, so their calls are alive.
 */
bool returns_add(struct returns *returns, struct commit_item *const *items, size_t count);

/* [any thread] All that there are, linked by `next`, in order; NULL if there are none. */
struct commit_item *returns_take(struct returns *returns);

#endif
