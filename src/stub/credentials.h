/* What struct stub_credentials holds. For the files of src/stub/ only. */
#ifndef HOLDFAST_STUB_CREDENTIALS_H
#define HOLDFAST_STUB_CREDENTIALS_H

#include "stub/security.h"
#include "stub/tls.h"

struct stub_credentials {
    grpc_channel_credentials *core;
};

#endif
