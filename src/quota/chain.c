#include "quota/chain.h"

#include <stdlib.h>
#include <string.h>

/* Numbers are eight bytes, lowest first, and texts have their length in front: no two records are equal. */
enum { NUMBER_BYTES = 8, MESSAGE_NUMBERS_MAX = 16 };

static const char chain_label[] = "holdfast.seal.1";
static const char change_label[] = "holdfast.change.1"; /* no number of a tenant begins so */
static const char key_label[] = "seal|";
static const char head_label[] = "head", seal_label[] = "seal";

struct message {
    uint8_t bytes[MESSAGE_NUMBERS_MAX * NUMBER_BYTES];
    size_t len;
};

static void put(uint8_t *at, int64_t number)
{
    for (size_t i = 0; i < NUMBER_BYTES; i++)
        at[i] = (uint8_t)((uint64_t)number >> (8 * i));
}

static void add_number(struct message *message, int64_t number)
{
    CHECK(message->len + NUMBER_BYTES <= sizeof(message->bytes));
    put(message->bytes + message->len, number);
    message->len += NUMBER_BYTES;
}

static struct slice written(const struct message *message)
{
    return slice_of(message->bytes, message->len);
}

/* --- chains ----------------------------------------------------------------------------------- */

struct chain_counted chain_counted(const struct chain_entry *entry, size_t i)
{
    const int64_t *numbers = entry->numbers + i * CHAIN_NUMBERS;

    CHECK((i + 1) * CHAIN_NUMBERS <= entry->numbers_count);
    return (struct chain_counted){
        .ref = {.limit_id = numbers[0], .period_start_ms = numbers[1]},
        .seq = numbers[2],
        .amount = numbers[3],
        .debt = numbers[4],
    };
}

void chain_begin(struct chain *chain, struct digest *digest, int64_t tenant_id,
                 struct quota_ref ref)
{
    struct message message = {.len = 0};

    *chain = (struct chain){.tenant_id = tenant_id, .ref = ref};
    add_number(&message, tenant_id);
    add_number(&message, ref.limit_id);
    add_number(&message, ref.period_start_ms);
    digest_begin(digest);
    digest_add(digest, slice_from_cstr(chain_label));
    digest_add(digest, written(&message));
    digest_end(digest, chain->digest);
}

static void add_numbers(struct digest *digest, const int64_t *numbers, size_t count)
{
    uint8_t bytes[MESSAGE_NUMBERS_MAX * NUMBER_BYTES];
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        put(bytes + len, numbers[i]);
        len += NUMBER_BYTES;
        if (len < sizeof(bytes) && i + 1 < count)
            continue;
        digest_add(digest, slice_of(bytes, len));
        len = 0;
    }
}

/* In front of the entry. */
static void add_change(struct digest *digest, const struct chain_change *change)
{
    struct message message = {.len = 0};

    add_number(&message, change->kind);
    add_number(&message, change->left);
    add_number(&message, (int64_t)change->id.len);
    add_number(&message, (int64_t)change->reason.len);
    add_number(&message, (int64_t)change->closed_count);
    digest_add(digest, slice_from_cstr(change_label));
    digest_add(digest, written(&message));
    digest_add(digest, change->id);
    digest_add(digest, change->reason);
    add_numbers(digest, change->closed, change->closed_count);
}

static void add_entry(struct digest *digest, const struct chain_entry *entry)
{
    struct message message = {.len = 0};

    add_number(&message, entry->tenant_id);
    add_number(&message, entry->entry);
    add_number(&message, entry->attempt.epoch);
    add_number(&message, entry->attempt.seq);
    add_number(&message, entry->asked_given ? entry->asked : -1);
    add_number(&message, entry->amount);
    add_number(&message, entry->debt);
    add_number(&message, entry->held);
    add_number(&message, (entry->late ? 2 : 0) + (entry->asked_given ? 1 : 0));
    add_number(&message, entry->at_ms);
    add_number(&message, (int64_t)entry->job_id.len);
    add_number(&message, (int64_t)entry->scope.len);
    add_number(&message, (int64_t)entry->meter.len);
    add_number(&message, (int64_t)entry->numbers_count);
    digest_add(digest, written(&message));
    digest_add(digest, entry->job_id);
    digest_add(digest, entry->scope);
    digest_add(digest, entry->meter);
    add_numbers(digest, entry->numbers, entry->numbers_count);
}

static int64_t sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

