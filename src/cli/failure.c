#include "cli/failure.h"

#include "cli/duration.h"

#include <string.h>

static const struct {
    const char *reason;
    const char *advice;
} advices[] = {
    {"INVALID_FIELD", "correct the fields named above"},
    {"MALFORMED_MESSAGE", "correct the message; strings must be UTF-8 without NUL"},
    {"UNKNOWN_TENANT", "create the tenant first, for example with `holdfast apply`"},
    {"UNKNOWN_JOB", "check tenant and job; a commit may still succeed with the reservation_id"},
    {"UNKNOWN_LIMIT", "see `holdfast usage` for the limits of the tenant"},
    {"NO_LIMIT", "add a limit for the meter, or let the tenant admit unlimited meters"},
    {"JOB_MISMATCH", "use another job, or repeat the call with the same parameters"},
    {"RELEASED", "this attempt was given back; reserve anew"},
    {"EXPIRED", "the hold has ended; reserve anew"},
    {"COMMITTED", "the job is on the record; there is nothing left to do"},
    {"OVERRUN", "the hold stays: commit less, or with :record or :cap"},
    {"AMOUNT_BOUND", "a repeat changes nothing: no sum goes past 2^53-1"},
    {"ETAG_MISMATCH", "it has changed meanwhile: read it again, then decide"},
    {"CONTENTION", "repeat after a short pause"},
    {"REQUEST_ID_REUSED", "use a new request id"},
    {"TENANT_EXISTS", "update it instead; with `holdfast apply`, apply the file again"},
    {"REDIS_UNAVAILABLE", "repeat with the same job; a commit by reservation_id works meanwhile"},
    {"POSTGRES_UNAVAILABLE", "repeat with the same job; a hold can be extended meanwhile"},
    {"SHARD_RECOVERING", "repeat in a second"},
    {"DRAINING", "repeat on another server, or when this one is back"},
    {"OVERLOADED", "pause, then repeat; send fewer calls at once"},
    {"DEADLINE", "repeat with the same job, perhaps with a longer --timeout"},
    {"SEQ_TOO_OLD", "watch again without a position, from a snapshot"},
    {"SEQ_TOO_NEW", "watch again without a position, from a snapshot"},
};

static Google__Rpc__ErrorInfo *own_info(const struct stub_status *status)
{
    Google__Rpc__ErrorInfo *info =
        (Google__Rpc__ErrorInfo *)(void *)stub_status_detail(status,
                                                             &google__rpc__error_info__descriptor);

    if (info && strcmp(info->domain, "holdfast") != 0) {
        protobuf_c_message_free_unpacked(&info->base, NULL);
        info = NULL;
    }
    return info;
}

/* Without an ErrorInfo of ours only the transport's own two refusals are known to have no effect. */
static enum failure_effect effect_of(int code, const Google__Rpc__ErrorInfo *info)
{
    if (!info)
        return code == STUB_UNIMPLEMENTED || code == STUB_RESOURCE_EXHAUSTED
                   ? FAILURE_EFFECT_DEFINITE
                   : FAILURE_EFFECT_UNKNOWN;
    for (size_t i = 0; i < info->n_metadata; i++) {
        if (strcmp(info->metadata[i]->key, "effect") == 0)
            return strcmp(info->metadata[i]->value, "definite") == 0 ? FAILURE_EFFECT_DEFINITE
                                                                     : FAILURE_EFFECT_UNKNOWN;
    }
    return FAILURE_EFFECT_UNKNOWN;
}

void failure_read(const struct stub_status *status, struct failure *ret)
{
    *ret = (struct failure){
        .code = status->code,
        .message = status->message ? status->message : "",
        .server = stub_status_metadata(status, "holdfast-server"),
        .info = own_info(status),
        .bad = (Google__Rpc__BadRequest *)(void *)
            stub_status_detail(status, &google__rpc__bad_request__descriptor),
        .retry = (Google__Rpc__RetryInfo *)(void *)
            stub_status_detail(status, &google__rpc__retry_info__descriptor),
    };
    ret->reason = ret->info ? ret->info->reason : "";
    ret->effect = effect_of(ret->code, ret->info);
}

void failure_of_read(struct failure *failure)
{
    failure->read_only = true;
    failure->effect = FAILURE_EFFECT_DEFINITE;
}

void failure_done(struct failure *failure)
{
    if (failure->info)
        protobuf_c_message_free_unpacked(&failure->info->base, NULL);
    if (failure->bad)
        protobuf_c_message_free_unpacked(&failure->bad->base, NULL);
    if (failure->retry)
        protobuf_c_message_free_unpacked(&failure->retry->base, NULL);
    *failure = (struct failure){0};
}

