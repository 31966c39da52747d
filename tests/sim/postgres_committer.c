/*
 * ledger/committer.h over pretended rows: the queue, two connections, and what the real one promises
 * its callers of deadlines, locked rows and a database that is away. The decisions are quota/settle's.
 */
#include "tests/sim/postgres_rows.h"

#include "base/check.h"
#include "ledger/committer.h"
#include "tests/sim/fibre.h"
#include "tests/sim/mutants.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORKS = 3,
    WORK_STUCK = 2, /* takes the tenants that are stuck, one at a time, and nobody else */
    LOCK_TIMEOUT_MS = 30,
    STUCK_LOCK_TIMEOUT_MS = 60,
    PAUSE_FIRST_US = 20000,
    PAUSE_MAX_US = 320000,
    RETRY_US = 100000,
    LOOK_US = 20000,
    ARENA_BYTES = 64 * 1024,
    STUCK_MAX = 64,
};

struct work {
    struct committer *committer;
    struct fibre *fibre;
    struct arena arena;
    struct database *db;
    struct commit_item *items[COMMITTER_BATCH_MAX];
    size_t count;
};

struct committer {
    struct committer_options options;
    struct commit_item *first, **last; /* linked by next */
    size_t waiting;
    bool closed, up;
    int64_t down_since_us;
    struct work works[WORKS];
    struct stuck {
        int64_t tenant_id, until_us, pause_us;
    } stuck[STUCK_MAX];
    size_t alone; /* so many batches of one tenant to come, to find the one that is stuck */
};

/* --- the queue ---------------------------------------------------------------------------------- */

static void append(struct committer *committer, struct commit_item *item)
{
    item->next = NULL;
    *committer->last = item;
    committer->last = &item->next;
    committer->waiting++;
}

static void put_back(struct work *work)
{
    struct committer *committer = work->committer;
    struct commit_item *first = committer->first;

    if (work->count == 0)
        return;
    for (size_t i = work->count; i > 0; i--) {
        work->items[i - 1]->next = first;
        first = work->items[i - 1];
    }
    if (!committer->first)
        committer->last = &work->items[work->count - 1]->next;
    committer->first = first;
    committer->waiting += work->count;
    work->count = 0;
}

static struct stuck *find_stuck(struct committer *committer, int64_t tenant_id)
{
    for (size_t i = 0; i < STUCK_MAX; i++)
        if (committer->stuck[i].tenant_id == tenant_id)
            return &committer->stuck[i];
    return NULL;
}

static bool may_go(const struct work *work, int64_t tenant_id)
{
    struct committer *committer = work->committer;
    const struct stuck *stuck = find_stuck(committer, tenant_id);

    for (size_t i = 0; i < WORKS; i++)
        for (size_t k = 0; k < committer->works[i].count; k++)
            if (committer->works[i].items[k]->settle.tenant_id == tenant_id)
                return false;
    if (work != &committer->works[WORK_STUCK])
        return !stuck;
    return stuck && stuck->until_us <= fibre_now_us();
}

static void take(struct work *work)
{
    struct committer *committer = work->committer;
    struct commit_item **link = &committer->first;
    struct commit_item *taken[COMMITTER_BATCH_MAX];
    bool one = work == &committer->works[WORK_STUCK] || committer->alone > 0;
    size_t count = 0;
    int64_t only = 0;

    while (*link && count < committer->options.batch_max) {
        struct commit_item *item = *link;
        int64_t tenant_id = item->settle.tenant_id;

        if (!may_go(work, tenant_id) || (one && only && only != tenant_id)) {
            link = &item->next;
            continue;
        }
        only = tenant_id;
        *link = item->next;
        if (!*link)
            committer->last = link;
        taken[count++] = item;
        committer->waiting--;
    }
    memcpy(work->items, taken, count * sizeof(struct commit_item *));
    work->count = count;
    if (committer->alone > 0 && count > 0)
        committer->alone--;
}

