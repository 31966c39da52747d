/* What struct stub_credentials holds. For the files of src/stub/ only. */
#ifndef HOLDFAST_STUB_CREDENTIALS_H
#define HOLDFAST_STUB_CREDENTIALS_H

#include "stub/security.h"
#include "stub/tls.h"
#include "stub/tls_probe.h"

struct stub_credentials {
    grpc_channel_credentials *core;
    struct tls_probe *probe; /* the same files; channels have references of their own */
};

#endif
