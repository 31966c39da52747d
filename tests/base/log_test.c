#include "base/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char logged[8192];
static int saved_stderr;
static FILE *captured;

static void set_up(void)
{
    captured = tmpfile();
    saved_stderr = dup(STDERR_FILENO);
    cr_assert(captured && saved_stderr >= 0);
    cr_assert(dup2(fileno(captured), STDERR_FILENO) >= 0);
}

static void tear_down(void)
{
    fclose(captured);
}

TestSuite(log, .init = set_up, .fini = tear_down);

/* What was logged so far; stderr goes back to where it was. */
static const char *read_log(void)
{
    ssize_t len = pread(fileno(captured), logged, sizeof(logged) - 1, 0);

    dup2(saved_stderr, STDERR_FILENO);
    cr_assert_geq(len, 0);
    logged[len] = '\0';
    return logged;
}

Test(log, line_carries_time_level_subject_event_and_values)
{
    const char *line;
    int year, month, day, hour, minute, second, milli, end = 0;

    log_info("ledger", "batch.committed rows=%d", 3);
    line = read_log();
    cr_assert_eq(sscanf(line, "ts=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
                        &minute, &second, &milli, &end),
                 7, "%s", line);
    cr_assert_str_eq(line + end, "level=info subject=ledger event=batch.committed rows=3\n");
}

Test(log, lines_below_the_level_are_dropped)
{
    log_debug("test", "first");
    log_set_level(LOG_DEBUG);
    log_debug("test", "second");
    log_set_level(LOG_ERROR);
    log_warn("test", "third");
    log_error("test", "fourth");
    read_log();
    cr_assert_null(strstr(logged, "first"));
    cr_assert_not_null(strstr(logged, "level=debug subject=test event=second\n"));
    cr_assert_null(strstr(logged, "third"));
    cr_assert_not_null(strstr(logged, "level=error subject=test event=fourth\n"));
}

Test(log, control_characters_cannot_forge_a_line)
{
    log_info("test", "name=%s", "a\nts=1 level=error\x1b[31m");
    read_log();
    cr_assert_not_null(strstr(logged, "name=a?ts=1 level=error?[31m\n"));
    cr_assert_eq(strchr(logged, '\n'), logged + strlen(logged) - 1);
}

Test(log, long_line_is_cut_and_ends)
{
    char text[3 * LOG_LINE_MAX];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("test", "long text=%s", text);
    read_log();
    cr_assert_leq(strlen(logged), LOG_LINE_MAX);
    cr_assert_eq(logged[strlen(logged) - 1], '\n');
}

Test(log, values_are_quoted_only_when_needed)
{
    read_log();
    cr_assert_str_eq(LOG_VALUE("tenant-7"), "tenant-7");
    cr_assert_str_eq(LOG_VALUE(""), "\"\"");
    cr_assert_str_eq(LOG_VALUE("two words"), "\"two words\"");
    cr_assert_str_eq(LOG_VALUE("a=b"), "\"a=b\"");
    cr_assert_str_eq(LOG_VALUE("say \"x\"\\\n\x01"), "\"say \\\"x\\\"\\\\\\n\\x01\"");
    cr_assert_str_eq(LOG_SLICE(slice_of("ab\0c", 4)), "\"ab\\x00c\"");
    cr_assert_str_eq(LOG_VALUE("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

Test(log, long_values_are_cut_with_dots)
{
    char text[4 * LOG_VALUE_MAX];

    read_log();
    for (size_t filler = 0; filler < 2; filler++) {
        const char *value;

        memset(text, filler ? '\x01' : 'x', sizeof(text));
        value = LOG_SLICE(slice_of(text, sizeof(text)));
        cr_assert_lt(strlen(value), LOG_VALUE_MAX);
        cr_assert_not_null(strstr(value, "..."));
    }
}

Test(log, limit_passes_the_first_then_one_a_second_with_the_count)
{
    struct log_limit limit = {0};
    uint64_t suppressed = 99;

    read_log();
    cr_assert(log_limit_pass(&limit, 5000000, &suppressed));
    cr_assert_eq(suppressed, 0);
    for (int i = 0; i < 10; i++)
        cr_assert(!log_limit_pass(&limit, 5000001 + i, &suppressed));
    cr_assert(!log_limit_pass(&limit, 5999999, &suppressed));
    cr_assert(log_limit_pass(&limit, 6000000, &suppressed));
    cr_assert_eq(suppressed, 11);
    cr_assert(log_limit_pass(&limit, 7000000, &suppressed));
    cr_assert_eq(suppressed, 0);
}

Test(log, every_writes_the_first_and_counts_the_rest)
{
    struct log_limit limit = {0};

    log_every(&limit, LOG_WARN, "counter", "connect.failed code=%d", 1);
    log_every(&limit, LOG_WARN, "counter", "connect.failed code=%d", 2);
    log_every(&limit, LOG_DEBUG, "counter", "unheard");
    atomic_store(&limit.next_us, 0);
    log_every(&limit, LOG_WARN, "counter", "connect.failed code=%d", 3);
    read_log();
    cr_assert_not_null(strstr(logged, "event=connect.failed code=1\n"));
    cr_assert_null(strstr(logged, "code=2"));
    cr_assert_not_null(strstr(logged, "event=connect.failed code=3 suppressed=1\n"));
}

Test(log, level_names_are_read)
{
    enum log_level level = LOG_INFO;

    read_log();
    cr_assert(log_level_from_name(SLICE("warn"), &level));
    cr_assert_eq(level, LOG_WARN);
    cr_assert(!log_level_from_name(SLICE("loud"), &level));
    cr_assert_eq(level, LOG_WARN);
}