static void finish(struct committer *committer, struct commit_item *const *items, size_t count,
                   enum status status)
{
    for (size_t i = 0; i < count; i++) {
        items[i]->status = status;
        items[i]->settle.facts = NULL;
    }
    if (count > 0)
        committer->options.done(committer->options.user, items, count);
}

static bool is_away(const struct committer *committer)
{
    return committer->options.away_ms > 0 && !committer->up &&
           fibre_now_us() - committer->down_since_us > committer->options.away_ms * 1000;
}

static void expire(struct committer *committer)
{
    struct commit_item **link = &committer->first;

    while (*link) {
        struct commit_item *item = *link;

        if (!is_away(committer) && item->give_up_us > fibre_now_us()) {
            link = &item->next;
            continue;
        }
        *link = item->next;
        if (!*link)
            committer->last = link;
        committer->waiting--;
        finish(committer, &item, 1,
               item->maybe_landed ? STATUS_UNKNOWN
               : committer->up    ? STATUS_TIMEOUT
                                  : STATUS_UNAVAILABLE);
        link = &committer->first;
    }
}

/* --- a batch ------------------------------------------------------------------------------------ */

struct batch {
    struct work *work;
    struct settle_facts *facts; /* one per item; items of one job share the first's */
    size_t *first_of_job;
    struct attempt *expired; /* of items known by job only: which hold, before the locks */
    struct attempt *placed;  /* the row of pg_hold, before the locks */
    struct pg_ref *refs;
    size_t refs_count;
    struct book book;
    bool *again;
};

static bool is_by_job(const struct commit_item *item)
{
    return !item->settle.token && !item->settle.live;
}

static bool same_job(const struct commit_item *a, const struct commit_item *b)
{
    return a->settle.tenant_id == b->settle.tenant_id &&
           slice_equal(a->settle.job_id, b->settle.job_id);
}

static void read_facts(struct batch *batch)
{
    struct work *work = batch->work;

    for (size_t i = 0; i < work->count; i++) {
        size_t first = 0;

        while (!same_job(work->items[first], work->items[i]))
            first++;
        batch->first_of_job[i] = first;
        if (first == i)
            batch->facts[i] = pg_facts(work->db->pg, &work->arena, work->items[i]->settle.tenant_id,
                                       work->items[i]->settle.job_id);
        work->items[i]->settle.facts = &batch->facts[first];
    }
}

static struct attempt expired_of(const struct settle_facts *facts)
{
    return facts->expired ? facts->expired->attempt : (struct attempt){0};
}

static struct attempt placed_of(const struct settle_facts *facts)
{
    return facts->placed ? facts->placed->attempt : (struct attempt){0};
}

static bool names(const struct hold *hold, struct quota_ref ref)
{
    for (size_t i = 0; hold && i < hold->quotas_count; i++)
        if (quota_ref_equal(hold->quotas[i].quota, ref))
            return true;
    return false;
}

/* Which rows; those of the periods that a late commit goes to may have to be made. */
static enum status collect(struct batch *batch)
{
    struct work *work = batch->work;
    struct arena *arena = &work->arena;
    size_t room = work->count * SETTLE_LOCKS_MAX, absent_count = 0;
    struct pg_ref *absent = pg_alloc(arena, room, sizeof(*absent));
    int64_t now_ms = work->db->pg->now_ms(work->db->pg->user);

    batch->refs = pg_alloc(arena, room, sizeof(*batch->refs));
    for (size_t i = 0; i < work->count; i++) {
        struct commit_item *item = work->items[i];
        struct quota_ref own[SETTLE_LOCKS_MAX];
        size_t count = settle_locks(&item->settle, item->plan, now_ms, own, ARRAY_COUNT(own));

        batch->expired[i] = expired_of(item->settle.facts);
        batch->placed[i] = placed_of(item->settle.facts);
        for (size_t k = 0; k < count; k++) {
            struct pg_ref ref = {item->settle.tenant_id, own[k]};

            batch->refs[batch->refs_count++] = ref;
            if (!names(item->settle.token, own[k]) && !names(item->settle.live, own[k]))
                absent[absent_count++] = ref;
        }
    }
    batch->refs_count = pg_refs_sort(batch->refs, batch->refs_count);
    absent_count = pg_refs_sort(absent, absent_count);
    return pg_make(work->db, arena, absent, absent_count);
}

