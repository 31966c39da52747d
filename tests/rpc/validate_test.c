#include "rpc/validate.h"

#include "base/amount.h"

#include "holdfast/v1/quota_service.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;
static struct op op;

static void set_up(void)
{
    arena_init(&arena, 4096, 1 << 22);
    op = (struct op){.arena = &arena};
}

static void tear_down(void)
{
    arena_done(&arena);
}

TestSuite(validate, .init = set_up, .fini = tear_down);

static void again(void)
{
    op.error = (struct op_error){0};
}

static bool names(const char *field)
{
    for (size_t i = 0; i < op.error.fields_count; i++)
        if (strcmp(op.error.fields[i].field, field) == 0)
            return true;
    return false;
}

/* A text of n characters. */
static const char *repeat(char c, size_t n)
{
    static char text[1024];

    cr_assert_lt(n, sizeof(text));
    memset(text, c, n);
    text[n] = '\0';
    return text;
}

Test(validate, names_are_1_to_64_of_their_alphabet)
{
    static const char *const good[] = {"a", "acme", "team-a", "a.b_c-9", "0"};
    static const char *const bad[] = {"A", "a b", "a/b", "a,b", "a:b", "ü", "a\n", "a|b"};

    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        (void)valid_name(&op, FIELD("tenant"), good[i], true);
        cr_assert(valid(&op), "%s", good[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        again();
        (void)valid_name(&op, FIELD("tenant"), bad[i], true);
        cr_assert(names("tenant"), "%s", bad[i]);
    }
    again();
    (void)valid_name(&op, FIELD("tenant"), repeat('a', 64), true);
    cr_assert(valid(&op));
    (void)valid_name(&op, FIELD("tenant"), repeat('a', 65), true);
    cr_assert(names("tenant"));
}

Test(validate, empty_name_is_wrong_only_where_it_is_required)
{
    (void)valid_name(&op, FIELD("meter"), "", false);
    cr_assert(valid(&op));
    (void)valid_name(&op, FIELD("meter"), "", true);
    cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD);
    cr_assert_str_eq(op.error.text, "meter is required");
}

Test(validate, scopes_are_up_to_four_names)
{
    static const char *const good[] = {"", "a", "team-a/user-7", "a/b/c/d"};
    static const char *const bad[] = {"/", "/a", "a/", "a//b", "a/b/c/d/e", "a/B", "a b"};

    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        (void)valid_scope(&op, FIELD("scope"), good[i]);
        cr_assert(valid(&op), "%s", good[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        again();
        (void)valid_scope(&op, FIELD("scope"), bad[i]);
        cr_assert_eq(op.error.fields_count, 1, "%s", bad[i]);
    }
    again();
    (void)valid_scope(&op, FIELD("scope"), repeat('a', 65));
    cr_assert(names("scope"));
}

Test(validate, job_ids_are_255_bytes_of_printable_ascii)
{
    static const char *const bad[] = {"a\tb", "\x7f", "caf\xc3\xa9", "a\nb"};

    (void)valid_job_id(&op, FIELD("job_id"), "a job: {with} ~anything!", true);
    cr_assert(valid(&op));
    (void)valid_job_id(&op, FIELD("job_id"), repeat('x', 255), true);
    cr_assert(valid(&op));
    (void)valid_job_id(&op, FIELD("job_id"), repeat('x', 256), true);
    cr_assert(names("job_id"));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        again();
        (void)valid_job_id(&op, FIELD("job_id"), bad[i], true);
        cr_assert(names("job_id"), "case %zu", i);
    }
    again();
    (void)valid_job_id(&op, FIELD("job_id"), "", false);
    cr_assert(valid(&op));
    (void)valid_job_id(&op, FIELD("job_id"), "", true);
    cr_assert(names("job_id"));
}

Test(validate, units_are_0_to_the_largest_exact_double)
{
    (void)valid_units(&op, FIELD_AT("amounts", 0, "units"), 0);
    (void)valid_units(&op, FIELD_AT("amounts", 0, "units"), AMOUNT_MAX);
    cr_assert(valid(&op));
    (void)valid_units(&op, FIELD_AT("amounts", 1, "units"), -1);
    (void)valid_units(&op, FIELD_AT("amounts", 2, "units"), AMOUNT_MAX + 1);
    (void)valid_units(&op, FIELD_AT("amounts", 3, "units"), INT64_MIN);
    cr_assert_eq(op.error.fields_count, 3);
    cr_assert(names("amounts[1].units") && names("amounts[2].units") &&
              names("amounts[3].units"));
}

static int64_t ttl(int64_t seconds, int32_t nanos)
{
    Google__Protobuf__Duration duration = GOOGLE__PROTOBUF__DURATION__INIT;

    duration.seconds = seconds;
    duration.nanos = nanos;
    again();
    return valid_ttl(&op, FIELD("ttl"), &duration, 60000);
}

Test(validate, ttl_is_100_ms_to_24_h)
{
    static const struct {
        int64_t seconds;
        int32_t nanos;
    } bad[] = {
        {0, 0}, {0, 99999999}, {-1, 0}, {86400, 1}, {86401, 0}, {INT64_MAX, 0}, {INT64_MIN, 0},
        {1, -1}, {-1, 1}, {1, 1000000000}, {0, -1000000000}, {0, INT32_MIN}, {0, INT32_MAX},
    };

    cr_assert_eq(valid_ttl(&op, FIELD("ttl"), NULL, 60000), 60000);
    cr_assert_eq(ttl(0, 100000000), 100);
    cr_assert_eq(ttl(1, 500000000), 1500);
    cr_assert_eq(ttl(86400, 0), 86400000);
    cr_assert(valid(&op));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        (void)ttl(bad[i].seconds, bad[i].nanos);
        cr_assert(names("ttl"), "case %zu", i);
    }
}

