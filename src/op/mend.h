/*
 * Keys of Redis that were lost singly, as a story: found by looking, told in the log, put right.
 *
 *     lost                 found by counter_check as   put right by
 *     a tenant's hash      FINDING_LOST                the leases are set aside under their rows' locks,
 *                                                      the next ones begun, and Redis filled with these
 *     its list of leases,
 *     an index of holds    FINDING_DERIVED             counter_rebuild, from the tenant's hash
 *     one hold, which      FINDING_DERIVED             stores_clean: the quotas that it was held in go, and
 *     the index names                                  are lost as above; then the index as here
 *     a quota of both      FINDING_DERIVED, or a fill  stores_clean: what holds name was filled; then as
 *     hash and leases                                  above
 *     both of them         FINDING_UNREADABLE, or      stores_clean: the shard's epoch ends
 *                          a fill
 *     a shard's tenants    not whole                   counter_register, with all tenants of the shard
 *     what cannot be read  FINDING_UNREADABLE, or any  stores_clean: it goes, and is lost as above
 *                          script that fails on it
 *
 * What was held under a lease that is set aside stays counted until the lease's deadline: until then
 * lost holds still commit by their reservation ids, and afterwards their capacity is back. The key of
 * the authority is not among these: every script misses it (recover.h).
 *
 * Each step may be done twice, and by two servers. What is cut short is found again with the next
 * look. The memory belongs to one thread; a turn has bounds.
 */
#ifndef HOLDFAST_OP_MEND_H
#define HOLDFAST_OP_MEND_H

#include "op/stores.h"

#include <stdbool.h>
#include <stddef.h>

struct mend;

struct mend *mend_create(void);
void mend_destroy(struct mend *mend); /* accepts NULL */

/*
 * Looks at the next tenants of some of these active shards, and puts right what it finds. The shards
 * get their turns one after the other. False: a store did not answer. *ret_more: something is being
 * put right and is not done.
 */
bool mend_turn(struct mend *mend, struct stores *stores, const int *shards, size_t shards_count,
               bool *ret_more);

#endif
