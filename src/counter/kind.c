#include "counter/kind.h"

/* Made by embed.cmake. */
extern const char script_reserve[], script_fill[], script_notify[], script_lookup[],
    script_extend[], script_due[], script_discard[], script_reap[], script_recall[], script_read[],
    script_holds[], script_survey[], script_check[], script_retake[], script_rebuild[],
    script_register[], script_forget[], script_clean[], script_crossed[], script_told[],
    script_init[], script_observe[];

static const struct kind kinds[COUNTER_KINDS] = {
    [COUNTER_RESERVE] = {"reserve", script_reserve, write_reserve, read_reserve},
    [COUNTER_FILL] = {"fill", script_fill, write_fill, read_fill},
    [COUNTER_NOTIFY] = {"notify", script_notify, write_notify, read_notify},
    [COUNTER_LOOKUP] = {"lookup", script_lookup, write_lookup, read_lookup},
    [COUNTER_EXTEND] = {"extend", script_extend, write_extend, read_extend},
    [COUNTER_RETAKE] = {"retake", script_retake, write_retake, read_retake},
    [COUNTER_DUE] = {"due", script_due, write_due, read_due},
    [COUNTER_DISCARD] = {"discard", script_discard, write_discard, read_discard},
    [COUNTER_REAP] = {"reap", script_reap, write_reap, read_reap},
    [COUNTER_RECALL] = {"recall", script_recall, write_recall, read_recall},
    [COUNTER_READ] = {"read", script_read, write_read, read_read},
    [COUNTER_HOLDS] = {"holds", script_holds, write_holds, read_holds},
    [COUNTER_SURVEY] = {"survey", script_survey, write_survey, read_survey},
    [COUNTER_CHECK] = {"check", script_check, write_check, read_check},
    [COUNTER_REBUILD] = {"rebuild", script_rebuild, write_rebuild, read_rebuild},
    [COUNTER_REGISTER] = {"register", script_register, write_register, read_register},
    [COUNTER_FORGET] = {"forget", script_forget, write_forget, read_forget},
    [COUNTER_CLEAN] = {"clean", script_clean, write_clean, read_clean},
    [COUNTER_CROSSED] = {"crossed", script_crossed, write_crossed, read_crossed},
    [COUNTER_TOLD] = {"told", script_told, write_told, read_told},
    [COUNTER_INIT] = {"init", script_init, write_init, NULL},
    [COUNTER_OBSERVE] = {"observe", script_observe, write_observe, NULL},
};

const struct kind *kind_of(enum counter_kind kind)
{
    CHECK((size_t)kind < COUNTER_KINDS);
    return &kinds[kind];
}

/* A list that grows up to what a call may have. */
struct tenants {
    int64_t *list;
    size_t count;
};

static void add(struct tenants *tenants, int64_t tenant_id)
{
    bool same = tenants->count > 0 && tenants->list[tenants->count - 1] == tenant_id;

    if (!same && tenant_id != 0 && tenants->count < COUNTER_LIST_MAX)
        tenants->list[tenants->count++] = tenant_id;
}

static void add_totals(struct tenants *tenants, const struct counter_totals *totals, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add(tenants, totals[i].tenant_id);
}

static void add_reserve(struct tenants *tenants, const struct counter_reserve *reserve)
{
    for (size_t i = 0; i < reserve->items_count; i++)
        add(tenants, reserve->items[i].tenant_id);
}

static void add_fill(struct tenants *tenants, const struct counter_fill *fill)
{
    add_totals(tenants, fill->totals, fill->totals_count);
    for (size_t i = 0; i < fill->versions_count; i++)
        add(tenants, fill->versions[i].tenant_id);
}

static void add_notify(struct tenants *tenants, const struct counter_notify *notify)
{
    add_totals(tenants, notify->totals, notify->totals_count);
    for (size_t i = 0; i < notify->jobs_count; i++)
        add(tenants, notify->jobs[i].tenant_id);
}

#define OF(type) container_of(call, struct counter_##type, call)

size_t counter_tenants(struct counter_call *call, int64_t *ret)
{
    struct tenants tenants = {.list = ret};

    switch (call->kind) {
    case COUNTER_RESERVE:
        add_reserve(&tenants, OF(reserve));
        break;
    case COUNTER_FILL:
        add_fill(&tenants, OF(fill));
        break;
    case COUNTER_NOTIFY:
        add_notify(&tenants, OF(notify));
        break;
    case COUNTER_LOOKUP:
        add(&tenants, OF(lookup)->tenant_id);
        break;
    case COUNTER_EXTEND:
        add(&tenants, OF(extend)->tenant_id);
        break;
    case COUNTER_RETAKE:
        add(&tenants, OF(retake)->tenant_id);
        break;
    case COUNTER_DUE:
        add(&tenants, OF(due)->tenant_id);
        break;
    case COUNTER_DISCARD:
        add(&tenants, OF(discard)->tenant_id);
        break;
    case COUNTER_REAP:
        add(&tenants, OF(reap)->tenant_id);
        break;
    case COUNTER_RECALL:
        add_totals(&tenants, OF(recall)->totals, OF(recall)->totals_count);
        break;
    case COUNTER_READ:
        add(&tenants, OF(read)->tenant_id);
        break;
    case COUNTER_HOLDS:
        add(&tenants, OF(holds)->tenant_id);
        break;
    case COUNTER_REBUILD:
        add(&tenants, OF(rebuild)->tenant_id);
        break;
    case COUNTER_FORGET:
        add(&tenants, OF(forget)->tenant_id);
        break;
    case COUNTER_REGISTER:
        for (size_t i = 0; i < OF(register)->tenants_count; i++)
            add(&tenants, OF(register)->tenants[i]);
        break;
    case COUNTER_TOLD:
        for (size_t i = 0; i < OF(told)->quotas_count; i++)
            add(&tenants, OF(told)->quotas[i].tenant_id);
        break;
    case COUNTER_CROSSED: /* of the tag */
    case COUNTER_CLEAN:   /* it was done */
    case COUNTER_SURVEY:
    case COUNTER_CHECK: /* of the shard; it tells which */
    case COUNTER_INIT:
    case COUNTER_OBSERVE:
        break;
    }
    return tenants.count;
}

#undef OF