/* The hole: past its deadline any reservation id means whatever the job holds. */
static void mean_newer(struct batch *batch, struct settle_item *settle)
{
    if (mutant_is(MUTANT_RELEASED_MEANS_NEWER) && settle->kind == SETTLE_COMMIT && settle->token &&
        settle->token->deadline_ms <= batch->book.now_ms && settle->live)
        settle->token = settle->live;
}

static void decide(struct batch *batch, struct pg_tx *tx)
{
    struct work *work = batch->work;

    for (size_t i = 0; i < work->count; i++) {
        struct commit_item *item = work->items[i];
        struct settle_item *settle = &item->settle;
        struct attempt now = expired_of(settle->facts);
        struct pg_change *change;

        batch->again[i] =
            is_by_job(item) && !settle->facts->record &&
            (now.epoch != batch->expired[i].epoch || now.seq != batch->expired[i].seq);
        batch->again[i] |= settle->facts->placed && !settle->facts->record &&
                           attempt_compare(settle->facts->placed->attempt, batch->placed[i]) != 0;
        if (batch->again[i])
            continue;
        settle->made_record = settle->made_fence = false;
        settle->fenced_count = 0;
        mean_newer(batch, settle);
        mutant_settle(&batch->book, settle);
        if (item->maybe_landed &&
            (settle->outcome == SETTLE_COMMITTED || settle->outcome == SETTLE_RELEASED))
            settle->replayed = false;
        if ((!settle->made_record && !settle->made_fence) ||
            (settle->made_fence && mutant_is(MUTANT_RELEASE_WITHOUT_FENCE)))
            continue;
        if (settle->dropped) {
            struct pg_change *drop = pg_add(tx, PG_DROP_PLACED, settle->tenant_id);

            drop->job_id = pg_keep(tx->pg, settle->job_id);
            drop->attempt = settle->dropped->attempt;
        }
        if (settle->made_record) {
            change = pg_add(tx, PG_ADD_RECORD, settle->tenant_id);
            change->job_id = pg_keep(tx->pg, settle->job_id);
            change->record = pg_copy_record(&tx->pg->storage, settle->record);
        }
        for (size_t k = 0; k < settle->fenced_count; k++) {
            change = pg_add(tx, PG_ADD_FENCE, settle->tenant_id);
            change->job_id = pg_keep(tx->pg, settle->job_id);
            change->attempt = settle->fenced[k];
        }
    }
    for (size_t i = 0; i < batch->book.quotas_count; i++)
        if (batch->book.quotas[i].dirty)
            book_refill(&batch->book, &batch->book.quotas[i],
                        batch->book.now_ms + work->committer->options.lease_ms);
}

static void answer_row(struct batch *batch, struct commit_item *item, struct quota_ref ref)
{
    const struct quota_row *row = book_find_quota(&batch->book, item->settle.tenant_id, ref);

    for (size_t i = 0; i < item->quotas_count; i++)
        if (quota_ref_equal(item->quotas[i].ref, ref))
            return;
    if (row)
        item->quotas[item->quotas_count++] = *row;
}

static const struct hold *copy_hold(struct arena *arena, const struct hold *from)
{
    struct hold *hold;

    CHECK(hold_parse(arena, slice_from_cstr(hold_text(arena, from)), &hold));
    return hold;
}

