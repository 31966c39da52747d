#include "stub/core.h"

#include "base/check.h"
#include "base/log.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <openssl/crypto.h>

/*
 * grpc_shutdown() does not wait for Core's threads (gRPC issue 38539: crashes and leaks at exit), and
 * the exit handler of OpenSSL 3 frees what one that is still in a handshake, or about to end, is using.
 * So there is to be none; the system takes the memory back. Whoever uses OpenSSL first decides that, and
 * that can be a key file, a checksum or libpq: hence before main().
 */
__attribute__((constructor)) static void keep_openssl(void)
{
    CHECK(OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) == 1);
}

/* The header came after the function for a log of one's own had gone. */
#if __has_include(<grpc/credentials.h>)

void core_log(void)
{
}

#else

static void write_log(gpr_log_func_args *args)
{
    static struct log_limit limit; /* Core has one log for the process, and one function for it */

    if (args->severity == GPR_LOG_SEVERITY_ERROR)
        log_every(&limit, LOG_WARN, "grpc", "core file=%s:%d message=%s", args->file, args->line,
                  LOG_VALUE(args->message)); /* peers cause them, such as by a failed handshake */
    else
        log_debug("grpc", "core file=%s:%d message=%s", args->file, args->line,
                  LOG_VALUE(args->message));
}

void core_log(void)
{
    gpr_set_log_function(write_log);
}

#endif
