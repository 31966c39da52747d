/*
 * A reservation as a message, in the op's arena. Any thread.
 */
#ifndef HOLDFAST_RPC_RESERVATION_H
#define HOLDFAST_RPC_RESERVATION_H

#include "op/queries.h"

#include "holdfast/v1/quota.pb-c.h"

void reservation_fill(const struct op *op, const struct op_reservation *found,
                      Holdfast__V1__Reservation *message);

#endif