static void answer(struct batch *batch, struct commit_item *item)
{
    struct settle_item *settle = &item->settle;
    const struct hold *hold = settle->subject;
    size_t room = 0;

    hold = hold ? hold : settle->token;
    hold = hold ? hold : settle->live;
    item->now_ms = batch->book.now_ms;
    room = hold ? hold->quotas_count : 0;
    for (size_t i = 0; settle->record && i < settle->record->entries_count; i++)
        room += settle->record->entries[i].counted_count;
    item->quotas_count = 0;
    item->quotas = pg_alloc(item->arena, room, sizeof(*item->quotas));
    for (size_t i = 0; hold && i < hold->quotas_count; i++)
        answer_row(batch, item, hold->quotas[i].quota);
    for (size_t i = 0; settle->record && i < settle->record->entries_count; i++)
        for (size_t k = 0; k < settle->record->entries[i].counted_count; k++)
            answer_row(batch, item, settle->record->entries[i].counted[k].ref);
    if (settle->record)
        settle->record = pg_copy_record(item->arena, settle->record);
    if (settle->subject && settle->subject != settle->token && settle->subject != settle->live)
        settle->subject = copy_hold(item->arena, settle->subject);
}

static enum status run_batch(struct batch *batch)
{
    struct work *work = batch->work;
    struct arena *arena = &work->arena;
    struct pg_tx tx;
    enum status status;

