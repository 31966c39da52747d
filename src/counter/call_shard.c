#include "counter/kind.h"

bool write_init(struct request *request, struct counter_call *call)
{
    request_guard(request, &call->view);
    return true;
}

bool write_observe(struct request *request, struct counter_call *call)
{
    request_int(request, call->view.shard);
    return true;
}
