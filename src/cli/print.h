/*
 * The messages of holdfast.v1 for people: short lines and aligned tables.
 *
 * Any thread that owns `out`. Nothing here is meant to be parsed: --json is.
 */
#ifndef HOLDFAST_CLI_PRINT_H
#define HOLDFAST_CLI_PRINT_H

#include "holdfast/v1/admin_service.pb-c.h"
#include "holdfast/v1/quota.pb-c.h"
#include "holdfast/v1/quota_service.pb-c.h"

#include <stddef.h>
#include <stdio.h>

/* Enum values without their prefix: "ALLOW", "HELD", "MONTH"; "?" for a value we do not know. */
const char *print_decision(Holdfast__V1__Decision decision);
const char *print_state(Holdfast__V1__ReservationState state);
const char *print_verdict(Holdfast__V1__ReceiptVerdict verdict);
const char *print_drift(Holdfast__V1__DriftKind kind);
const char *print_period(Holdfast__V1__Period period);

/* One line for each reason: its sentence, and when to try again. */
void print_reasons(FILE *out, size_t count, Holdfast__V1__Reason *const *reasons);

/* "tokens=500 requests=1" */
void print_amounts(FILE *out, size_t count, Holdfast__V1__Amount *const *amounts);

/* One line for each meter: used, recorded, debt, dropped, freed. */
void print_committed(FILE *out, size_t count, Holdfast__V1__CommittedAmount *const *committed);

/* A table with one line for each quota. */
void print_quotas(FILE *out, size_t count, Holdfast__V1__QuotaState *const *quotas);

/* "2026-01-31T12:00:00Z", or "-" for NULL. */
void print_time(FILE *out, const Google__Protobuf__Timestamp *time);

/* "59.8s", or "-" for NULL. */
void print_span(FILE *out, const Google__Protobuf__Duration *span);

/* One event on one line. */
void print_event(FILE *out, const Holdfast__V1__Event *event);

#endif