bool failure_is_transient(const struct failure *failure)
{
    switch (failure->code) {
    case STUB_UNAVAILABLE:
    case STUB_DEADLINE_EXCEEDED:
        return true;
    case STUB_ABORTED:
        return strcmp(failure->reason, "CONTENTION") == 0;
    case STUB_RESOURCE_EXHAUSTED:
        return strcmp(failure->reason, "OVERLOADED") == 0;
    case STUB_CANCELLED:
    case STUB_UNKNOWN:
    case STUB_INTERNAL:
        return failure->info == NULL; /* a connection that broke in the middle of a call */
    }
    return false;
}

/* A sentence that tells what to do about the reason; "" if there is nothing to say. Static. */
static const char *advice_for(const struct failure *failure)
{
    if (failure->read_only && *failure->reason && failure_is_transient(failure))
        return "try again in a moment";
    for (size_t i = 0; i < ARRAY_COUNT(advices); i++) {
        if (strcmp(advices[i].reason, failure->reason) == 0)
            return advices[i].advice;
    }
    if (failure->code == STUB_UNAVAILABLE || failure->code == STUB_DEADLINE_EXCEEDED)
        return "is the server running there? see --server; --tls-ca if it wants TLS, --tls-cert and "
               "--tls-key if it asks for a certificate";
    if (failure->effect == FAILURE_EFFECT_UNKNOWN)
        return "repeat with the same job: the answer tells what happened";
    return "";
}

static const char *effect_name(const struct failure *failure)
{
    return failure->effect == FAILURE_EFFECT_DEFINITE ? "definite" : "unknown";
}

static const char *effect_text(const struct failure *failure)
{
    if (failure->read_only)
        return "none: it changes nothing";
    return failure->effect == FAILURE_EFFECT_DEFINITE ? "definite: nothing was changed"
                                                      : "unknown: it may have been carried out";
}

void failure_print(const struct failure *failure, FILE *out)
{
    const char *advice = advice_for(failure);

    fprintf(out, "holdfast: %s", stub_code_name(failure->code));
    if (*failure->reason)
        fprintf(out, " (%s)", failure->reason);
    fprintf(out, ": %s\n", failure->message);
    for (size_t i = 0; failure->bad && i < failure->bad->n_field_violations; i++)
        fprintf(out, "  field   %s: %s\n", failure->bad->field_violations[i]->field,
                failure->bad->field_violations[i]->description);
    for (size_t i = 0; failure->info && i < failure->info->n_metadata; i++) {
        if (strcmp(failure->info->metadata[i]->key, "effect") != 0)
            fprintf(out, "  %s: %s\n", failure->info->metadata[i]->key,
                    failure->info->metadata[i]->value);
    }
    fprintf(out, "  effect  %s\n", effect_text(failure));
    if (failure->retry && failure->retry->retry_delay) {
        char text[DURATION_TEXT_BYTES];

        fprintf(out, "  retry   after %s\n",
                duration_format(failure->retry->retry_delay->seconds * 1000000 +
                                    failure->retry->retry_delay->nanos / 1000,
                                text));
    }
    if (*advice)
        fprintf(out, "  advice  %s\n", advice);
    if (failure->server)
        fprintf(out, "  server  %s\n", failure->server);
}

json_t *failure_json(const struct failure *failure)
{
    json_t *error = json_object(), *violations = json_array(), *metadata = json_object();

    CHECK(error && violations && metadata);
    for (size_t i = 0; failure->bad && i < failure->bad->n_field_violations; i++)
        json_array_append_new(violations,
                              json_pack("{s:s, s:s}", "field",
                                        failure->bad->field_violations[i]->field, "description",
                                        failure->bad->field_violations[i]->description));
    for (size_t i = 0; failure->info && i < failure->info->n_metadata; i++)
        json_object_set_new(metadata, failure->info->metadata[i]->key,
                            json_string(failure->info->metadata[i]->value));
    json_object_set_new(error, "code", json_string(stub_code_name(failure->code)));
    json_object_set_new(error, "reason", json_string(failure->reason));
    json_object_set_new(error, "message", json_string(failure->message));
    json_object_set_new(error, "effect", json_string(effect_name(failure)));
    json_object_set_new(error, "violations", violations);
    json_object_set_new(error, "metadata", metadata);
    json_object_set_new(error, "advice", json_string(advice_for(failure)));
    return json_pack("{s:o}", "error", error);
}
