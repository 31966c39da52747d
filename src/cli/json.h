/*
 * Any protobuf-c message as JSON, from its descriptor, so that no message needs code of its own.
 *
 * Field names are those of the .proto file. Every scalar is written, zero or not; a message or a
 * member of a oneof only if it is set. int64 is a number (all of ours are exact below 2^53),
 * enums are their names, a Timestamp is "2026-01-31T12:00:00.250Z", a Duration "1.5s".
 */
#ifndef HOLDFAST_CLI_JSON_H
#define HOLDFAST_CLI_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

/* Enough for any text of json_time_format. */
#define JSON_TIME_BYTES 48

/* For the caller to json_decref. Never NULL. */
json_t *json_from_message(const ProtobufCMessage *message);

/* RFC 3339 in UTC with as many fraction digits as it needs (0, 3, 6 or 9). Returns text. */
const char *json_time_format(int64_t seconds, int32_t nanos, char text[JSON_TIME_BYTES]);

#endif
