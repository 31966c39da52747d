/*
 * The scene of the tests of quota/settle.h: tenant 1 with two limits on tokens (limit 2, 3) and one on
 * requests (limit 4), each with a lease of 40 of which the hold has 10 tokens and 1 request. Redis has
 * been asked later than any deadline, and knows of nothing newer.
 */
#ifndef HOLDFAST_TESTS_QUOTA_SETTLE_SCENE_H
#define HOLDFAST_TESTS_QUOTA_SETTLE_SCENE_H

#include "quota/lease.h"
#include "quota/settle.h"

enum { NOW = 100000, LATE_WINDOW = 50000, EPOCH = 5 };

#define LEASE (EPOCH * LEASE_IDS_PER_EPOCH)

extern struct arena arena;
extern struct quota_row quotas[6];
extern struct lease_row leases[4];
extern struct book book;
extern struct settle_facts facts;
extern struct hold_meter meters[2];
extern struct hold_quota held[3];
extern struct hold hold;
extern struct settle_item item;
extern struct settle_actual actual[2]; /* of commit_actual */

/* A row of the scene. */
struct quota_row row(int64_t limit_id, struct slice meter);

void set_up(void);
void tear_down(void);

enum settle_outcome decide(void);
enum settle_outcome commit_actual(int64_t tokens, enum overrun overrun);
enum settle_outcome release_by(const struct hold *token, const struct hold *live);

/* Leaves room x at the root of a quota by what is committed. */
void leave_room(struct quota_row *quota, int64_t room);

size_t events_count(void);
bool nothing_changed(void);

#endif
