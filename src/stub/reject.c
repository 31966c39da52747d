#include "stub/runtime.h"

void reject_message(struct stub_call *call, const struct message_error *error)
{
    const struct stub_server_options *options = &call->server->options;
    struct stub_reject reject = error->reject;
    int code;

    pthread_mutex_lock(&call->lock);
    call->rejected = true;
    pthread_mutex_unlock(&call->lock);
    if (options->reject) {
        reject.method = stub_call_method(call);
        options->reject(options->reject_user, call, &reject);
        return;
    }
    code = reject.kind == STUB_REJECT_BOUND ? STUB_RESOURCE_EXHAUSTED : STUB_INVALID_ARGUMENT;
    stub_call_fail(call, code, reject.text, NULL, 0);
}
