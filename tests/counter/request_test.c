#include "counter/request.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

static struct request request;

static void tear_down(void)
{
    request_done(&request);
}

TestSuite(request, .fini = tear_down);

Test(request, a_command_is_keys_then_arguments)
{
    struct buffer out = {0};
    const char *expected = "*9\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n2\r\n"
                           "$8\r\nq:{15}:a\r\n$12\r\nq:{15}:2:t:7\r\n"
                           "$2\r\nhi\r\n$4\r\n7=hi\r\n$0\r\n\r\n$2\r\n-5\r\n";

    request_open(&request, 255);
    request_text(&request, SLICE("hi"));
    request_job(&request, 7, SLICE("hi"));
    request_tenant_key(&request, 't', 7);
    request_text(&request, slice_of(NULL, 0));
    request_int(&request, -5);
    request_finish(&request, "EVALSHA", SLICE("abc"), &out);
    cr_assert(slice_equal_cstr(slice_of(out.data, out.len), expected), "%.*s", (int)out.len,
              out.data);
    buffer_done(&out);
}

Test(request, every_number_is_written_whole)
{
    const int64_t numbers[] = {0, 9, 10, -1, INT64_MAX, INT64_MIN, INT64_C(9007199254740991)};
    char expected[64];

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        int len = snprintf(expected, sizeof(expected), "%" PRId64, numbers[i]);

        len = snprintf(expected, sizeof(expected), "$%d\r\n%" PRId64 "\r\n", len, numbers[i]);
        request_open(&request, 0);
        request_int(&request, numbers[i]);
        cr_assert(slice_equal(slice_of(request.args.data, request.args.len),
                              slice_of(expected, (size_t)len)));
    }
}

Test(request, a_tenant_has_one_index)
{
    request_open(&request, 0);
    cr_assert_eq(request_tenants_count(&request), 0);
    cr_assert_eq(request_tenant(&request, 70), 1);
    cr_assert_eq(request_tenant(&request, 80), 2);
    cr_assert_eq(request_tenant(&request, 70), 1);
    cr_assert_eq(request_tenants_count(&request), 2);
    cr_assert_eq(request_tenant_at(&request, 2), 80);
    request_open(&request, 0);
    cr_assert_eq(request_tenants_count(&request), 0);
}
