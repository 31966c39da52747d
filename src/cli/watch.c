/*
 * Prints the events of a tenant as they come, and proves on the way that none is missing.
 *
 * A frame's prev_seq must be the seq of the frame before. When the stream breaks, or the server ends
 * it, the next one begins after the last seq seen, so nothing is lost over a restart.
 */
#include "base/nearest.h"
#include "base/options.h"
#include "cli/arguments.h"
#include "cli/failure.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WATCH_AGAIN_US 500000

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    {"scope", 's', "PATH", 0, "only this scope and those below", 0},
    ARGUMENT_METER,
    {"kind", ARGUMENT_KEY_KIND, "KIND", OPTIONS_REPEATED,
     "only this kind: soft_stop, hard_stop, hard_cap, period_started, limit_changed, hold_expired, "
     "late_commit; may be repeated",
     0},
    {"after", ARGUMENT_KEY_AFTER, "SEQ", 0, "no snapshot, but every event after this one", 0},
    {"count", ARGUMENT_KEY_COUNT, "N", 0, "end after N events", 0},
    {0},
};

static const char doc[] =
    "Prints a snapshot, then the events of a tenant as they come.\v"
    "It resumes by itself when the connection breaks. With --json each frame is one line.\n\n"
    "  holdfast watch -t demo --kind soft_stop --kind hard_stop";

struct watch {
    struct cli *cli;
    Holdfast__V1__WatchRequest request;
    Holdfast__V1__EventKind kinds[ARGUMENTS_LIST_MAX];
    char *scope;
    char *meter;
    int64_t last_seq; /* of the frame before in this stream, or where it began */
    bool placed;      /* a frame was seen, or --after given: a new stream begins at last_seq */
    int64_t events;
    int64_t events_max; /* 0: no end */
};

static void refuse_kind(const char *kind)
{
    static const char *const names[] = {"soft_stop",      "hard_stop",     "hard_cap",
                                        "period_started", "limit_changed", "hold_expired",
                                        "late_commit"};
    const char *meant = nearest(kind, names, ARRAY_COUNT(names));

    fprintf(stderr, "holdfast watch: \"%s\" is not a kind of event%s%s%s\n", kind,
            meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
    exit(CLI_USAGE);
}

static void parse_kinds(struct watch *watch, const struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->kinds_count; i++) {
        char name[64] = "EVENT_KIND_";
        const ProtobufCEnumValue *value;
        size_t used = strlen(name);

        for (const char *c = arguments->kinds[i]; *c && used + 1 < sizeof(name); c++)
            name[used++] = (char)toupper((unsigned char)*c);
        name[used] = '\0';
        value = protobuf_c_enum_descriptor_get_value_by_name(&holdfast__v1__event_kind__descriptor,
                                                             name);
        if (!value || value->value == 0)
            refuse_kind(arguments->kinds[i]);
        watch->kinds[i] = (Holdfast__V1__EventKind)value->value;
    }
    watch->request.kinds = watch->kinds;
    watch->request.n_kinds = arguments->kinds_count;
}

static void build_request(struct watch *watch, const struct arguments *arguments)
{
    holdfast__v1__watch_request__init(&watch->request);
    watch->request.tenant = arguments_text(arguments->tenant);
    watch->scope = arguments_text(arguments->scope);
    watch->request.scopes = &watch->scope;
    watch->request.n_scopes = *arguments->scope ? 1 : 0;
    watch->meter = arguments_text(arguments->meter);
    watch->request.meters = &watch->meter;
    watch->request.n_meters = *arguments->meter ? 1 : 0;
    parse_kinds(watch, arguments);
    watch->events_max = arguments->count;
    if (arguments->after_seq >= 0) {
        watch->placed = true;
        watch->last_seq = arguments->after_seq;
    }
}

static void print_frame(const struct watch *watch, const Holdfast__V1__WatchResponse *frame)
{
    if (watch->cli->json) {
        cli_print_json(&frame->base);
        return;
    }
    switch ((int)frame->frame_case) {
    case HOLDFAST__V1__WATCH_RESPONSE__FRAME_SNAPSHOT:
        printf("snapshot at #%" PRId64 "\n", frame->seq);
        print_quotas(stdout, frame->snapshot->n_quotas, frame->snapshot->quotas);
        break;
    case HOLDFAST__V1__WATCH_RESPONSE__FRAME_EVENT:
        print_event(stdout, frame->event);
        break;
    case HOLDFAST__V1__WATCH_RESPONSE__FRAME_END:
        printf("the server ends the stream%s; resuming after #%" PRId64 "\n",
               frame->end->cause == HOLDFAST__V1__END_CAUSE__END_CAUSE_SLOW_READER
                   ? ": this reader is too slow"
                   : "",
               frame->end->resume_after_seq);
        break;
    }
    fflush(stdout);
}

/* False: enough events were seen, or nobody sees them. */
static bool take_frame(struct watch *watch, const Holdfast__V1__WatchResponse *frame)
{
    if (frame->prev_seq != watch->last_seq)
        fprintf(stderr,
                "holdfast watch: GAP: the frame before #%" PRId64 " was #%" PRId64 ", but #%" PRId64
                " was seen last\n",
                frame->seq, frame->prev_seq, watch->last_seq);
    watch->last_seq = frame->seq;
    watch->placed = true;
    print_frame(watch, frame);
    if (frame->frame_case == HOLDFAST__V1__WATCH_RESPONSE__FRAME_EVENT)
        watch->events++;
    if (ferror(stdout)) /* said at the end of the program */
        return false;
    return watch->events_max == 0 || watch->events < watch->events_max;
}

/* One stream from its beginning to its end. False: enough events were seen. */
static bool run_stream(struct watch *watch, struct stub_status *ret_status)
{
    struct stub_call_options call = cli_call_options(watch->cli);
    Holdfast__V1__WatchResponse *frame;
    struct stub_stream *stream;
    bool more = true;

    call.timeout_us = INT64_MAX;
    if (watch->placed) {
        watch->request.start_case = HOLDFAST__V1__WATCH_REQUEST__START_AFTER_SEQ;
        watch->request.after_seq = watch->last_seq;
    }
    stream = holdfast_v1_quota_service_watch_open(cli_channel(watch->cli), &call, &watch->request);
    while (more && holdfast_v1_quota_service_watch_recv(stream, -1, &frame) == STUB_RECV_MESSAGE) {
        more = take_frame(watch, frame);
        holdfast__v1__watch_response__free_unpacked(frame, NULL);
    }
    stub_stream_close(stream, ret_status);
    return more;
}

int command_watch(struct cli *cli, int argc, char **argv)
{
    struct watch watch = {.cli = cli};
    struct arguments arguments = {.needs = ARGUMENTS_NEED_TENANT};
    struct stub_status status = STUB_STATUS_INIT;
    int result = CLI_OK;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    build_request(&watch, &arguments);
    while (run_stream(&watch, &status)) {
        struct failure failure;
        bool resume;

        failure_read(&status, &failure);
        resume = status.code == STUB_OK || (watch.placed && failure_is_transient(&failure));
        failure_done(&failure);
        if (!resume) {
            result = cli_fail(cli, CLI_CALL_READS, &status);
            break;
        }
        if (status.code != STUB_OK)
            fprintf(stderr, "holdfast watch: %s: %s; resuming after #%" PRId64 "\n",
                    stub_code_name(status.code), status.message, watch.last_seq);
        stub_status_clear(&status);
        usleep(WATCH_AGAIN_US);
    }
    stub_status_clear(&status);
    return result;
}
