#include "stub/call.h"

#include "stub/core.h"
#include "stub/runtime.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

/* --- lifetime --------------------------------------------------------------------------------- */

static struct stub_call *call_create(struct stub_server *server)
{
    struct stub_call *call = calloc(1, sizeof(*call));

    CHECK(call);
    call->server = server;
    CHECK(pthread_mutex_init(&call->lock, NULL) == 0);
    arena_init(&call->arena, CALL_ARENA_BYTES, SIZE_MAX / 2);
    arena_init(&call->message_arena, CALL_ARENA_BYTES, SIZE_MAX / 2);
    answer_init(call);
    receive_init(call);
    return call;
}

void call_destroy(struct stub_call *call)
{
    queue_done(&call->queue);
    arena_done(&call->arena);
    arena_done(&call->message_arena);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

struct stub_call *call_take(struct served_method *served)
{
    struct stub_server *server = served->server;
    struct stub_call *call;

    brief_lock(&server->free_lock);
    call = server->free_calls;
    if (call)
        server->free_calls = call->next_free;
    brief_unlock(&server->free_lock);
    if (!call)
        call = call_create(server);
    atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
    call->served = served;
    grpc_metadata_array_init(&call->metadata);
    if (!served->method)
        grpc_call_details_init(&call->details);
    call_life_step(call, CALL_POSTED);
    return call;
}

static void reset_stages(struct stub_call *call)
{
    if (call->out != OUT_NONE)
        call_out_step(call, OUT_NONE);
    if (call->close != CLOSE_UNASKED)
        call_close_step(call, CLOSE_UNASKED);
    if (call->read != READ_NONE)
        call_read_step(call, READ_NONE);
    call_life_step(call, CALL_FREE);
}

/* Gives back what Core and the application hold on to, and sets everything to its first value. */
static void call_reset(struct stub_call *call)
{
    if (call->core)
        grpc_call_unref(call->core);
    grpc_metadata_array_destroy(&call->metadata);
    if (!call->served->method)
        grpc_call_details_destroy(&call->details);
    if (call->payload)
        grpc_byte_buffer_destroy(call->payload);
    if (call->message_payload)
        grpc_byte_buffer_destroy(call->message_payload);
    if (call->peer)
        gpr_free(call->peer);
    if (call->method_text)
        gpr_free(call->method_text);
    queue_drop(&call->queue);
    grpc_slice_unref(call->status_text);
    for (size_t i = 0; i < call->initial.count; i++)
        grpc_slice_unref(call->initial.items[i].value);
    for (size_t i = 0; i < call->trailing.count; i++)
        grpc_slice_unref(call->trailing.items[i].value);
    arena_reset(&call->arena);
    arena_reset(&call->message_arena);
    call->core = NULL;
    call->payload = call->message_payload = NULL;
    call->message = NULL;
    call->refused = NULL;
    call->messages_in = call->bytes_in = call->messages_out = call->bytes_out = 0;
    call->intercepted = 0;
    call->peer = call->method_text = NULL;
    call->identities = NULL;
    call->identities_count = 0;
    call->identities_known = false;
    call->worker = call->user = NULL;
    call->callbacks = call->core_cancelled = 0;
    atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
    call->on_closed = call->on_drained = NULL;
    call->on_message = NULL;
    answer_init(call);
    reset_stages(call);
}

void call_recycle(struct stub_call *call)
{
    struct stub_server *server = call->server;
    bool begun = call->life == CALL_ANSWERED;

    if (call->intercepted > 0)
        intercept_after(call);
    call_reset(call);
    brief_lock(&server->free_lock);
    call->next_free = server->free_calls;
    server->free_calls = call;
    brief_unlock(&server->free_lock);
    if (begun)
        atomic_fetch_sub_explicit(&server->calls, 1, memory_order_release);
    server_unref(server);
}

void stub_call_ref(struct stub_call *call)
{
    CHECK(call);
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

void stub_call_unref(struct stub_call *call)
{
    CHECK(call);
    if (core_is_forked()) /* the call is the parent's */
        return;
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) == 1)
        call_recycle(call);
}

struct arena *stub_call_arena(struct stub_call *call)
{
    CHECK(call);
    return &call->arena;
}

