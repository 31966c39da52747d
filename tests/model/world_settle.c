#include "world_state.h"

#include <stdio.h>

enum { REFS_MAX = 16 * HOLD_QUOTAS_MAX, BATCH_MAX = 3 };

/* What the model asks of Postgres: the rows of the transaction, and the item that is decided. */
struct asked {
    struct book *book;
    const struct settle_item *item;
};

static const struct quota_row *row_in(const struct book *book, struct quota_ref ref)
{
    for (size_t i = 0; i < book->quotas_count; i++)
        if (quota_ref_equal(book->quotas[i].ref, ref))
            return &book->quotas[i];
    return NULL;
}

static const struct hold *hold_of(const struct settle_item *item, int64_t seq)
{
    const struct hold *holds[] = {item->token, item->live, item->facts->expired};
    const struct hold *found = NULL;

    /* The same attempt with two deadlines: the item says by the token which is meant, unless late. */
    for (size_t i = 0; i < ARRAY_COUNT(holds); i++)
        if (holds[i] && world_seq(holds[i]->attempt) == seq &&
            (!found || holds[i] == item->live))
            found = holds[i];
    return found;
}

static int64_t actual_of(const struct settle_item *item, const struct hold *hold, uint32_t meter)
{
    for (size_t i = 0; i < item->actual_count; i++)
        if (slice_equal(item->actual[i].meter, hold->meters[meter].meter))
            return item->actual[i].units;
    return hold->meters[meter].units;
}

static int64_t left_of_lease(const struct book *book, const struct quota_row *quota,
                             int64_t lease_id)
{
    if (quota->lease_id == lease_id)
        return quota->granted - quota->returned - quota->spent;
    for (size_t i = 0; i < book->leases_count; i++)
        if (quota_ref_equal(book->leases[i].ref, quota->ref) &&
            book->leases[i].lease_id == lease_id)
            return book->leases[i].granted - book->leases[i].returned - book->leases[i].spent;
    return 0;
}

/* The lease of which the hold's units are spent; 0: there is none that has them. */
static int64_t lease_of(const struct asked *asked, const struct quota_row *quota, int64_t own)
{
    const struct hold *hold = own ? hold_of(asked->item, own) : NULL;

    for (size_t i = 0; hold && i < hold->quotas_count; i++) {
        const struct hold_quota *held = &hold->quotas[i];
        int64_t units = actual_of(asked->item, hold, held->meter);

        units = units < held->units ? units : held->units;
        if (quota_ref_equal(held->quota, quota->ref) &&
            left_of_lease(asked->book, quota, held->lease_id) >= units)
            return held->lease_id;
    }
    return 0;
}

static int64_t lent_of(void *user, int limit, int64_t period, int64_t own)
{
    const struct asked *asked = user;
    const struct book *book = asked->book;
    const struct quota_row *quota = row_in(book, (struct quota_ref){limit, period});
    int64_t lent = quota ? quota->leased : 0;

    for (size_t i = 0; quota && i < book->leases_count; i++)
        if (quota_ref_equal(book->leases[i].ref, quota->ref) &&
            book->leases[i].deadline_ms < book->now_ms &&
            book->leases[i].lease_id != lease_of(asked, quota, own))
            lent -= left_of_lease(book, quota, book->leases[i].lease_id);
    return lent;
}

static bool owns(void *user, int limit, int64_t seq)
{
    const struct asked *asked = user;
    const struct hold *hold = hold_of(asked->item, seq);

    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct hold_quota *held = &hold->quotas[i];
        const struct quota_row *quota = row_in(asked->book, held->quota);
        int64_t units = actual_of(asked->item, hold, held->meter);

        units = units < held->units ? units : held->units;
        if (quota && quota->reaped_to_ms >= hold->deadline_ms)
            return false;
        if (held->quota.limit_id == limit &&
            (!quota || quota->state == QUOTA_CLOSED ||
             left_of_lease(asked->book, quota, held->lease_id) < units))
            return false;
    }
    return true;
}

/* Builds a request and, beside it, what the model is to know of it. */
static void make_commit(struct world *world, int job, struct settle_item *item,
                        struct model_commit *question, struct settle_actual *actual)
{
    const struct hold *named = item->token ? item->token : item->live ? item->live
                                                       : item->facts->expired;

    *question = (struct model_commit){.job = job, .actual = {-1, -1, -1}};
    if (!named || world_one_in(world, 3))
        return;
    question->given = true;
    for (size_t i = 0; i < named->meters_count; i++) {
        enum overrun overrun = OVERRUN_RECORD + (enum overrun)world_below(world, 3);
        int64_t units = world_one_in(world, 4) ? world_below(world, 40)
                                         : world_below(world, named->meters[i].units + 1);

        for (int meter = 0; meter < MODEL_METERS; meter++) {
            if (!slice_equal_cstr(named->meters[i].meter, world_meters[meter]))
                continue;
            question->actual[meter] = units;
            question->overrun[meter] = overrun;
        }
        actual[i] = (struct settle_actual){named->meters[i].meter, units, overrun};
    }
    item->actual = actual;
    item->actual_count = named->meters_count;
    if (world_one_in(world, 25)) {
        question->malformed = true;
        actual[0].meter = SLICE("seats");
    }
}

