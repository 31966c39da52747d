/*
 * A stand-in for holdfastd: QuotaService and AdminService over gRPC, in this process and in memory.
 *
 * It knows one limit per (tenant, meter) without periods, scopes or expiry: just enough for a client
 * to be tested against every kind of answer. It can be told to fail calls, and to lie.
 */
#ifndef HOLDFAST_TESTS_CLI_STAND_IN_H
#define HOLDFAST_TESTS_CLI_STAND_IN_H

#include <stdbool.h>

struct stand_in;

struct stand_in *stand_in_start(void);
void stand_in_stop(struct stand_in *stand_in);

/* "127.0.0.1:PORT"; lives as long as the stand-in. */
const char *stand_in_address(const struct stand_in *stand_in);

/* The next `count` calls of QuotaService fail with this code and reason. */
void stand_in_fail(struct stand_in *stand_in, int count, int code, const char *reason);

/* After so many changes of AdminService (trials do not count) every change fails with this; -1: none does. */
void stand_in_fail_changes_after(struct stand_in *stand_in, int changes, int code,
                                 const char *reason);

/* A limit of this name is refused with INVALID_FIELD, in a trial as well; NULL: none is. */
void stand_in_refuse_limit(struct stand_in *stand_in, const char *limit_id);

/* Changes of AdminService that were made since the start. */
int stand_in_changes(struct stand_in *stand_in);

/* Every `nth` commit is acknowledged but not recorded, or recorded a second time; 0: none. */
void stand_in_lose_commits(struct stand_in *stand_in, int nth);
void stand_in_double_commits(struct stand_in *stand_in, int nth);

/* Watch streams end after each frame, so that clients must resume. */
void stand_in_break_streams(struct stand_in *stand_in, bool on);

#endif
