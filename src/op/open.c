#include "op/open.h"

#include "base/hash.h"
#include "op/authority.h"
#include "op/services.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUOTA_SLOTS = 2 * OPEN_QUOTAS_MAX, /* half full at most */
    BUCKETS = 8192,
    SWEPT = 16, /* buckets that are looked through with each hold that comes */
};

struct counted {
    struct quota_ref ref; /* limit_id 0: free */
    int64_t units;
};

struct kept {
    struct kept *next;
    int64_t tenant_id;
    int64_t deadline_ms;
    size_t bytes, job_len, text_len;
    char data[]; /* job id, then the hold's text */
};

struct open {
    pthread_mutex_t lock;
    int64_t episode;
    size_t quotas_count;
    struct counted *quotas; /* QUOTA_SLOTS; made with the first hold, as the buckets are */
    size_t holds_count, bytes;
    size_t swept;          /* the next bucket to be looked through */
    struct kept **buckets; /* BUCKETS */
};

struct open *open_create(void)
{
    struct open *open = calloc(1, sizeof(*open));

    CHECK(open);
    CHECK(pthread_mutex_init(&open->lock, NULL) == 0);
    return open;
}

static void drop(struct open *open, struct kept **at)
{
    struct kept *kept = *at;

    *at = kept->next;
    open->holds_count--;
    open->bytes -= kept->bytes;
    free(kept);
}

void open_destroy(struct open *open)
{
    if (!open)
        return;
    for (size_t i = 0; open->buckets && i < BUCKETS; i++)
        while (open->buckets[i])
            drop(open, &open->buckets[i]);
    free(open->buckets);
    free(open->quotas);
    pthread_mutex_destroy(&open->lock);
    free(open);
}

struct attempt open_attempt(struct services *services, int shard, int64_t now_ms)
{
    struct shard_view view;
    bool known = authority_believed(services->authority, shard, &view);

    return (struct attempt){known ? view.epoch : 1,
                            attempt_open_seq(now_ms, entropy_u64(services->entropy))};
}

/* --- how much ------------------------------------------------------------------------------------- */

static void enter(struct open *open, int64_t episode)
{
    if (!open->buckets) {
        open->quotas = calloc(QUOTA_SLOTS, sizeof(*open->quotas));
        open->buckets = calloc(BUCKETS, sizeof(struct kept *));
        CHECK(open->quotas && open->buckets);
    }
    if (open->episode == episode)
        return;
    open->episode = episode;
    open->quotas_count = 0;
    memset(open->quotas, 0, QUOTA_SLOTS * sizeof(*open->quotas));
}

static struct counted *slot_of(struct open *open, struct quota_ref ref)
{
    size_t at = hash_bytes(&ref, sizeof(ref)) % QUOTA_SLOTS;

    while (open->quotas[at].ref.limit_id != 0 && !quota_ref_equal(open->quotas[at].ref, ref))
        at = (at + 1) % QUOTA_SLOTS;
    return &open->quotas[at];
}

static bool has_units(struct open *open, const struct plan *plan, const struct hold *hold)
{
    if (open->quotas_count + hold->quotas_count > OPEN_QUOTAS_MAX)
        return false;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct hold_quota *quota = &hold->quotas[i];
        const struct limit *limit = plan_limit(plan, quota->quota.limit_id);

        if (!limit || limit->redis_away != REDIS_AWAY_OPEN ||
            quota->units > limit->redis_away_units - slot_of(open, quota->quota)->units)
            return false;
    }
    return true;
}

static void count(struct open *open, const struct hold *hold)
{
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct counted *slot = slot_of(open, hold->quotas[i].quota);

        open->quotas_count += slot->ref.limit_id == 0;
        slot->ref = hold->quotas[i].quota;
        slot->units += hold->quotas[i].units;
    }
}

/* --- which holds ---------------------------------------------------------------------------------- */

