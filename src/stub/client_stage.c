#include "stub/client_stage.h"

#include "stub/client_stream.h"
#include "stub/unary.h"

/* --- what is true in each stage ------------------------------------------------------------------ */

static bool unary_is_clean(const void *owner)
{
    const struct unary *unary = owner;

    return !unary->link.core && !unary->reply;
}

static bool unary_is_begun(const void *owner)
{
    return ((const struct unary *)owner)->link.core != NULL;
}

static bool unary_calls_back(const void *owner)
{
    return unary_is_begun(owner) && ((const struct unary *)owner)->deliver;
}

static bool has_call(const void *owner)
{
    return ((const struct stub_stream *)owner)->link.core != NULL;
}

static bool has_nothing_pending(const void *owner)
{
    return ((const struct stub_stream *)owner)->pending == 0;
}

static bool has_nothing_queued(const void *owner)
{
    return ((const struct stub_stream *)owner)->queue.count == 0;
}

static bool calls_back(const void *owner)
{
    return ((const struct stub_stream *)owner)->deliver && has_call(owner);
}

static bool has_end_to_tell(const void *owner)
{
    return calls_back(owner) && has_nothing_pending(owner);
}

static bool waits(const void *owner)
{
    return !((const struct stub_stream *)owner)->deliver && has_call(owner);
}

/* --- the tables --------------------------------------------------------------------------------- */

static const struct stage_rule unary_rules[] = {
    [UNARY_FREE] = {"free", STAGE(UNARY_TAKEN), unary_is_clean},
    [UNARY_TAKEN] = {"taken", STAGE(UNARY_RUNNING) | STAGE(UNARY_OVER), unary_is_clean},
    [UNARY_RUNNING] = {"running", STAGE(UNARY_ASKS) | STAGE(UNARY_OVER), unary_is_begun},
    [UNARY_ASKS] = {"asks", STAGE(UNARY_OVER), unary_calls_back},
    [UNARY_OVER] = {"over", STAGE(UNARY_FREE), NULL},
};

static const struct stage_rule life_rules[] = {
    [STREAM_NEW] = {"new", STAGE(STREAM_RUNNING) | STAGE(STREAM_FAILED), NULL},
    [STREAM_RUNNING] = {"running", STAGE(STREAM_OVER), has_call},
    [STREAM_OVER] = {"over", STAGE(STREAM_ASKS) | STAGE(STREAM_LEFT), has_call},
    [STREAM_ASKS] = {"asks", STAGE(STREAM_LEFT), has_end_to_tell},
    [STREAM_LEFT] = {"left", STAGE_END, has_nothing_pending},
    [STREAM_FAILED] = {"failed", STAGE_END, has_nothing_pending},
};

static const struct stage_rule send_rules[] = {
    [SEND_READY] = {"ready",
                    STAGE(SEND_BUSY) | STAGE(SEND_CLOSING) | STAGE(SEND_CLOSED) | STAGE(SEND_DEAD),
                    has_nothing_queued},
    [SEND_BUSY] = {"busy",
                   STAGE(SEND_BUSY) | STAGE(SEND_READY) | STAGE(SEND_CLOSING) | STAGE(SEND_DEAD),
                   has_call},
    [SEND_CLOSING] = {"closing", STAGE(SEND_CLOSED) | STAGE(SEND_DEAD), has_call},
    [SEND_CLOSED] = {"closed", STAGE(SEND_DEAD), has_nothing_queued},
    [SEND_DEAD] = {"dead", STAGE_END, has_nothing_queued},
};

static const struct stage_rule take_rules[] = {
    [TAKE_NONE] = {"none", STAGE(TAKE_ASKED) | STAGE(TAKE_END), NULL},
    [TAKE_ASKED] = {"asked",
                    STAGE(TAKE_ASKED) | STAGE(TAKE_HERE) | STAGE(TAKE_PAUSED) | STAGE(TAKE_END),
                    has_call},
    [TAKE_HERE] = {"here", STAGE(TAKE_ASKED) | STAGE(TAKE_END), waits},
    [TAKE_PAUSED] = {"paused", STAGE(TAKE_ASKED) | STAGE(TAKE_OWED) | STAGE(TAKE_END), calls_back},
    [TAKE_OWED] = {"owed", STAGE(TAKE_ASKED) | STAGE(TAKE_END), calls_back},
    [TAKE_END] = {"end", STAGE_END, NULL},
};

const struct stage_table unary_life_stages = STAGE_TABLE("unary", unary_rules);
const struct stage_table stream_life_stages = STAGE_TABLE("stream.life", life_rules);
const struct stage_table stream_send_stages = STAGE_TABLE("stream.send", send_rules);
const struct stage_table stream_take_stages = STAGE_TABLE("stream.take", take_rules);

/* --- steps -------------------------------------------------------------------------------------- */

void unary_life_step(struct unary *unary, enum unary_life to)
{
    stage_step(&unary_life_stages, unary->life, to, unary);
    unary->life = to;
}

void stream_life_step(struct stub_stream *stream, enum stream_life to)
{
    stage_step(&stream_life_stages, stream->life, to, stream);
    stream->life = to;
}

void stream_send_step(struct stub_stream *stream, enum stream_send to)
{
    stage_step(&stream_send_stages, stream->send, to, stream);
    stream->send = to;
}

void stream_take_step(struct stub_stream *stream, enum stream_take to)
{
    stage_step(&stream_take_stages, stream->take, to, stream);
    stream->take = to;
}
