/*
 * Parts of requests, built from the command line. They point into the arguments and live as long.
 */
#ifndef HOLDFAST_CLI_MESSAGES_H
#define HOLDFAST_CLI_MESSAGES_H

#include "cli/arguments.h"
#include "holdfast/v1/quota_service.pb-c.h"

struct amount_list {
    Holdfast__V1__Amount items[ARGUMENTS_AMOUNTS_MAX];
    Holdfast__V1__Amount *pointers[ARGUMENTS_AMOUNTS_MAX];
};

struct actual_list {
    Holdfast__V1__ActualAmount items[ARGUMENTS_AMOUNTS_MAX];
    Holdfast__V1__ActualAmount *pointers[ARGUMENTS_AMOUNTS_MAX];
};

/* Fills the list from arguments->amounts; its length is arguments->amounts_count. */
void amount_list_fill(struct amount_list *list, const struct arguments *arguments);
void actual_list_fill(struct actual_list *list, const struct arguments *arguments);

Google__Protobuf__Duration duration_message(int64_t us);

#endif