/* Whether the token, the live and the expired hold all name the meters of the request. */
static bool same_meters(const struct hold *a, const struct hold *b)
{
    if (!a || !b)
        return true;
    if (a->meters_count != b->meters_count)
        return false;
    for (size_t i = 0; i < a->meters_count; i++)
        if (!slice_equal(a->meters[i].meter, b->meters[i].meter))
            return false;
    return true;
}

static void compare_record(struct world *world, const struct settle_item *item,
                           const struct model_answer *answer)
{
    for (size_t i = 0; i < item->record->entries_count; i++) {
        const struct settle_entry *entry = &item->record->entries[i];

        for (int meter = 0; meter < MODEL_METERS; meter++) {
            if (!slice_equal_cstr(entry->meter, world_meters[meter]))
                continue;
            world_expect(world,
                   entry->amount == answer->amount[meter] && entry->debt == answer->debt[meter],
                   "the record books another amount");
            world->counts->debts += entry->debt > 0;
            world->counts->capped += entry->amount + entry->debt < entry->asked;
        }
        for (size_t j = 0; j < entry->counted_count; j++) {
            const struct settle_counted *counted = &entry->counted[j];
            int64_t period = counted->ref.period_start_ms;

            world_expect(world,
                         model_counted(&world->model, (int)counted->ref.limit_id, period,
                                       counted->amount, counted->debt, counted->ledger_seq),
                         "the record");
            world->counts->late_elsewhere +=
                item->record->late && period > item->subject->created_ms;
        }
    }
}

static void compare(struct world *world, const struct settle_item *item,
                    const struct model_answer *answer)
{
    char what[120];

    if (item->outcome == answer->outcome && item->replayed == answer->replayed &&
        (item->outcome != SETTLE_COMMITTED || item->late == answer->late)) {
        if (item->made_record)
            compare_record(world, item, answer);
        return;
    }
    snprintf(what, sizeof(what),
             "%s of %.*s: outcome %d replayed %d late %d, the model says %d %d %d",
             item->kind == SETTLE_COMMIT ? "commit" : "release", SLICE_ARGS(item->job_id),
             (int)item->outcome, item->replayed, item->late, (int)answer->outcome,
             answer->replayed, answer->late);
    world_fail(world, what);
}

static void count(struct world *world, const struct settle_item *item)
{
    world->counts->commits += item->made_record;
    world->counts->lates += item->made_record && item->late;
    world->counts->replays += item->replayed;
    world->counts->releases += item->made_fence;
    world->counts->strict_refusals += item->outcome == SETTLE_OVERRUN;
}

/*
 * The hold of a recorded job goes, and with it comes what was spent: a removal that leaves S behind
 * would free units that the record has used.
 */
static void settle(struct world *world, int job, const struct settle_item *item)
{
    const struct hold *hold = item->made_record ? item->subject : item->live;
    struct message *message;

    if (!hold)
        return;
    message = world_post(world, job);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct quota_row *row = world_row(world, hold->quotas[i].quota);
        int64_t spent = item->made_record ? item->record->entries[hold->quotas[i].meter].amount : 0;

        if (row && row->lease_id)
            message->totals[message->count++] = world_totals(row, spent);
    }
}

struct batch {
    size_t count;
    int jobs[BATCH_MAX];
    struct settle_item items[BATCH_MAX];
    struct model_commit questions[BATCH_MAX];
    struct settle_actual actuals[BATCH_MAX][MODEL_METERS];
    struct quota_ref refs[REFS_MAX];
    size_t refs_count;
};

static void fill_batch(struct world *world, struct batch *batch)
{
    batch->count = 1 + (size_t)world_below(world, BATCH_MAX);
    batch->refs_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        int job = i > 0 && world_one_in(world, 3) ? batch->jobs[0] : world_any_job(world);
        struct job *at = &world->jobs[job];
        struct settle_item *item = &batch->items[i];

        batch->jobs[i] = job;
        *item = (struct settle_item){
            .kind = world_one_in(world, 4) ? SETTLE_RELEASE : SETTLE_COMMIT,
            .tenant_id = TENANT,
            .job_id = slice_from_cstr(at->name),
            .facts = &at->facts,
            .redis_asked = !world_one_in(world, 10),
            .looked_up_ms = world_one_in(world, 4) ? world->now - world_below(world, 2000)
                                                   : world->now,
        };
        if (item->redis_asked)
            item->live = world->redis.holds[job];
        if (at->tokens_count > 0 && !world_one_in(world, 3))
            item->token = at->tokens[world_below(world, at->tokens_count)];
        make_commit(world, job, item, &batch->questions[i], batch->actuals[i]);
        if (!same_meters(item->token, item->live) ||
            !same_meters(item->live, at->facts.expired) ||
            !same_meters(item->token, at->facts.expired))
            item->kind = SETTLE_RELEASE;
        batch->refs_count += settle_locks(item, world->plan, world->now,
                                          batch->refs + batch->refs_count,
                                          REFS_MAX - batch->refs_count);
    }
}

