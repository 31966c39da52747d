/*
 * Totals of quota rows as arguments and in answers; fill, recall, notify and reap share this.
 */
#ifndef HOLDFAST_COUNTER_TOTALS_H
#define HOLDFAST_COUNTER_TOTALS_H

#include "counter/counter.h"
#include "counter/reply.h"
#include "counter/request.h"

/* The quota's name, then L G B S D C Cv Cd E. */
void write_totals(struct request *request, const struct counter_totals *totals);

/* Without the name. */
void write_totals_numbers(struct request *request, const struct counter_totals *totals);

/* Per totals: what became of it, and the quota after the script. */
void read_totals(struct reply *reply, struct counter_totals *totals, size_t count);

/* Count of keys whose H would have become negative, and these; the first is kept in the call. */
void read_below_zero(struct reply *reply, struct counter_call *call);

#endif
