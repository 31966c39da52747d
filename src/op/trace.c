#include "op/trace.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096, SERVER_BYTES = 128 };

struct trace {
    int fd;
    struct log_limit failed;
    char server[SERVER_BYTES];
};

struct line {
    size_t len;
    char text[LINE_MAX_BYTES];
};

struct trace *trace_open(const char *path, const char *server)
{
    struct trace *trace = calloc(1, sizeof(*trace));

    CHECK(trace);
    trace->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace->fd < 0) {
        free(trace);
        return NULL;
    }
    snprintf(trace->server, sizeof(trace->server), "%s", server);
    return trace;
}

void trace_close(struct trace *trace)
{
    if (!trace)
        return;
    close(trace->fd);
    free(trace);
}

/* --- lines -------------------------------------------------------------------------------------- */

static void PRINTF_LIKE(2, 3) add(struct line *line, const char *format, ...)
{
    va_list arguments;
    int added;

    va_start(arguments, format);
    added = vsnprintf(line->text + line->len, sizeof(line->text) - line->len, format, arguments);
    va_end(arguments);
    CHECK(added >= 0 && (size_t)added < sizeof(line->text) - line->len);
    line->len += (size_t)added;
}

/* Printable ASCII, as the edge lets it in; anything else is written as \u00XX. */
static void add_text(struct line *line, const char *key, struct slice text)
{
    add(line, ",\"%s\":\"", key);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];

        if (byte < ' ' || byte > '~' || byte == '"' || byte == '\\')
            add(line, "\\u%04x", byte);
        else
            add(line, "%c", byte);
    }
    add(line, "\"");
}

static void add_attempt(struct line *line, struct attempt attempt)
{
    add(line, ",\"attempt\":\"%" PRId64 ".%" PRId64 "\"", attempt.epoch, attempt.seq);
}

static void add_ref(struct line *line, struct quota_ref ref)
{
    add(line, ",\"quota\":\"%" PRId64 ":%" PRId64 "\"", ref.limit_id, ref.period_start_ms);
}

static void begin(const struct trace *trace, struct line *line, const char *what, int64_t now_ms,
                  int64_t tenant_id)
{
    line->len = 0;
    add(line, "{\"what\":\"%s\",\"now\":%" PRId64 ",\"server\":\"%s\",\"tenant\":%" PRId64, what,
        now_ms, trace->server, tenant_id);
}

static void end(struct trace *trace, struct line *line)
{
    add(line, "}\n");
    if (write(trace->fd, line->text, line->len) != (ssize_t)line->len)
        log_every(&trace->failed, LOG_WARN, "trace", "trace.failed error=%s",
                  LOG_VALUE(strerror(errno)));
}

/* --- what is traced ----------------------------------------------------------------------------- */

static void one_row(struct trace *trace, int64_t now_ms, const struct quota_row *row, int64_t lent)
{
    struct line line;

    if (row->ref.limit_id == 0)
        return; /* there is none */
    begin(trace, &line, "row", now_ms, row->tenant_id);
    add_ref(&line, row->ref);
    add(&line,
        ",\"seq\":%" PRId64 ",\"committed\":%" PRId64 ",\"debt\":%" PRId64 ",\"placed\":%" PRId64
        ",\"leased\":%" PRId64 ",\"cap\":%" PRId64,
        row->ledger_seq, row->committed, row->debt, row->pg_held, row->leased, row->stops.cap);
    add(&line,
        ",\"lease\":%" PRId64 ",\"granted\":%" PRId64 ",\"returned\":%" PRId64 ",\"spent\":%" PRId64
        ",\"until\":%" PRId64 ",\"lent\":%" PRId64,
        row->lease_id, row->granted, row->returned, row->spent, row->lease_deadline_ms, lent);
    end(trace, &line);
}

void trace_rows(struct trace *trace, int64_t now_ms, const struct quota_row *rows, size_t count)
{
    for (size_t i = 0; trace && i < count; i++)
        one_row(trace, now_ms, &rows[i], 0);
}

void trace_grants(struct trace *trace, int64_t now_ms, const struct ledger_grant *grants,
                  size_t count)
{
    for (size_t i = 0; trace && i < count; i++)
        one_row(trace, now_ms, &grants[i].quota, grants[i].granted_units);
}

void trace_returns(struct trace *trace, int64_t now_ms, const struct ledger_return *returns,
                   size_t count)
{
    for (size_t i = 0; trace && i < count; i++)
        one_row(trace, now_ms, &returns[i].quota, 0);
}

