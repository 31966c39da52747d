#include "stub/tls_store.h"

#include "base/log.h"
#include "stub/pem.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What Core has been told through one port's credentials. */
struct tls_port {
    struct tls_store *store;
    struct tls_port *next;
    uint64_t generation;
};

struct tls_store {
    struct stub_tls_files files;
    stub_tls_report *report;
    void *user;

    pthread_mutex_t lock; /* for all below */
    struct pem pem;
    uint64_t generation; /* of pem; counts from 1 */
    struct pem_stamps stamps;
    bool settled;                /* equal stamps mean that nothing has to be read */
    bool current;                /* what was read last is in use */
    char refused[PEM_ERROR_MAX]; /* why not; "": it is */
    struct tls_port *ports;
};

static void report_to_log(void *user, bool loaded, const char *text)
{
    (void)user;
    if (loaded)
        log_info("stub", "tls.loaded %s", text);
    else
        log_error("stub", "tls.refused reason=%s", LOG_VALUE(text));
}

static char *copy(const char *text)
{
    char *copied = text ? strdup(text) : NULL;

    CHECK(!text || copied);
    return copied;
}

static void files_free(const struct stub_tls_files *files)
{
    const char *const paths[] = {files->certificate, files->key, files->authority};

    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        union {
            const char *in;
            char *out; /* our own copy */
        } path = {paths[i]};

        free(path.out);
    }
}

/* --- what is in use ----------------------------------------------------------------------------- */

/* Said once for each state of the files, however many clients connect. With the lock held. */
static void refuse(struct tls_store *store, const char *error)
{
    store->current = false;
    if (strcmp(store->refused, error) == 0)
        return;
    snprintf(store->refused, sizeof(store->refused), "%s", error);
    if (store->generation > 0) /* else the creator is told */
        store->report(store->user, false, error);
}

static void use(struct tls_store *store, struct pem *pem)
{
    bool news = !pem_equal(pem, &store->pem);

    store->current = true;
    store->refused[0] = '\0';
    if (!news) {
        pem_done(pem);
        return;
    }
    pem_done(&store->pem);
    store->pem = *pem;
    store->generation++;
    store->report(store->user, true, store->pem.summary);
}

/* With the lock held. */
static void refresh(struct tls_store *store)
{
    struct pem_stamps before, after;
    char error[PEM_ERROR_MAX];
    struct pem pem;

    pem_stamps_read(&store->files, &before);
    if (store->settled && pem_stamps_equal(&before, &store->stamps))
        return;
    if (!pem_load(&store->files, &pem, error)) {
        refuse(store, error);
    } else {
        pem_stamps_read(&store->files, &after);
        if (pem_stamps_equal(&before, &after))
            use(store, &pem);
        else
            pem_done(&pem); /* perhaps a bit of each; the next look decides */
    }
    store->stamps = before;
    store->settled = pem_stamps_settled(&before);
}

bool tls_store_refresh(struct tls_store *store)
{
    bool current;

    pthread_mutex_lock(&store->lock);
    refresh(store);
    current = store->current;
    pthread_mutex_unlock(&store->lock);
    return current;
}

bool tls_store_verifies(const struct tls_store *store)
{
    return store->files.authority != NULL;
}

/* --- what Core asks for ------------------------------------------------------------------------- */

static grpc_ssl_certificate_config_reload_status fetch(
    void *user, grpc_ssl_server_certificate_config **ret_config)
{
    struct tls_port *port = user;
    struct tls_store *store = port->store;
    grpc_ssl_certificate_config_reload_status status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;

    pthread_mutex_lock(&store->lock);
    refresh(store);
    if (port->generation != store->generation) {
        grpc_ssl_pem_key_cert_pair pair = {.private_key = store->pem.key,
                                           .cert_chain = store->pem.certificate};
        /* Core wants roots even when it asks clients for nothing; they are then never used. */
        const char *roots = store->pem.authority ? store->pem.authority : store->pem.certificate;

        *ret_config = grpc_ssl_server_certificate_config_create(roots, &pair, 1);
        port->generation = store->generation;
        status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

grpc_server_credentials *tls_store_port(struct tls_store *store)
{
    struct tls_port *port = calloc(1, sizeof(*port));

    CHECK(port);
    port->store = store;
    port->next = store->ports;
    store->ports = port;
    return grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            tls_store_verifies(store) ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                      : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            fetch, port));
}

/* --- life --------------------------------------------------------------------------------------- */

struct tls_store *tls_store_create(const struct stub_tls_files *files, stub_tls_report *report,
                                   void *user, char *ret_error, size_t error_bytes)
{
    struct tls_store *store;

    if (!files->certificate || !files->key) {
        snprintf(ret_error, error_bytes, "TLS needs both a certificate file and its key file");
        return NULL;
    }
    store = calloc(1, sizeof(*store));
    CHECK(store);
    CHECK(pthread_mutex_init(&store->lock, NULL) == 0);
    store->files.certificate = copy(files->certificate);
    store->files.key = copy(files->key);
    store->files.authority = copy(files->authority);
    store->report = report ? report : report_to_log;
    store->user = user;
    if (tls_store_refresh(store))
        return store;
    snprintf(ret_error, error_bytes, "%s",
             store->refused[0] ? store->refused : "TLS files change while they are read");
    tls_store_destroy(store);
    return NULL;
}

void tls_store_destroy(struct tls_store *store)
{
    if (!store)
        return;
    while (store->ports) {
        struct tls_port *port = store->ports;

        store->ports = port->next;
        free(port);
    }
    pem_done(&store->pem);
    files_free(&store->files);
    pthread_mutex_destroy(&store->lock);
    free(store);
}
