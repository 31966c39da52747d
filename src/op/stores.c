#include "op/stores.h"

#include "quota/times.h"

#include <stdlib.h>
#include <time.h>

static void pause_really_ms(int ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&time, NULL);
}

const struct store_table stores_real = {
    .database_create = database_create,
    .database_destroy = database_destroy,
    .database_ping = database_ping,
    .database_error = database_error,
    .database_sqlstate = database_sqlstate,
    .beat_run = ledger_beat_run,
    .beat_leave = ledger_beat_leave,
    .authority_read = ledger_authority_read,
    .authority_all = ledger_authority_all,
    .authority_bump = ledger_authority_bump,
    .authority_activate = ledger_authority_activate,
    .plan_load = ledger_plan_load,
    .plans_load = ledger_plans_load,
    .versions_since = ledger_versions_since,
    .limit_implicit = ledger_limit_implicit,
    .grant_run = ledger_grant_run,
    .return_run = ledger_return_run,
    .recalls = ledger_recalls,
    .lent = ledger_lent,
    .close_leases = ledger_close_leases,
    .close_periods = ledger_close_periods,
    .periods_follow = ledger_periods_follow,
    .losses_find = ledger_losses_find,
    .history_compared = ledger_history_compared,
    .losses_accept = ledger_losses_accept,
    .losses_tenants = ledger_losses_tenants,
    .facts_read = ledger_facts_read,
    .reap_run = ledger_reap_run,
    .place_run = ledger_place_run,
    .move_run = ledger_move_run,
    .placed_due = ledger_placed_due,
    .placed_reap = ledger_placed_reap,
    .placed_count = ledger_placed_count,
    .placed_list = ledger_placed_list,
    .degraded_note = ledger_degraded_note,
    .degraded_end = ledger_degraded_end,
    .usage_read = ledger_usage_read,
    .retention = ledger_retention,
    .seal_run = ledger_seal_run,
    .seals_read = ledger_seals_read,
    .verify = ledger_verify,
    .drifts_read = ledger_drifts_read,
    .crossings_write = ledger_crossings_write,
    .drift_put = ledger_drift_put,
    .drift_end = ledger_drift_end,
    .drift_totals_read = ledger_drift_totals_read,
    .sums_list = ledger_sums_list,
    .sums_read = ledger_sums_read,
    .repair = ledger_repair,
    .adjust = ledger_adjust,
    .tenant_create = ledger_tenant_create,
    .tenant_update = ledger_tenant_update,
    .tenant_list = ledger_tenant_list,
    .limit_put = ledger_limit_put,
    .limit_delete = ledger_limit_delete,
    .limit_list = ledger_limit_list,
    .committer_submit = committer_submit,
    .counter_create = counter_create,
    .counter_destroy = counter_destroy,
    .counter_renew = counter_renew,
    .counter_add = counter_add,
    .counter_send = counter_send,
    .counter_receive = counter_receive,
    .counter_run = counter_run,
    .counter_fd = counter_fd,
    .counter_events = counter_events,
    .counter_last_error = counter_last_error,
    .pause_ms = pause_really_ms,
};

struct stores *stores_open(struct services *services, const struct stores_options *options)
{
    struct stores *stores = calloc(1, sizeof(*stores));
    const struct database_options database = {
        .conninfo = services->options.postgres,
        .connect_timeout_ms = options->database_connect_ms,
        .statement_timeout_ms = options->database_statement_ms,
        .lock_timeout_ms = options->database_lock_ms,
        .clock = services->clock,
        .estimate = services->estimate,
        .alarms = services->alarms,
        .pulse = services->pulse,
        .stop = &services->stop,
        .compared = options->compared,
    };
    const struct counter_options counter = {
        .address = services->options.redis,
        .connect_timeout_ms = services->options.redis_timeout_ms,
        .timeout_ms = options->counter_timeout_ms,
        .life = &services->redis_life,
    };

    CHECK(stores);
    stores->services = services;
    stores->table = services->stores_table;
    stores->hurried = options->hurried;
    if (!options->without_database)
        stores->db = stores->table->database_create(&database);
    stores->counter = stores->table->counter_create(&counter);
    arena_init(&stores->scratch, options->scratch_bytes, options->scratch_bytes_max);
    return stores;
}

struct database *stores_connect_patiently(struct services *services)
{
    const struct database_options options = {
        .conninfo = services->options.postgres,
        .connect_timeout_ms = CONNECT_MS,
        .statement_timeout_ms = STATEMENT_VERIFY_MS,
        .clock = services->clock,
        .estimate = services->estimate,
        .alarms = services->alarms,
        .pulse = services->pulse,
        .stop = &services->stop,
    };

    return services->stores_table->database_create(&options);
}

void stores_close(struct stores *stores)
{
    if (!stores)
        return;
    stores->table->counter_destroy(stores->counter);
    if (stores->db)
        stores->table->database_destroy(stores->db);
    arena_done(&stores->scratch);
    free(stores);
}

void *stores_scratch(struct stores *stores, size_t count, size_t size)
{
    void *memory = arena_array(&stores->scratch, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

const char *stores_sqlstate(const struct stores *stores)
{
    return stores->table->database_sqlstate(stores->db);
}

bool stores_refused(const struct stores *stores, enum status status)
{
    return status == STATUS_FAULT || status == STATUS_INVALID || status == STATUS_CORRUPT ||
           (status == STATUS_UNKNOWN && stores_sqlstate(stores)[0]);
}

bool stores_know_the_time(struct stores *stores)
{
    return estimate_ready(stores->services->estimate) ||
           stores->table->database_ping(stores->db) == STATUS_OK;
}

int64_t stores_now_ms(const struct stores *stores)
{
    return services_now_ms(stores->services);
}

int64_t stores_mono_us(const struct stores *stores)
{
    return services_mono_us(stores->services);
}
