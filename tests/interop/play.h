/*
 * What the cases consist of. `error` has CASE_ERROR_MAX bytes and is written when the result is false.
 */
#ifndef HOLDFAST_TESTS_INTEROP_PLAY_H
#define HOLDFAST_TESTS_INTEROP_PLAY_H

#include "stub/client.h"

#include <grpc/testing/test.stub.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A deadline that is not what a case is about. Virtual machines stand still for a minute at times; the
 * default of ten seconds would tell only that.
 */
enum { PLAY_PATIENCE_US = 600 * 1000 * 1000 };
extern const struct stub_call_options play_patient;

/* Says it; always false. */
__attribute__((format(printf, 2, 3))) bool play_wrong(char *error, const char *format, ...);

/* Makes it `size` zeros; the result is to be freed. */
uint8_t *play_payload_begin(Grpc__Testing__Payload *payload, int32_t size);

bool play_check_payload(const Grpc__Testing__Payload *payload, int32_t size, char *error);

/* message may be NULL: any. */
bool play_check_status(const struct stub_status *status, int code, const char *message,
                       char *error);

/* Sends a request for one message on a full or half duplex stream. */
bool play_ask(struct stub_stream *stream, int32_t request_size, int32_t response_size);

/* The next message has `size` zeros. */
bool play_check_next(struct stub_stream *stream, int32_t size, char *error);

bool play_check_no_next(struct stub_stream *stream, char *error);

/* Closes the stream. */
bool play_check_end(struct stub_stream *stream, int code, const char *message, char *error);

/* Closes the stream, whose case is lost, and adds to the error how it ended; always false. */
bool play_give_up(struct stub_stream *stream, char *error);

#endif
