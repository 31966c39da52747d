/*
 * Seals: what stands in the ledger cannot be taken out, changed or swapped unseen.
 *
 * The entries that are counted against a quota have the numbers 1, 2, 3 ... (ledger_seq). Its chain is
 *
 *     digest 0 = SHA-256(label, tenant, limit, period)
 *     digest n = SHA-256(digest n-1, the whole of the entry with number n)
 *
 * and its seal is the chain's end: how many entries, their sums, the digest, signed. The seals of a tenant
 * are numbered 1, 2, 3 ... too, in the order in which its quotas were first used, and the tenant's head
 * says how many there are, signed. So no seal can go unseen either, however old.
 *
 * Signed is an HMAC-SHA256 cut to 128 bits, under HMAC-SHA256(key of the file, "seal|"). Whoever has no
 * key of the file can only put all of it back to an earlier state; receipts show that (receipt.h).
 *
 * Pure; one thread at a time for each signer and digest.
 */
#ifndef HOLDFAST_QUOTA_CHAIN_H
#define HOLDFAST_QUOTA_CHAIN_H

#include "base/check.h"
#include "base/digest.h"
#include "base/hmac.h"
#include "base/slice.h"
#include "quota/hold.h"
#include "quota/token_keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a row of ledger_change has beside; kind 0: it is a row of the ledger. */
struct chain_change {
    int64_t kind;
    struct slice id, reason;
    int64_t left;
    size_t closed_count;
    const int64_t *closed;
};

/*
 * A row of the ledger or of ledger_change as it is stored: nothing in it is believed, all of it is sealed.
 * Of a change `entry` is its number in the job and `asked` its delta; amount, debt and held are 0.
 */
struct chain_entry {
    int64_t tenant_id;
    struct slice job_id;
    int64_t entry;
    struct attempt attempt;
    struct slice scope, meter;
    bool asked_given;
    int64_t asked, amount, debt, held; /* asked 0 if not given */
    bool late;
    int64_t at_ms;
    size_t numbers_count; /* of `counted`: five for each quota */
    const int64_t *numbers;
    struct chain_change change;
};

enum { CHAIN_NUMBERS = 5 };

/* The five numbers of one of the quotas that the entry counts against. */
struct chain_counted {
    struct quota_ref ref;
    int64_t seq, amount, debt;
};

/* i < numbers_count / CHAIN_NUMBERS */
struct chain_counted chain_counted(const struct chain_entry *entry, size_t i);

/* A chain up to an entry. */
struct chain {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t seq;          /* entries in it */
    int64_t amount, debt; /* their sums; of numbers that no program wrote: modulo 2^64 */
    int64_t at_ms;        /* time of the last entry; 0: none */
    uint8_t digest[DIGEST_BYTES];
};

/* An empty one. */
void chain_begin(struct chain *chain, struct digest *digest, int64_t tenant_id,
                 struct quota_ref ref);

/* The entry with number chain->seq + 1: its counted'th quota is the chain's. */
void chain_add(struct chain *chain, struct digest *digest, const struct chain_entry *entry,
               size_t counted);

/* --- signatures ------------------------------------------------------------------------------- */

enum { CHAIN_CODE_BYTES = HMAC_TAG_BYTES };

/* Of a seal, or of a head. */
struct chain_code {
    uint8_t kid;
    uint8_t code[CHAIN_CODE_BYTES];
};

struct chain_signer;

/* The keys are only read and must outlive it. */
struct chain_signer *chain_signer_create(const struct token_keys *keys);
void chain_signer_destroy(struct chain_signer *signer); /* accepts NULL */

/* By the first key. number: of the seal among those of its tenant. */
struct chain_code chain_sign(struct chain_signer *signer, const struct chain *chain,
                             int64_t number);
struct chain_code chain_sign_head(struct chain_signer *signer, int64_t tenant_id, int64_t seals);

enum chain_verdict { CHAIN_GENUINE, CHAIN_FORGED, CHAIN_UNKNOWN_KEY };

enum chain_verdict chain_verify(struct chain_signer *signer, const struct chain *chain,
                                int64_t number, const struct chain_code *code);
enum chain_verdict chain_verify_head(struct chain_signer *signer, int64_t tenant_id, int64_t seals,
                                     const struct chain_code *code);

#endif
