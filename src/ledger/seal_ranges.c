#include "ledger/seal_ranges.h"

#include "quota/times.h"

enum {
    RANGES_MAX = 64, /* of a partition in one turn: 16 MB are read */
    RANGES_BEHIND_MAX =
        256, /* of a partition that is new to this sealer: older ones are left to VACUUM */
};

/* clang-format off */
/* Only the owner of an index may ask for summaries. */
static const struct statement list_partitions = {
    "seal_list_partitions",
    "SELECT t.indexrelid::bigint, pg_relation_size(t.indrelid) / (current_setting('block_size')::bigint"
    " * " TEXT_OF(SEAL_RANGE_PAGES) ") FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid"
    " JOIN pg_index t ON t.indexrelid = c.oid WHERE h.inhparent = 'ledger_at'::regclass"
    " AND pg_has_role(c.relowner, 'USAGE')"
    " UNION ALL SELECT t.indexrelid::bigint, pg_relation_size(t.indrelid)"
    " / (current_setting('block_size')::bigint * " TEXT_OF(SEAL_RANGE_PAGES) ") FROM pg_index t"
    " JOIN pg_class c ON c.oid = t.indexrelid WHERE t.indexrelid = 'ledger_change_at'::regclass"
    " AND pg_has_role(c.relowner, 'USAGE') ORDER BY 1"};

static const struct statement summarize = {
    "seal_summarize",
    "SELECT coalesce(sum(brin_summarize_range($1::bigint::oid::regclass, r * " TEXT_OF(SEAL_RANGE_PAGES)
    ")), 0) FROM generate_series($2::bigint, $3::bigint - 1) r"};
/* clang-format on */

/* Where this sealer was in the partition; NULL: there are more than it can remember. */
static struct seal_ranges *known(struct ledger_sealing *sealing, int64_t index_id, int64_t full)
{
    struct seal_ranges *ranges = sealing->ranges;
    size_t i = 0;

    while (i < sealing->ranges_count && ranges[i].index_id != index_id)
        i++;
    if (i == SEAL_PARTITIONS_MAX)
        return NULL;
    /* A table that is smaller than it was is another one, or was emptied. */
    if (i == sealing->ranges_count || ranges[i].summarized > full)
        ranges[i] =
            (struct seal_ranges){.index_id = index_id,
                                 .summarized =
                                     full > RANGES_BEHIND_MAX ? full - RANGES_BEHIND_MAX : 0};
    if (i == sealing->ranges_count)
        sealing->ranges_count++;
    return &ranges[i];
}

static enum status summarize_to(struct database *db, struct arena *arena,
                                struct seal_ranges *ranges, int64_t to)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, ranges->index_id);
    sql_add_i64(&params, ranges->summarized);
    sql_add_i64(&params, to);
    status = database_run(db, &summarize, &params, NULL);
    if (status == STATUS_OK)
        ranges->summarized = to;
    return status;
}

struct partition {
    int64_t index_id, full;
};

static enum status list(struct database *db, struct arena *arena, struct partition *partitions,
                        size_t *ret_count)
{
    PGresult *result;
    struct sql_row row;
    enum status status = database_run(db, &list_partitions, NULL, &result);

    *ret_count = 0;
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row)) {
        struct partition partition;

        partition.index_id = sql_i64(&row);
        partition.full = sql_i64(&row);
        if (*ret_count < SEAL_PARTITIONS_MAX)
            partitions[(*ret_count)++] = partition;
    }
    return sql_done(&row);
}

enum status seal_ranges_summarize(struct database *db, struct arena *arena,
                                  struct ledger_sealing *sealing)
{
    struct partition partitions[SEAL_PARTITIONS_MAX];
    size_t count;
    enum status status = list(db, arena, partitions, &count);

    sealing->ranges_left = status != STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        int64_t full = partitions[i].full;
        struct seal_ranges *ranges = known(sealing, partitions[i].index_id, full);

        if (!ranges || ranges->summarized >= full)
            continue;
        if (full > ranges->summarized + RANGES_MAX)
            full = ranges->summarized + RANGES_MAX;
        if (ranges->again_ms <= sealing->now_ms)
            status = summarize_to(db, arena, ranges, full);
        if (status == STATUS_CONFLICT) {
            ranges->again_ms = sealing->now_ms + SEAL_GAP_AGAIN_MS;
            status = STATUS_OK;
        }
        if (ranges->summarized < partitions[i].full)
            sealing->ranges_left = true;
    }
    return status;
}