void *stub_call_alloc(struct stub_call *call, size_t size)
{
    void *memory;

    CHECK(call);
    memory = arena_zalloc(&call->arena, size);
    CHECK(memory);
    return memory;
}

void stub_call_set_user(struct stub_call *call, void *user)
{
    CHECK(call);
    call->user = user;
}

void *stub_call_user(const struct stub_call *call)
{
    CHECK(call);
    return call->user;
}

void *stub_call_worker(const struct stub_call *call)
{
    CHECK(call);
    return call->worker;
}

/* --- callbacks and the end -------------------------------------------------------------------- */

bool call_callback_begin(struct stub_call *call)
{
    bool go;

    pthread_mutex_lock(&call->lock);
    go = call->close != CLOSE_WAITS && call->close != CLOSE_TOLD;
    if (go)
        call->callbacks++;
    pthread_mutex_unlock(&call->lock);
    return go;
}

/* With call->lock held: the last batch tells nothing that could be waited for. */
static bool is_closed(const struct stub_call *call)
{
    return call->close != CLOSE_UNASKED && call->close != CLOSE_ASKED;
}

/* Takes on_closed if it is due now. With call->lock held; the caller runs it without. */
static void (*take_on_closed(struct stub_call *call, void **ret_user))(void *)
{
    void (*fn)(void *) = call->on_closed;

    if (!fn || !is_closed(call))
        return NULL;
    if (call->callbacks > 0) {
        if (call->close != CLOSE_WAITS)
            call_close_step(call, CLOSE_WAITS);
        return NULL;
    }
    call->on_closed = NULL;
    *ret_user = call->on_closed_user;
    call_close_step(call, CLOSE_TOLD);
    return fn;
}

void call_callback_end(struct stub_call *call)
{
    void (*fn)(void *) = NULL;
    void *user = NULL;

    pthread_mutex_lock(&call->lock);
    if (--call->callbacks == 0 && call->close == CLOSE_WAITS)
        fn = take_on_closed(call, &user);
    pthread_mutex_unlock(&call->lock);
    if (fn)
        fn(user);
}

void stub_call_on_closed(struct stub_call *call, void (*fn)(void *user), void *user)
{
    void *taken_user = NULL;
    void (*taken)(void *);

    CHECK(call && fn);
    if (core_is_forked())
        return;
    pthread_mutex_lock(&call->lock);
    CHECK(!call->on_closed && call->close != CLOSE_TOLD); /* one for each call */
    call->on_closed = fn;
    call->on_closed_user = user;
    answer_post_close(call);
    taken = take_on_closed(call, &taken_user);
    pthread_mutex_unlock(&call->lock);
    if (taken)
        taken(taken_user);
}

void stub_call_on_drained(struct stub_call *call, void (*fn)(void *user), void *user)
{
    CHECK(call && fn);
    if (core_is_forked())
        return;
    pthread_mutex_lock(&call->lock);
    call->on_drained = fn;
    call->on_drained_user = user;
    pthread_mutex_unlock(&call->lock);
}

void call_die(struct stub_call *call)
{
    queue_drop(&call->queue);
    if (call->out != OUT_DEAD)
        call_out_step(call, OUT_DEAD);
}

static void close_run(struct stub_tag *tag, bool ok, void *worker)
{
    struct stub_call *call = container_of(tag, struct stub_call, close_tag);
    void (*fn)(void *);
    void *user = NULL;

    (void)ok, (void)worker;
    if (call->core_cancelled)
        atomic_store_explicit(&call->cancelled, true, memory_order_release);
    pthread_mutex_lock(&call->lock);
    call_die(call);
    call_close_step(call, CLOSE_SEEN);
    fn = take_on_closed(call, &user);
    pthread_mutex_unlock(&call->lock);
    if (fn)
        fn(user);
    stub_call_unref(call);
}

void answer_post_close(struct stub_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    grpc_call_error error;

    if (call->close != CLOSE_UNASKED)
        return;
    call_close_step(call, CLOSE_ASKED);
    call->close_tag.run = close_run;
    op.data.recv_close_on_server.cancelled = &call->core_cancelled;
    stub_call_ref(call);
    handoff_give(&call->close_tag);
    error = grpc_call_start_batch(call->core, &op, 1, &call->close_tag, NULL);
    if (error == GRPC_CALL_OK)
        return;
    log_every(&call->server->batch_failed, LOG_ERROR, "stub", "close.refused error=%d", (int)error);
    atomic_fetch_sub_explicit(&call->refs, 1, memory_order_relaxed); /* the caller has another */
    call_die(call);
    call_close_step(call, CLOSE_SEEN);
}

