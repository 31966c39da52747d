#include "cli/trace.h"

#include <criterion/criterion.h>
#include <string.h>

#define HEADER "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"

static struct trace trace;
static char error[TRACE_ERROR_BYTES];

static bool read_text(const char *text)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    bool good = trace_read(file, &trace, error);

    fclose(file);
    return good;
}

Test(trace, reads_rows_with_crlf_and_without_a_last_line_end)
{
    cr_assert(read_text(HEADER "2023-11-16 18:15:46.6805900,374,44\r\n"
                               "2023-11-16 18:15:50.9951690,396,109\r\n"
                               "2023-11-16 19:15:50,0,0"));
    cr_assert_eq(trace.count, 3);
    cr_assert_eq(trace.rows[0].at_us, 0);
    cr_assert_eq(trace.rows[0].context_units, 374);
    cr_assert_eq(trace.rows[0].generated_units, 44);
    cr_assert_eq(trace.rows[1].at_us, 4314579);
    cr_assert_eq(trace.rows[2].at_us, 3603319410);
    trace_done(&trace);
}

Test(trace, puts_a_row_out_of_order_beside_the_one_before)
{
    cr_assert(read_text(HEADER "2023-11-16 18:00:10,1,1\n2023-11-16 18:00:05,1,1\n"));
    cr_assert_eq(trace.rows[1].at_us, 0);
    trace_done(&trace);
}

Test(trace, grows_over_many_rows)
{
    FILE *file = tmpfile();

    fputs(HEADER, file);
    for (int i = 0; i < 1000; i++)
        fprintf(file, "2023-11-16 18:00:00,%d,1\n", i);
    rewind(file);
    cr_assert(trace_read(file, &trace, error));
    fclose(file);
    cr_assert_eq(trace.count, 1000);
    cr_assert_eq(trace.rows[999].context_units, 999);
    trace_done(&trace);
}

Test(trace, names_the_bad_line_and_why)
{
    cr_assert_not(read_text("a,b,c\n"));
    cr_assert(strstr(error, "line 1: the header"), "%s", error);
    cr_assert_not(read_text(HEADER "2023-11-16 18:00:00,1\n"));
    cr_assert(strstr(error, "line 2: three fields"), "%s", error);
    cr_assert_not(read_text(HEADER "2023-11-16 18:00:00,1,1\nyesterday,1,1\n"));
    cr_assert(strstr(error, "line 3: TIMESTAMP"), "%s", error);
    cr_assert_not(read_text(HEADER "2023-11-16 18:00:00,-1,1\n"));
    cr_assert(strstr(error, "ContextTokens"), "%s", error);
    cr_assert_not(read_text(HEADER "2023-11-16 18:00:00,1,9007199254740992\n"));
    cr_assert(strstr(error, "GeneratedTokens"), "%s", error);
    cr_assert_not(read_text(""));
    cr_assert_str_eq(error, "the file is empty");
    cr_assert_null(trace.rows);
}