Test(validate, unknown_enum_values_name_the_field_and_the_value)
{
    (void)valid_enum(&op, FIELD("priority"), &holdfast__v1__priority__descriptor, 2);
    cr_assert(valid(&op));
    (void)valid_enum(&op, FIELD("priority"), &holdfast__v1__priority__descriptor, 99);
    cr_assert(names("priority"));
    cr_assert(strstr(op.error.text, "99"));
    (void)valid_enum(&op, FIELD("mode"), &holdfast__v1__reserve_mode__descriptor, -1);
    cr_assert(names("mode"));
}

Test(validate, known_values_of_a_later_version_are_refused)
{
    cr_assert_eq(valid_only(&op, FIELD("mode"), &holdfast__v1__reserve_mode__descriptor, 0, 1), 1);
    cr_assert_eq(valid_only(&op, FIELD("mode"), &holdfast__v1__reserve_mode__descriptor, 1, 1), 1);
    cr_assert(valid(&op));
    (void)valid_only(&op, FIELD("mode"), &holdfast__v1__reserve_mode__descriptor, 2, 1);
    cr_assert(names("mode"));
    valid_later(&op, FIELD("labels"), false);
    cr_assert_not(names("labels"));
    valid_later(&op, FIELD("labels"), true);
    cr_assert(names("labels"));
}

Test(validate, page_size_has_a_default_and_is_clamped)
{
    cr_assert_eq(valid_page_size(&op, 0), 50);
    cr_assert_eq(valid_page_size(&op, 7), 7);
    cr_assert_eq(valid_page_size(&op, 1000), 1000);
    cr_assert_eq(valid_page_size(&op, INT32_MAX), 1000);
    cr_assert(valid(&op));
    (void)valid_page_size(&op, -1);
    cr_assert(names("page_size"));
}

static Holdfast__V1__Amount amounts[40];
static Holdfast__V1__Amount *list[40];

static void amount(size_t i, const char *meter, int64_t units)
{
    holdfast__v1__amount__init(&amounts[i]);
    amounts[i].meter = arena_strndup(&arena, meter, strlen(meter));
    amounts[i].units = units;
    list[i] = &amounts[i];
}

Test(validate, amounts_are_sorted_and_remember_where_they_stood)
{
    struct valid_amounts sorted;

    amount(0, "tokens", 60);
    amount(1, "acu", 1);
    amount(2, "requests", 2);
    sorted = valid_amounts(&op, "amounts", 3, list);
    cr_assert(valid(&op));
    cr_assert_eq(sorted.count, 3);
    cr_assert(slice_equal_cstr(sorted.meters[0].meter, "acu"));
    cr_assert(slice_equal_cstr(sorted.meters[1].meter, "requests"));
    cr_assert(slice_equal_cstr(sorted.meters[2].meter, "tokens"));
    cr_assert_eq(sorted.meters[2].units, 60);
    cr_assert_eq(sorted.index[0], 1);
    cr_assert_eq(sorted.index[2], 0);
}

Test(validate, each_meter_stands_once)
{
    amount(0, "tokens", 60);
    amount(1, "acu", 1);
    amount(2, "tokens", 2);
    (void)valid_amounts(&op, "amounts", 3, list);
    cr_assert_eq(op.error.fields_count, 1);
    cr_assert(names("amounts[2].meter"));
    cr_assert(strstr(op.error.text, "amounts[0]"));
}

Test(validate, amounts_are_1_to_32)
{
    (void)valid_amounts(&op, "amounts", 0, list);
    cr_assert(names("amounts"));
    again();
    for (size_t i = 0; i < 33; i++) {
        char meter[8];

        snprintf(meter, sizeof(meter), "m%zu", i);
        amount(i, meter, 1);
    }
    (void)valid_amounts(&op, "amounts", 32, list);
    cr_assert(valid(&op));
    (void)valid_amounts(&op, "amounts", 33, list);
    cr_assert(names("amounts"));
}

Test(validate, every_bad_field_is_named_in_one_answer)
{
    amount(0, "Tokens", -5);
    amount(1, "", AMOUNT_MAX + 1);
    (void)valid_name(&op, FIELD("tenant"), "", true);
    (void)valid_scope(&op, FIELD("scope"), "a//b");
    (void)valid_job_id(&op, FIELD("job_id"), "", true);
    (void)valid_amounts(&op, "amounts", 2, list);
    valid_later(&op, FIELD("labels"), true);
    cr_assert_eq(op.error.fields_count, 8);
    cr_assert(names("tenant") && names("scope") && names("job_id") && names("labels"));
    cr_assert(names("amounts[0].meter") && names("amounts[0].units"));
    cr_assert(names("amounts[1].meter") && names("amounts[1].units"));
    cr_assert_str_eq(op.error.text, "tenant is required");
}

Test(validate, paths_reach_into_messages)
{
    invalid(&op, FIELD_IN("limit", "units"), "is negative");
    invalid(&op, FIELD_AT("scopes", 3, NULL), "is empty");
    cr_assert(names("limit.units") && names("scopes[3]"));
}

Test(validate, more_bad_fields_than_fit_are_cut_and_harmless)
{
    for (int i = 0; i < 100; i++)
        invalid(&op, FIELD_AT("amounts", (size_t)i, "units"), "is negative");
    cr_assert_eq(op.error.fields_count, OP_FIELDS_MAX);
}
