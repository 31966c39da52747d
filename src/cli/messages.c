#include "cli/messages.h"

void amount_list_fill(struct amount_list *list, const struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->amounts_count; i++) {
        holdfast__v1__amount__init(&list->items[i]);
        list->items[i].meter = arguments->amounts[i].meter;
        list->items[i].units = arguments->amounts[i].units;
        list->pointers[i] = &list->items[i];
    }
}

static Holdfast__V1__OverrunPolicy policy_of(enum amount_policy policy)
{
    switch (policy) {
    case AMOUNT_POLICY_RECORD:
        return HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_RECORD;
    case AMOUNT_POLICY_STRICT:
        return HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_STRICT;
    case AMOUNT_POLICY_CAP:
        return HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_CAP;
    case AMOUNT_POLICY_DEFAULT:
        break;
    }
    return HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_UNSPECIFIED;
}

void actual_list_fill(struct actual_list *list, const struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->amounts_count; i++) {
        holdfast__v1__actual_amount__init(&list->items[i]);
        list->items[i].meter = arguments->amounts[i].meter;
        list->items[i].units = arguments->amounts[i].units;
        list->items[i].overrun = policy_of(arguments->amounts[i].policy);
        list->pointers[i] = &list->items[i];
    }
}

Google__Protobuf__Duration duration_message(int64_t us)
{
    Google__Protobuf__Duration message = GOOGLE__PROTOBUF__DURATION__INIT;

    message.seconds = us / 1000000;
    message.nanos = (int32_t)(us % 1000000) * 1000;
    return message;
}