static struct model_seen seen(const struct hold *hold)
{
    return hold ? (struct model_seen){world_seq(hold->attempt), hold->deadline_ms}
                : (struct model_seen){0, 0};
}

/* Redis lost what it had, or the key of a quota, after this hold was made. */
static bool lost_since(struct world *world, const struct hold *hold)
{
    bool lost = hold && hold->attempt.epoch < world->epoch;

    for (size_t i = 0; hold && i < hold->quotas_count; i++) {
        const struct quota_row *row = world_row(world, hold->quotas[i].quota);

        lost = lost || (row && row->lease_id > hold->quotas[i].lease_id);
    }
    return lost;
}

static struct model_answer predict(struct world *world, const struct settle_item *item,
                                   struct model_commit *question, struct book *book)
{
    struct asked asked = {book, item};

    question->token = seen(item->token);
    question->live = seen(item->live);
    question->expired = seen(item->facts->expired);
    question->recall_done = item->recall_done;
    question->asked = item->redis_asked;
    question->lost = lost_since(world, item->facts->expired);
    question->looked_up = item->looked_up_ms;
    question->lent = lent_of;
    question->own = owns;
    question->world = &asked;
    if (item->kind == SETTLE_COMMIT)
        return model_commit(&world->model, question);
    return model_release(&world->model, question);
}

static bool wants_more(const struct settle_item *item)
{
    return item->outcome == SETTLE_WANTS_RECALL || item->outcome == SETTLE_WANTS_LOOKUP;
}

/* One transaction; the items that want a recall or a look-up are left over. */
static size_t run_batch(struct world *world, struct batch *batch, bool again)
{
    struct transaction *transaction = world_begin(world, batch->refs, batch->refs_count);
    size_t wanting = 0;
    int late = 0;

    for (size_t i = 0; i < batch->count && !world->failed; i++) {
        struct settle_item *item = &batch->items[i];
        struct settle_facts before = *item->facts;
        struct model_answer answer;

        if (again && !wants_more(item))
            continue;
        item->recall_done = again;
        if (again)
            item->looked_up_ms = world->now;
        answer = predict(world, item, &batch->questions[i], &transaction->book);
        settle_decide(&transaction->book, item);
        compare(world, item, &answer);
        count(world, item);
        late += item->made_record && item->late;
        wanting += wants_more(item);
        if (world->mutant == MUTANT_RELEASE_WITHOUT_FENCE && item->made_fence)
            *item->facts = before;
    }
    world_take_events(world, &transaction->book, late);
    for (size_t i = 0; i < transaction->book.quotas_count && world_one_in(world, 2); i++)
        book_refill(&transaction->book, &transaction->quotas[i], world->now + TTL_MAX_MS);
    world_end(world, transaction);
    return wanting;
}

/* A transaction that was rolled back leaves nothing behind, so the model hears nothing of it. */
static void roll_back(struct world *world, struct batch *batch)
{
    struct transaction *transaction = world_begin(world, batch->refs, batch->refs_count);
    struct batch copy = *batch;
    struct settle_facts facts[BATCH_MAX];

    for (size_t i = 0; i < batch->count; i++)
        facts[i] = *batch->items[i].facts;
    for (size_t i = 0; i < batch->count; i++)
        settle_decide(&transaction->book, &copy.items[i]);
    for (size_t i = 0; i < batch->count; i++)
        *batch->items[i].facts = facts[i];
}

static void after_batch(struct world *world, const struct batch *batch)
{
    for (size_t i = 0; i < batch->count && !world->failed; i++) {
        const struct settle_item *item = &batch->items[i];

        if (item->outcome == SETTLE_COMMITTED)
            settle(world, batch->jobs[i], item);
        else if (item->outcome == SETTLE_RELEASED && item->subject)
            world_post(world, batch->jobs[i])->removed = item->subject->attempt;
    }
}

void world_settle(struct world *world)
{
    static struct batch batch;

    fill_batch(world, &batch);
    if (world_one_in(world, 20))
        roll_back(world, &batch);
    if (run_batch(world, &batch, false) > 0 && !world->failed) {
        for (size_t i = 0; i < batch.refs_count; i++)
            world_recall(world, world_row(world, batch.refs[i]));
        run_batch(world, &batch, true);
    }
    after_batch(world, &batch);
    if (world->prompt)
        world_serve_recalls(world);
}
