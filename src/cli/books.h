/*
 * What the server says about the tenants of a replay, before and after it.
 *
 * A book follows one limit of one tenant whose period never ends: its ledger_seq counts the records
 * one by one without a gap, and committed + debt is their sum, so the difference of two readings
 * is what was recorded in between. Nothing else may use tenant and meter meanwhile.
 */
#ifndef HOLDFAST_CLI_BOOKS_H
#define HOLDFAST_CLI_BOOKS_H

#include "cli/cli.h"

#include <stdbool.h>
#include <stdint.h>

#define BOOK_NAME_BYTES 96

struct book_reading {
    int64_t rows; /* ledger_seq */
    int64_t used; /* committed + debt */
    int64_t debt;
    int64_t held;
    int64_t over_units; /* committed above the hard cap; 0 if not, or unlimited */
    int64_t event_seq;  /* newest event of the tenant */
};

struct book {
    char tenant[BOOK_NAME_BYTES];
    char limit_id[BOOK_NAME_BYTES]; /* the limit that is followed */
    struct book_reading before;
    struct book_reading after;
};

/* What the limit is to be. */
struct book_limit {
    const char *meter;
    int64_t units;           /* -1: any limit whose period never ends, else an unlimited one */
    int32_t overage_percent; /* with units */
};

/*
 * Makes sure that the tenant and the limit exist, which is named "replay-METER" unless the tenant has
 * one that will do, and fills book->before. False: *ret_status tells why.
 */
bool book_open(struct cli *cli, const char *tenant, const struct book_limit *limit,
               struct book *ret, struct stub_status *ret_status);

/* Reads how it stands now. False: *ret_status tells why. */
bool book_read(struct cli *cli, const struct book *book, const char *meter,
               struct book_reading *ret, struct stub_status *ret_status);

#endif
