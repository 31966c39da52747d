/*
 * The pretended stores behind op/stores.h: the functions of ledger/ledger.h, database.h, committer.h and
 * counter/counter.h under other names, and the table of them. What the table does not name yet, the
 * stories must not call; add it here and in stores.c.
 */
#ifndef HOLDFAST_TESTS_SIM_STORES_H
#define HOLDFAST_TESTS_SIM_STORES_H

#include "op/stores.h"

/* X(its name in the table, the real function) */
#define SIM_STORES_MAP(X)                                                                          \
    X(database_create, database_create)                                                            \
    X(database_destroy, database_destroy)                                                          \
    X(database_ping, database_ping)                                                                \
    X(database_error, database_error)                                                              \
    X(database_sqlstate, database_sqlstate)                                                        \
    X(beat_run, ledger_beat_run)                                                                   \
    X(beat_leave, ledger_beat_leave)                                                               \
    X(authority_read, ledger_authority_read)                                                       \
    X(authority_all, ledger_authority_all)                                                         \
    X(authority_bump, ledger_authority_bump)                                                       \
    X(authority_activate, ledger_authority_activate)                                               \
    X(plan_load, ledger_plan_load)                                                                 \
    X(plans_load, ledger_plans_load)                                                               \
    X(versions_since, ledger_versions_since)                                                       \
    X(limit_implicit, ledger_limit_implicit)                                                       \
    X(grant_run, ledger_grant_run)                                                                 \
    X(return_run, ledger_return_run)                                                               \
    X(recalls, ledger_recalls)                                                                     \
    X(lent, ledger_lent)                                                                           \
    X(close_leases, ledger_close_leases)                                                           \
    X(close_periods, ledger_close_periods)                                                         \
    X(periods_follow, ledger_periods_follow)                                                       \
    X(losses_find, ledger_losses_find)                                                             \
    X(history_compared, ledger_history_compared)                                                   \
    X(losses_accept, ledger_losses_accept)                                                         \
    X(losses_tenants, ledger_losses_tenants)                                                       \
    X(facts_read, ledger_facts_read)                                                               \
    X(reap_run, ledger_reap_run)                                                                   \
    X(place_run, ledger_place_run)                                                                 \
    X(move_run, ledger_move_run)                                                                   \
    X(placed_due, ledger_placed_due)                                                               \
    X(placed_reap, ledger_placed_reap)                                                             \
    X(placed_count, ledger_placed_count)                                                           \
    X(placed_list, ledger_placed_list)                                                             \
    X(degraded_note, ledger_degraded_note)                                                         \
    X(degraded_end, ledger_degraded_end)                                                           \
    X(usage_read, ledger_usage_read)                                                               \
    X(retention, ledger_retention)                                                                 \
    X(seal_run, ledger_seal_run)                                                                   \
    X(seals_read, ledger_seals_read)                                                               \
    X(verify, ledger_verify)                                                                       \
    X(drifts_read, ledger_drifts_read)                                                             \
    X(drift_put, ledger_drift_put)                                                                 \
    X(drift_end, ledger_drift_end)                                                                 \
    X(drift_totals_read, ledger_drift_totals_read)                                                 \
    X(crossings_write, ledger_crossings_write)                                                     \
    X(sums_list, ledger_sums_list)                                                                 \
    X(sums_read, ledger_sums_read)                                                                 \
    X(repair, ledger_repair)                                                                       \
    X(adjust, ledger_adjust)                                                                       \
    X(tenant_create, ledger_tenant_create)                                                         \
    X(tenant_update, ledger_tenant_update)                                                         \
    X(tenant_list, ledger_tenant_list)                                                             \
    X(limit_put, ledger_limit_put)                                                                 \
    X(limit_delete, ledger_limit_delete)                                                           \
    X(limit_list, ledger_limit_list)                                                               \
    X(committer_submit, committer_submit)                                                          \
    X(counter_create, counter_create)                                                              \
    X(counter_destroy, counter_destroy)                                                            \
    X(counter_renew, counter_renew)                                                                \
    X(counter_add, counter_add)                                                                    \
    X(counter_send, counter_send)                                                                  \
    X(counter_receive, counter_receive)                                                            \
    X(counter_run, counter_run)                                                                    \
    X(counter_fd, counter_fd)                                                                      \
    X(counter_events, counter_events)                                                              \
    X(counter_last_error, counter_last_error)

#define X(name, real) extern __typeof__(real) sim_##name;
SIM_STORES_MAP(X)
#undef X

extern __typeof__(committer_create) sim_committer_create;
extern __typeof__(committer_destroy) sim_committer_destroy;

extern const struct store_table sim_stores;

#endif
