/*
 * A trace of requests from a CSV file: TIMESTAMP,ContextTokens,GeneratedTokens.
 *
 * The form of the Azure LLM inference traces: a header line, then "2023-11-16 18:15:46.6805900,374,44",
 * lines ended by LF or CRLF, in the order of time. Any thread; the rows belong to the trace.
 */
#ifndef HOLDFAST_CLI_TRACE_H
#define HOLDFAST_CLI_TRACE_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_ERROR_BYTES 160

struct trace_row {
    int64_t at_us;           /* since the first row, never less than the row before */
    int64_t context_units;   /* ContextTokens */
    int64_t generated_units; /* GeneratedTokens */
};

struct trace {
    struct trace_row *rows;
    size_t count;
};

/* Reads all of the file. False: ret_error says which line is wrong and why; *ret is empty. */
MUST_CHECK bool trace_read(FILE *file, struct trace *ret, char ret_error[TRACE_ERROR_BYTES]);

/* Frees the rows. Accepts a zeroed trace. */
void trace_done(struct trace *trace);

#endif
