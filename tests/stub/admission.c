#include "tests/stub/admission.h"

#include <google/rpc/error_details.pb-c.h>

static void turn_away(const struct admission *admission, struct stub_call *call)
{
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
    const ProtobufCMessage *details[] = {&retry.base};

    delay.seconds = admission->retry_after_ms / 1000;
    delay.nanos = admission->retry_after_ms % 1000 * 1000000;
    retry.retry_delay = &delay;
    stub_call_fail(call, STUB_RESOURCE_EXHAUSTED, "too many calls at once", details, 1);
}

bool admission_before(void *user, struct stub_call *call, void **state)
{
    struct admission *admission = user;

    if (atomic_fetch_add(&admission->running, 1) < admission->running_max) {
        *state = admission; /* it is counted */
        return true;
    }
    atomic_fetch_sub(&admission->running, 1);
    turn_away(admission, call);
    return false;
}

void admission_after(void *user, const struct stub_ended *ended, void *state)
{
    struct admission *admission = user;

    (void)ended;
    if (state)
        atomic_fetch_sub(&admission->running, 1);
}