static struct kept **bucket_of(struct open *open, int64_t tenant_id, struct slice job_id)
{
    return &open->buckets[(hash_slice(job_id) ^ (uint64_t)tenant_id) % BUCKETS];
}

/* Where it is, or the end of its bucket. */
static struct kept **place_of(struct open *open, int64_t tenant_id, struct slice job_id)
{
    struct kept **at = bucket_of(open, tenant_id, job_id);

    while (*at && ((*at)->tenant_id != tenant_id ||
                   !slice_equal(slice_of((*at)->data, (*at)->job_len), job_id)))
        at = &(*at)->next;
    return at;
}

static void sweep(struct open *open, int64_t now_ms)
{
    for (int i = 0; i < SWEPT; i++) {
        struct kept **at = &open->buckets[open->swept];

        while (*at) {
            if ((*at)->deadline_ms <= now_ms)
                drop(open, at);
            else
                at = &(*at)->next;
        }
        open->swept = (open->swept + 1) % BUCKETS;
    }
}

static struct kept *make_kept(int64_t tenant_id, struct slice job_id, const struct hold *hold)
{
    struct arena arena;
    struct kept *kept;
    const char *text;
    size_t len;

    arena_init(&arena, 1024, 2 * HOLD_TEXT_MAX);
    text = hold_text(&arena, hold);
    CHECK(text);
    len = strlen(text);
    kept = malloc(sizeof(*kept) + job_id.len + len);
    CHECK(kept);
    *kept = (struct kept){.tenant_id = tenant_id,
                          .deadline_ms = hold->deadline_ms,
                          .bytes = sizeof(*kept) + job_id.len + len,
                          .job_len = job_id.len,
                          .text_len = len};
    memcpy(kept->data, job_id.data, job_id.len);
    memcpy(kept->data + job_id.len, text, len);
    arena_done(&arena);
    return kept;
}

static bool has_place(const struct open *open, const struct kept *kept)
{
    return open->holds_count < OPEN_HOLDS_MAX && open->bytes + kept->bytes <= OPEN_BYTES_MAX;
}

bool open_admit(struct open *open, int64_t episode, const struct plan *plan, struct slice job_id,
                const struct hold *hold, int64_t now_ms)
{
    struct kept *kept = make_kept(plan->tenant_id, job_id, hold);
    bool admitted;

    pthread_mutex_lock(&open->lock);
    enter(open, episode);
    sweep(open, now_ms);
    admitted = has_place(open, kept) && has_units(open, plan, hold);
    if (admitted) {
        struct kept **at = place_of(open, plan->tenant_id, job_id);

        if (*at)
            drop(open, at);
        count(open, hold);
        kept->next = *at;
        *at = kept;
        open->holds_count++;
        open->bytes += kept->bytes;
    }
    pthread_mutex_unlock(&open->lock);
    if (!admitted)
        free(kept);
    return admitted;
}

const struct hold *open_find(struct open *open, struct arena *arena, int64_t tenant_id,
                             struct slice job_id, int64_t now_ms)
{
    struct slice text = {0};
    struct hold *hold = NULL;
    const struct kept *kept;

    pthread_mutex_lock(&open->lock);
    kept = open->buckets ? *place_of(open, tenant_id, job_id) : NULL;
    if (kept && kept->deadline_ms > now_ms)
        text = slice_of(arena_strndup(arena, kept->data + kept->job_len, kept->text_len),
                        kept->text_len);
    pthread_mutex_unlock(&open->lock);
    if (text.data)
        CHECK(hold_parse(arena, text, &hold)); /* it was written here */
    return hold;
}

void open_forget(struct open *open, int64_t tenant_id, struct slice job_id)
{
    struct kept **at;

    pthread_mutex_lock(&open->lock);
    at = open->buckets ? place_of(open, tenant_id, job_id) : NULL;
    if (at && *at)
        drop(open, at);
    pthread_mutex_unlock(&open->lock);
}
