#include "rpc/auth.h"

bool auth_tenant(struct op *op, struct stub_call *call, struct slice tenant)
{
    (void)call;
    op->tenant = tenant;
    return true;
}
