#include "standin.h"

#include "base/check.h"
#include "quota/lease.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

struct standin_key *standin_key(struct standin *standin, struct quota_ref ref)
{
    struct standin_key *key;

    for (size_t i = 0; i < standin->keys_count; i++)
        if (quota_ref_equal(standin->keys[i].ref, ref))
            return &standin->keys[i];
    CHECK(standin->keys_count < STANDIN_KEYS_MAX);
    key = &standin->keys[standin->keys_count++];
    *key = (struct standin_key){.ref = ref};
    return key;
}

int64_t standin_available(const struct standin *standin, const struct standin_key *key)
{
    if (!key->exists || lease_epoch(key->lease_id) != standin->epoch)
        return 0;
    return key->granted - key->returned - key->spent - key->held;
}

enum standin_fill standin_grant(struct standin *standin, const struct standin_totals *totals)
{
    struct standin_key *key = standin_key(standin, totals->ref);
    bool again = standin->mutant == MUTANT_MISSING_MEANS_NEW;

    if (key->exists ? totals->lease_id < key->lease_id : totals->lease_id < key->filled)
        return STANDIN_OLD;
    if (!key->exists && totals->lease_id == key->filled && !again)
        return STANDIN_VANISHED;
    if (!key->exists || totals->lease_id > key->lease_id) {
        *key = (struct standin_key){
            .ref = totals->ref,
            .exists = true,
            .lease_id = totals->lease_id,
            .filled = totals->lease_id,
            .spent = totals->spent,
            .returned = totals->returned,
        };
    }
    key->granted = larger(key->granted, totals->granted);
    key->deadline_ms = larger(key->deadline_ms, totals->deadline_ms);
    return STANDIN_FILLED;
}

bool standin_reserve(struct standin *standin, int job, struct hold *hold, int64_t now_ms,
                     size_t *ret_short)
{
    CHECK(hold->deadline_ms > now_ms);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct standin_key *key = standin_key(standin, hold->quotas[i].quota);

        *ret_short = i;
        if (!key->exists || lease_epoch(key->lease_id) != standin->epoch ||
            hold->deadline_ms > key->deadline_ms ||
            standin_available(standin, key) < hold->quotas[i].units)
            return false;
    }
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct standin_key *key = standin_key(standin, hold->quotas[i].quota);

        key->held += hold->quotas[i].units;
        hold->quotas[i].lease_id = key->lease_id;
    }
    hold->attempt = (struct attempt){standin->epoch, ++standin->seq};
    standin->holds[job] = hold;
    return true;
}

bool standin_extend(struct standin *standin, int job, struct hold *extended, int64_t now_ms)
{
    const struct hold *hold = standin->holds[job];

    if (!hold || hold->deadline_ms <= now_ms || extended->deadline_ms < hold->deadline_ms)
        return false;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct standin_key *key = standin_key(standin, hold->quotas[i].quota);

        if (!key->exists || key->lease_id != hold->quotas[i].lease_id ||
            lease_epoch(key->lease_id) != standin->epoch ||
            extended->deadline_ms > key->deadline_ms)
            return false;
    }
    standin->holds[job] = extended;
    return true;
}

void standin_totals(struct standin *standin, const struct standin_totals *totals)
{
    struct standin_key *key = standin_key(standin, totals->ref);

    if (!key->exists || key->lease_id != totals->lease_id)
        return;
    key->granted = larger(key->granted, totals->granted);
    key->deadline_ms = larger(key->deadline_ms, totals->deadline_ms);
    if (standin->mutant != MUTANT_RETURN_SUBTRACTS)
        key->returned = larger(key->returned, totals->returned);
    if (standin->mutant == MUTANT_SETTLE_ADDS)
        key->spent += totals->delta;
    else if (standin->mutant == MUTANT_SETTLE_OVERWRITES)
        key->spent = totals->spent;
    else
        key->spent = larger(key->spent, totals->spent);
}

static void drop(struct standin *standin, int job)
{
    const struct hold *hold = standin->holds[job];

    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct standin_key *key = standin_key(standin, hold->quotas[i].quota);

        if (key->exists && (key->lease_id == hold->quotas[i].lease_id ||
                            standin->mutant == MUTANT_REMOVAL_IGNORES_LEASE))
            key->held -= hold->quotas[i].units;
    }
    standin->holds[job] = NULL;
}

void standin_settle(struct standin *standin, int job)
{
    if (standin->holds[job])
        drop(standin, job);
}

void standin_remove(struct standin *standin, int job, struct attempt attempt)
{
    const struct hold *hold = standin->holds[job];

    if (hold && ((hold->attempt.epoch == attempt.epoch && hold->attempt.seq == attempt.seq) ||
                 standin->mutant == MUTANT_RELEASE_OF_ANY_ATTEMPT))
        drop(standin, job);
}

int64_t standin_recall(struct standin *standin, const struct standin_totals *totals)
{
    struct standin_key *key = standin_key(standin, totals->ref);
    int64_t idle;

    if (!key->exists && standin_grant(standin, totals) != STANDIN_FILLED)
        return -1;
    if (key->lease_id != totals->lease_id)
        return -1;
    key->granted = larger(key->granted, totals->granted);
    idle = key->granted - key->returned - key->spent - key->held;
    if (standin->mutant == MUTANT_RETURN_SUBTRACTS) {
        key->granted -= larger(idle, 0);
        return totals->returned + larger(idle, 0);
    }
    key->returned = larger(key->returned, key->granted - key->spent - key->held);
    return key->returned;
}