    batch->facts = pg_alloc(arena, work->count, sizeof(*batch->facts));
    batch->first_of_job = pg_alloc(arena, work->count, sizeof(*batch->first_of_job));
    batch->expired = pg_alloc(arena, work->count, sizeof(*batch->expired));
    batch->placed = pg_alloc(arena, work->count, sizeof(*batch->placed));
    batch->again = pg_alloc(arena, work->count, sizeof(*batch->again));
    status = pg_ask(work->db);
    if (status != STATUS_OK)
        return status;
    read_facts(batch);
    status = collect(batch);
    if (status == STATUS_OK)
        status = pg_begin(work->db, &tx, arena,
                          work == &work->committer->works[WORK_STUCK] ? STUCK_LOCK_TIMEOUT_MS
                                                                      : LOCK_TIMEOUT_MS);
    if (status != STATUS_OK)
        return status;
    batch->book =
        (struct book){.arena = arena, .late_window_ms = work->committer->options.late_window_ms};
    status = pg_lock(&tx, work->db, &batch->book, batch->refs, batch->refs_count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    if (!mutant_is(MUTANT_FACTS_BEFORE_LOCKS))
        read_facts(batch);
    decide(batch, &tx);
    pg_write(&tx, &batch->book);
    return pg_commit(&tx);
}

static void done(struct batch *batch)
{
    struct work *work = batch->work;
    struct commit_item *items[COMMITTER_BATCH_MAX], *back[COMMITTER_BATCH_MAX];
    size_t count = 0, back_count = 0;

    for (size_t i = 0; i < work->count; i++) {
        if (batch->again[i]) {
            back[back_count++] = work->items[i];
            continue;
        }
        answer(batch, work->items[i]);
        items[count++] = work->items[i];
    }
    memcpy(work->items, back, back_count * sizeof(struct commit_item *));
    work->count = back_count;
    put_back(work);
    finish(work->committer, items, count, STATUS_OK);
}

static void leave_out(struct committer *committer, int64_t tenant_id)
{
    struct stuck *stuck = find_stuck(committer, tenant_id);

    if (!stuck) {
        stuck = &committer->stuck[0];
        for (size_t i = 1; i < STUCK_MAX; i++)
            if (committer->stuck[i].until_us < stuck->until_us)
                stuck = &committer->stuck[i];
        *stuck = (struct stuck){.tenant_id = tenant_id, .pause_us = PAUSE_FIRST_US / 2};
    }
    stuck->pause_us = 2 * stuck->pause_us < PAUSE_MAX_US ? 2 * stuck->pause_us : PAUSE_MAX_US;
    stuck->until_us = fibre_now_us() + stuck->pause_us;
}

/* A lock that somebody keeps: whose is it? Those tenants wait alone; if nobody's, parts tell. */
static void locked(struct work *work)
{
    struct committer *committer = work->committer;
    int64_t first = work->items[0]->settle.tenant_id;
    size_t others = 0, found = 0;

    for (size_t i = 0; i < work->count; i++) {
        int64_t tenant_id = work->items[i]->settle.tenant_id;
        bool known = false;

        for (size_t k = 0; k < i && !known; k++)
            known = work->items[k]->settle.tenant_id == tenant_id;
        others += tenant_id != first;
        if (known || !pg_is_locked(work->db->pg, tenant_id))
            continue;
        leave_out(committer, tenant_id);
        found++;
    }
    if (found == 0 && others == 0)
        leave_out(committer, first);
    else if (found == 0)
        committer->alone = work->count;
}

/* It has its locks: nothing is believed of it any more. */
static void let_in(struct work *work)
{
    struct stuck *stuck = find_stuck(work->committer, work->items[0]->settle.tenant_id);

    if (stuck)
        *stuck = (struct stuck){0};
}

static void run_work(void *user)
{
    struct work *work = user;
    struct committer *committer = work->committer;

    while (true) {
        struct batch batch = {.work = work};
        enum status status;

        expire(committer);
        arena_reset(&work->arena);
        take(work);
        if (work->count == 0) {
            if (committer->closed && !committer->first)
                break;
            if (!committer->up) { /* nothing is taken meanwhile, so it looks by itself */
                fibre_sleep_us(RETRY_US);
                committer->up = committer->up || pg_ask(work->db) == STATUS_OK;
                continue;
            }
            fibre_wait(committer, fibre_now_us() + (committer->first ? LOOK_US : 25 * LOOK_US));
            continue;
        }
        status = run_batch(&batch);
        if (committer->up && status == STATUS_UNAVAILABLE)
            committer->down_since_us = fibre_now_us();
        committer->up = status != STATUS_UNAVAILABLE;
        if (status == STATUS_OK) {
            let_in(work);
            done(&batch);
            continue;
        }
        for (size_t i = 0; i < work->count && status == STATUS_UNKNOWN; i++)
            if (work->items[i]->settle.made_record || work->items[i]->settle.made_fence)
                work->items[i]->maybe_landed = true;
        if (status == STATUS_CONFLICT)
            locked(work);
        put_back(work);
        if (status != STATUS_CONFLICT)
            fibre_sleep_us(RETRY_US);
    }
    work->fibre = NULL;
}

/* --- from outside ------------------------------------------------------------------------------- */

struct committer *sim_committer_create(const struct committer_options *options, char *error,
                                       size_t error_bytes)
{
    struct committer *committer = calloc(1, sizeof(*committer));
    const struct database_options database = {.statement_timeout_ms = 4000,
                                              .clock = options->clock,
                                              .estimate = options->estimate,
                                              .compared = true};

    (void)error, (void)error_bytes;
    CHECK(committer);
    committer->options = *options;
    if (committer->options.batch_max == 0 || committer->options.batch_max > COMMITTER_BATCH_MAX)
        committer->options.batch_max = COMMITTER_BATCH_MAX;
    committer->last = &committer->first;
    committer->up = true;
    for (size_t i = 0; i < WORKS; i++) {
        struct work *work = &committer->works[i];

        work->committer = committer;
        work->db = sim_database_create(&database);
        arena_init(&work->arena, ARENA_BYTES, SIZE_MAX / 2);
        work->fibre = fibre_start("committer", 0, run_work, work);
    }
    return committer;
}

bool sim_committer_submit(struct committer *committer, struct commit_item *item)
{
    if (committer->closed || committer->waiting >= committer->options.items_max)
        return false;
    item->maybe_landed = false;
    append(committer, item);
    fibre_wake(committer);
    return true;
}

void sim_committer_destroy(struct committer *committer)
{
    if (!committer)
        return;
    committer->closed = true;
    fibre_wake(committer);
    for (size_t i = 0; i < WORKS; i++) {
        while (committer->works[i].fibre)
            fibre_sleep_us(LOOK_US);
        sim_database_destroy(committer->works[i].db);
        arena_done(&committer->works[i].arena);
    }
    free(committer);
}