void chain_add(struct chain *chain, struct digest *digest, const struct chain_entry *entry,
               size_t counted)
{
    struct chain_counted of = chain_counted(entry, counted);

    CHECK(entry->tenant_id == chain->tenant_id && quota_ref_equal(of.ref, chain->ref));
    CHECK(of.seq == sum(chain->seq, 1));
    digest_begin(digest);
    digest_add(digest, slice_of(chain->digest, DIGEST_BYTES));
    if (entry->change.kind != 0)
        add_change(digest, &entry->change);
    add_entry(digest, entry);
    digest_end(digest, chain->digest);
    chain->seq = of.seq;
    chain->amount = sum(chain->amount, of.amount);
    chain->debt = sum(chain->debt, of.debt);
    chain->at_ms = entry->at_ms;
}

/* --- signatures ------------------------------------------------------------------------------- */

struct chain_signer {
    const struct token_keys *keys;
    struct hmac *hmac; /* has the derived key of `kid` */
    uint8_t kid;       /* 0: none */
};

struct chain_signer *chain_signer_create(const struct token_keys *keys)
{
    struct chain_signer *signer = calloc(1, sizeof(*signer));

    CHECK(signer);
    signer->keys = keys;
    signer->hmac = hmac_create();
    return signer;
}

void chain_signer_destroy(struct chain_signer *signer)
{
    if (!signer)
        return;
    hmac_destroy(signer->hmac);
    free(signer);
}

static void use(struct chain_signer *signer, const struct token_key *key)
{
    uint8_t derived[HMAC_BYTES];

    if (signer->kid == key->kid)
        return;
    hmac_key(signer->hmac, key->key, sizeof(key->key));
    hmac_sign(signer->hmac, slice_from_cstr(key_label), derived);
    hmac_key(signer->hmac, derived, sizeof(derived));
    hmac_forget(derived, sizeof(derived));
    signer->kid = key->kid;
}

static void code_of(struct chain_signer *signer, const struct token_key *key, struct slice label,
                    const struct message *message, struct slice digest, struct chain_code *ret)
{
    uint8_t whole[HMAC_BYTES];

    use(signer, key);
    hmac_begin(signer->hmac);
    hmac_add(signer->hmac, label);
    hmac_add(signer->hmac, slice_of(&key->kid, sizeof(key->kid)));
    hmac_add(signer->hmac, written(message));
    hmac_add(signer->hmac, digest);
    hmac_end(signer->hmac, whole);
    ret->kid = key->kid;
    memcpy(ret->code, whole, CHAIN_CODE_BYTES);
}

static void code_seal(struct chain_signer *signer, const struct token_key *key,
                      const struct chain *chain, int64_t number, struct chain_code *ret)
{
    struct message message = {.len = 0};

    add_number(&message, chain->tenant_id);
    add_number(&message, chain->ref.limit_id);
    add_number(&message, chain->ref.period_start_ms);
    add_number(&message, number);
    add_number(&message, chain->seq);
    add_number(&message, chain->amount);
    add_number(&message, chain->debt);
    add_number(&message, chain->at_ms);
    code_of(signer, key, slice_from_cstr(seal_label), &message,
            slice_of(chain->digest, DIGEST_BYTES), ret);
}

static void code_head(struct chain_signer *signer, const struct token_key *key, int64_t tenant_id,
                      int64_t seals, struct chain_code *ret)
{
    struct message message = {.len = 0};

    add_number(&message, tenant_id);
    add_number(&message, seals);
    code_of(signer, key, slice_from_cstr(head_label), &message, slice_of(NULL, 0), ret);
}

struct chain_code chain_sign(struct chain_signer *signer, const struct chain *chain, int64_t number)
{
    struct chain_code code;

    code_seal(signer, token_keys_first(signer->keys), chain, number, &code);
    return code;
}

struct chain_code chain_sign_head(struct chain_signer *signer, int64_t tenant_id, int64_t seals)
{
    struct chain_code code;

    code_head(signer, token_keys_first(signer->keys), tenant_id, seals, &code);
    return code;
}

static enum chain_verdict judge(const struct chain_code *right, const struct chain_code *code)
{
    return hmac_equal(right->code, code->code, CHAIN_CODE_BYTES) ? CHAIN_GENUINE : CHAIN_FORGED;
}

enum chain_verdict chain_verify(struct chain_signer *signer, const struct chain *chain,
                                int64_t number, const struct chain_code *code)
{
    const struct token_key *key = token_keys_find(signer->keys, code->kid);
    struct chain_code right;

    if (!key)
        return CHAIN_UNKNOWN_KEY;
    code_seal(signer, key, chain, number, &right);
    return judge(&right, code);
}

enum chain_verdict chain_verify_head(struct chain_signer *signer, int64_t tenant_id, int64_t seals,
                                     const struct chain_code *code)
{
    const struct token_key *key = token_keys_find(signer->keys, code->kid);
    struct chain_code right;

    if (!key)
        return CHAIN_UNKNOWN_KEY;
    code_head(signer, key, tenant_id, seals, &right);
    return judge(&right, code);
}
