#include "tests/quota/settle_scene.h"

struct arena arena;
struct quota_row quotas[6];
struct lease_row leases[4];
struct book book;
struct settle_facts facts;
struct hold_meter meters[2];
struct hold_quota held[3];
struct hold hold;
struct settle_item item;

struct quota_row row(int64_t limit_id, struct slice meter)
{
    return (struct quota_row){
        .tenant_id = 1,
        .ref = {limit_id, 0},
        .meter = meter,
        .period = PERIOD_NEVER,
        .period_end_ms = PERIOD_END_NEVER,
        .stops = {.soft = 90, .amount = 100, .cap = 110},
        .leased = 40,
        .lease_id = LEASE,
        .granted = 40,
        .lease_target = 40,
        .state = QUOTA_OPEN,
        .epoch = EPOCH,
    };
}

void set_up(void)
{
    arena_init(&arena, 1 << 14, 1 << 22);
    quotas[0] = row(2, SLICE("tokens"));
    quotas[1] = row(3, SLICE("tokens"));
    quotas[2] = row(4, SLICE("requests"));
    book = (struct book){.arena = &arena, .now_ms = NOW, .late_window_ms = LATE_WINDOW,
                                .quotas = quotas, .quotas_count = 3, .leases = leases};
    facts = (struct settle_facts){0};
    meters[0] = (struct hold_meter){SLICE("tokens"), 10};
    meters[1] = (struct hold_meter){SLICE("requests"), 1};
    held[0] = (struct hold_quota){0, {2, 0}, LEASE, 10};
    held[1] = (struct hold_quota){0, {3, 0}, LEASE, 10};
    held[2] = (struct hold_quota){1, {4, 0}, LEASE, 1};
    hold = (struct hold){.attempt = {EPOCH, 1}, .deadline_ms = NOW + 1, .scope = SLICE("team-a"),
                         .meters_count = 2, .meters = meters, .quotas_count = 3,
                         .quotas = held};
    item = (struct settle_item){.kind = SETTLE_COMMIT, .tenant_id = 1, .job_id = SLICE("job"),
                                .token = &hold, .facts = &facts, .redis_asked = true,
                                .looked_up_ms = INT64_MAX};
}

void tear_down(void)
{
    arena_done(&arena);
}


struct settle_actual actual[2] = {
    {{"tokens", 6}, 10, OVERRUN_RECORD},
    {{"requests", 8}, 1, OVERRUN_RECORD},
};

enum settle_outcome decide(void)
{
    settle_decide(&book, &item);
    return item.outcome;
}

enum settle_outcome commit_actual(int64_t tokens, enum overrun overrun)
{
    actual[0].units = tokens;
    actual[0].overrun = overrun;
    item.actual = actual;
    item.actual_count = 2;
    return decide();
}

enum settle_outcome release_by(const struct hold *token, const struct hold *live)
{
    item.kind = SETTLE_RELEASE;
    item.token = token;
    item.live = live;
    return decide();
}

/* Leaves room x at the root of a quota by what is committed. */
void leave_room(struct quota_row *quota, int64_t room)
{
    quota->committed = quota->stops.cap - quota->leased - room;
}

size_t events_count(void)
{
    size_t count = 0;

    for (struct event_row *event = book.events; event; event = event->next)
        count++;
    return count;
}

bool nothing_changed(void)
{
    for (size_t i = 0; i < book.quotas_count; i++)
        if (quotas[i].dirty || quotas[i].ledger_seq != 0)
            return false;
    return !book.events && !facts.record && facts.fences_count == 0;
}