/* --- the way to a worker ---------------------------------------------------------------------- */

static void post_run(struct stub_tag *tag, bool ok, void *worker)
{
    struct stub_call *call = container_of(tag, struct stub_call, post_tag);
    void (*fn)(void *user, void *worker) = call->post_fn;
    void *user = call->post_user;

    (void)ok;
    call->post_fn = NULL;
    stub_call_unref(call);
    fn(user, worker);
}

void stub_call_post(struct stub_call *call, void (*fn)(void *user, void *worker), void *user)
{
    grpc_call_error error;
    grpc_call *core;

    CHECK(call && fn && !call->post_fn);
    if (core_is_forked())
        return;
    core = call->core; /* the call may be over as soon as it is handed over */
    call->post_fn = fn;
    call->post_user = user;
    call->post_tag.run = post_run;
    stub_call_ref(call);
    handoff_give(&call->post_tag);
    error = grpc_call_start_batch(core, NULL, 0, &call->post_tag, NULL);
    CHECK(error == GRPC_CALL_OK);
}

/* --- what the client sent --------------------------------------------------------------------- */

const char *stub_call_method(const struct stub_call *call)
{
    CHECK(call);
    if (call->served->method)
        return call->served->method->path;
    return call->method_text ? call->method_text : "";
}

int64_t stub_call_deadline_left_us(const struct stub_call *call)
{
    gpr_timespec left;

    CHECK(call);
    if (call->deadline.tv_sec == INT64_MAX)
        return INT64_MAX;
    left = gpr_time_sub(call->deadline, gpr_now(call->deadline.clock_type));
    if (left.tv_sec > INT64_MAX / 2000000)
        return INT64_MAX;
    return left.tv_sec * 1000000 + left.tv_nsec / 1000;
}

bool stub_call_cancelled(const struct stub_call *call)
{
    CHECK(call);
    return atomic_load_explicit(&call->cancelled, memory_order_acquire) ||
           stub_call_deadline_left_us(call) <= 0;
}

const char *stub_call_peer(struct stub_call *call)
{
    CHECK(call);
    if (!call->peer && !core_is_forked())
        call->peer = grpc_call_get_peer(call->core);
    return call->peer ? call->peer : "";
}

/* Core lets every byte through; C would cut a text at its first NUL, and a log would break at a CR. */
static bool is_clean(const grpc_metadata *pair)
{
    const uint8_t *value = GRPC_SLICE_START_PTR(pair->value);

    if (grpc_is_binary_header(pair->key))
        return true;
    for (size_t i = 0; i < GRPC_SLICE_LENGTH(pair->value); i++) {
        if ((value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f)
            return false;
    }
    return true;
}

const void *stub_call_metadata_next(struct stub_call *call, const char *key, size_t *at,
                                    size_t *ret_bytes)
{
    size_t key_len;

    CHECK(call && key && at && ret_bytes);
    key_len = strlen(key);
    while (*at < call->metadata.count) {
        const grpc_metadata *pair = &call->metadata.metadata[(*at)++];
        size_t bytes = GRPC_SLICE_LENGTH(pair->value);
        void *copy;

        if (GRPC_SLICE_LENGTH(pair->key) != key_len ||
            memcmp(GRPC_SLICE_START_PTR(pair->key), key, key_len) != 0 || !is_clean(pair))
            continue;
        copy = arena_strndup(&call->arena, (const char *)GRPC_SLICE_START_PTR(pair->value), bytes);
        CHECK(copy);
        *ret_bytes = bytes;
        return copy;
    }
    return NULL;
}

const void *stub_call_metadata_bin(struct stub_call *call, const char *key, size_t *ret_bytes)
{
    size_t at = 0;

    CHECK(call);
    return stub_call_metadata_next(call, key, &at, ret_bytes);
}

const char *stub_call_metadata(struct stub_call *call, const char *key)
{
    size_t bytes;

    CHECK(call);
    return stub_call_metadata_bin(call, key, &bytes);
}
