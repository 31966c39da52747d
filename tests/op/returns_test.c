#include "op/returns.h"

#include <criterion/criterion.h>

Test(returns, whoever_adds_first_calls_for_a_worker)
{
    struct returns *returns = returns_create();
    struct commit_item items[3] = {0};
    struct commit_item *list[] = {&items[0], &items[1], &items[2]};

    cr_assert(!returns_add(returns, list, 0), "there is nothing to come for");
    cr_assert(returns_add(returns, list, 2));
    cr_assert(!returns_add(returns, list + 2, 1), "somebody is on the way");
    cr_assert_eq(returns_take(returns), &items[0]);
    cr_assert_eq(items[0].next, &items[1]);
    cr_assert_eq(items[1].next, &items[2]);
    cr_assert_null(items[2].next);
    cr_assert_null(returns_take(returns));
    cr_assert(returns_add(returns, list, 1), "he has been and gone");
    cr_assert_eq(returns_take(returns), &items[0]);
    returns_destroy(returns);
}
