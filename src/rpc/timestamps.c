#include "rpc/timestamps.h"

#include "base/check.h"

Google__Protobuf__Timestamp *timestamp_of(struct arena *arena, int64_t ms)
{
    Google__Protobuf__Timestamp *timestamp = arena_alloc(arena, sizeof(*timestamp));
    int64_t rest_ms = (ms % 1000 + 1000) % 1000;

    CHECK(timestamp);
    google__protobuf__timestamp__init(timestamp);
    timestamp->seconds = (ms - rest_ms) / 1000;
    timestamp->nanos = (int32_t)(rest_ms * 1000000);
    return timestamp;
}

Google__Protobuf__Duration *duration_of(struct arena *arena, int64_t ms)
{
    Google__Protobuf__Duration *duration = arena_alloc(arena, sizeof(*duration));

    CHECK(duration);
    google__protobuf__duration__init(duration);
    duration->seconds = ms / 1000;
    duration->nanos = (int32_t)(ms % 1000 * 1000000);
    return duration;
}

Google__Protobuf__Duration *duration_or_unset(struct arena *arena, int64_t ms)
{
    return ms < 0 ? NULL : duration_of(arena, ms);
}
