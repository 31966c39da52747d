#include "base/check.h"

#include <criterion/criterion.h>
#include <signal.h>

struct item {
    int before;
    int link;
};

Test(check, false_condition_aborts, .signal = SIGABRT)
{
    CHECK(1 + 1 == 3);
}

Test(check, message_aborts_as_well, .signal = SIGABRT)
{
    CHECK_MSG(false, "held=%d", 7);
}

Test(check, unreachable_aborts, .signal = SIGABRT)
{
    UNREACHABLE();
}

Test(check, true_condition_is_evaluated_once)
{
    int calls = 0;

    CHECK(++calls == 1);
    CHECK_MSG(++calls == 2, "calls=%d", calls);
    cr_assert_eq(calls, 2);
}

Test(check, container_of_leads_back_to_the_owner)
{
    struct item item = {1, 2};

    cr_assert_eq(container_of(&item.link, struct item, link), &item);
}

Test(check, array_count_counts_elements)
{
    long numbers[7];

    cr_assert_eq(ARRAY_COUNT(numbers), 7);
}
