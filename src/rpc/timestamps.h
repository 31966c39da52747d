/*
 * Milliseconds as google.protobuf.Timestamp and Duration, in the arena. Any thread.
 */
#ifndef HOLDFAST_RPC_TIMESTAMPS_H
#define HOLDFAST_RPC_TIMESTAMPS_H

#include "base/arena.h"

#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"

#include <stdint.h>

/* Since 1970, UTC. */
Google__Protobuf__Timestamp *timestamp_of(struct arena *arena, int64_t ms);

Google__Protobuf__Duration *duration_of(struct arena *arena, int64_t ms);

/* NULL, so that the field is left out, if ms < 0. */
Google__Protobuf__Duration *duration_or_unset(struct arena *arena, int64_t ms);

#endif