static void fence(struct trace *trace, const struct commit_item *item, struct attempt attempt)
{
    struct line line;

    begin(trace, &line, "fence", item->now_ms, item->settle.tenant_id);
    add_text(&line, "job", item->settle.job_id);
    add_attempt(&line, attempt);
    end(trace, &line);
}

static void fences(struct trace *trace, const struct commit_item *item)
{
    const struct settle_item *settle = &item->settle;

    fence(trace, item, settle->released);
    for (size_t i = 0; i < settle->fenced_count; i++)
        if (attempt_compare(settle->fenced[i], settle->released) != 0)
            fence(trace, item, settle->fenced[i]);
}

/* A line for each quota that it was counted in, or one without any. */
static void record(struct trace *trace, const struct commit_item *item)
{
    const struct settle_record *record = item->settle.record;
    struct line line;

    for (size_t i = 0; i < record->entries_count; i++) {
        const struct settle_entry *entry = &record->entries[i];

        for (size_t k = 0; k < entry->counted_count || k == 0; k++) {
            begin(trace, &line, "record", item->now_ms, item->settle.tenant_id);
            add_text(&line, "job", item->settle.job_id);
            add_attempt(&line, record->attempt);
            add(&line, ",\"late\":%s", record->late ? "true" : "false");
            if (k < entry->counted_count) {
                add_ref(&line, entry->counted[k].ref);
                add(&line, ",\"seq\":%" PRId64 ",\"units\":%" PRId64, entry->counted[k].ledger_seq,
                    entry->counted[k].amount);
            }
            end(trace, &line);
        }
    }
}

void trace_commits(struct trace *trace, struct commit_item *const *items, size_t count)
{
    for (size_t i = 0; trace && i < count; i++) {
        const struct settle_item *settle = &items[i]->settle;

        if (items[i]->status != STATUS_OK)
            continue;
        trace_rows(trace, items[i]->now_ms, items[i]->quotas, items[i]->quotas_count);
        if (settle->outcome == SETTLE_COMMITTED && settle->record)
            record(trace, items[i]);
        else if (settle->outcome == SETTLE_RELEASED)
            fences(trace, items[i]);
    }
}

void trace_adjusting(struct trace *trace, int64_t now_ms, const struct adjust_item *item)
{
    struct line line;
    int64_t taken = 0;

    if (!trace)
        return;
    for (size_t i = 0; i < item->changes_count; i++)
        taken += item->changes[i].delta < 0 ? -item->changes[i].delta : 0;
    begin(trace, &line, "adjusting", now_ms, item->tenant_id);
    add_text(&line, "job", item->job_id);
    add_text(&line, "id", item->adjust_id);
    add(&line, ",\"taken\":%" PRId64, taken);
    end(trace, &line);
}

void trace_expired(struct trace *trace, int64_t now_ms, const struct ledger_reap_job *jobs,
                   size_t count)
{
    for (size_t i = 0; trace && i < count; i++) {
        struct line line;

        if (jobs[i].committed)
            continue;
        begin(trace, &line, "expired", now_ms, jobs[i].tenant_id);
        add_text(&line, "job", jobs[i].job_id);
        add_attempt(&line, jobs[i].hold->attempt);
        add(&line, ",\"until\":%" PRId64, jobs[i].hold->deadline_ms);
        end(trace, &line);
    }
}

static void hold_lines(struct trace *trace, const char *what, int64_t now_ms, int64_t began,
                       int64_t tenant_id, struct slice job_id, const struct hold *hold)
{
    for (size_t i = 0; trace && i < hold->quotas_count; i++) {
        struct line line;

        begin(trace, &line, what, now_ms, tenant_id);
        add_text(&line, "job", job_id);
        add_attempt(&line, hold->attempt);
        add(&line, ",\"until\":%" PRId64, hold->deadline_ms);
        add_ref(&line, hold->quotas[i].quota);
        add(&line, ",\"lease\":%" PRId64 ",\"units\":%" PRId64 ",\"began\":%" PRId64,
            hold->quotas[i].lease_id, hold->quotas[i].units, began);
        end(trace, &line);
    }
}

void trace_held(struct trace *trace, int64_t now_ms, int64_t tenant_id, struct slice job_id,
                const struct hold *hold)
{
    hold_lines(trace, "held", now_ms, 0, tenant_id, job_id, hold);
}

int64_t trace_position(const struct trace *trace)
{
    struct stat file;

    return trace && fstat(trace->fd, &file) == 0 ? file.st_size : 0;
}

void trace_moved(struct trace *trace, int64_t now_ms, int64_t began, int64_t tenant_id,
                 struct slice job_id, const struct hold *hold)
{
    hold_lines(trace, "moved", now_ms, began, tenant_id, job_id, hold);
}
