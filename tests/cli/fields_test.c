#include "cli/fields.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static Holdfast__V1__Limit limit_of(int64_t units)
{
    Holdfast__V1__Limit limit = HOLDFAST__V1__LIMIT__INIT;

    limit.period = HOLDFAST__V1__PERIOD__PERIOD_MONTH;
    limit.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
    limit.units = units;
    return limit;
}

static char *printed(const struct fields *before, const struct fields *after)
{
    static char text[2000];
    FILE *out = fmemopen(text, sizeof(text), "w");

    cr_assert_not_null(out);
    fields_print(out, before, after);
    fclose(out);
    return text;
}

static const char *text_of(const struct fields *fields, const char *name)
{
    for (size_t i = 0; i < fields->count; i++)
        if (strcmp(fields->list[i].name, name) == 0)
            return fields->list[i].text;
    return "missing";
}

Test(fields, what_means_the_same_is_equal)
{
    Holdfast__V1__Limit a = limit_of(100), b = limit_of(100);
    struct fields left, right;

    b.soft_percent = 90; /* the default */
    b.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT; /* 0 of it */
    fields_of_limit(&a, &left);
    fields_of_limit(&b, &right);
    cr_assert(fields_equal(&left, &right));
    b.units = 101;
    fields_of_limit(&b, &right);
    cr_assert_not(fields_equal(&left, &right));
}

Test(fields, a_duration_is_exact)
{
    Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT;
    Holdfast__V1__Limit limit = limit_of(1);
    struct fields fields;

    fields_of_limit(&limit, &fields);
    cr_assert_str_eq(text_of(&fields, "max_ttl"), "none");
    limit.max_ttl = &ttl;
    ttl.seconds = 900;
    fields_of_limit(&limit, &fields);
    cr_assert_str_eq(text_of(&fields, "max_ttl"), "900s");
    ttl.nanos = 250000000;
    fields_of_limit(&limit, &fields);
    cr_assert_str_eq(text_of(&fields, "max_ttl"), "900.25s");
}

Test(fields, what_happens_while_redis_is_away_has_a_default)
{
    Holdfast__V1__Limit limit = limit_of(1);
    struct fields fields;

    fields_of_limit(&limit, &fields);
    cr_assert_str_eq(text_of(&fields, "redis_away"), "postgres");
    limit.redis_away = HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_CLOSED;
    fields_of_limit(&limit, &fields);
    cr_assert_str_eq(text_of(&fields, "redis_away"), "closed");
    limit.redis_away = HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_OPEN;
    limit.redis_away_units = 500;
    fields_of_limit(&limit, &fields);
    cr_assert_str_eq(text_of(&fields, "redis_away"), "open 500");
}

Test(fields, only_what_differs_is_told)
{
    Holdfast__V1__Limit limit = limit_of(100);
    struct fields before, after;
    json_t *object;

    fields_of_limit(&limit, &before);
    limit.units = 50;
    limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED;
    limit.overage_unlimited = true;
    fields_of_limit(&limit, &after);
    cr_assert_str_eq(printed(&before, &after), "amount 100 -> 50, overage none -> unlimited");
    cr_assert_str_eq(printed(NULL, &before),
                     "scope \"\", meter , period month, time_zone \"\", anchor_time none, amount 100, "
                     "soft_percent 90, overage none, max_ttl none, redis_away postgres, "
                     "reserved_crossings false");
    object = fields_json(&before, &after);
    cr_assert_eq(json_object_size(object), 2);
    cr_assert_str_eq(
        json_string_value(json_object_get(json_object_get(object, "amount"), "new")), "50");
    json_decref(object);
}
