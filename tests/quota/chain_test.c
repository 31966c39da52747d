#include "quota/chain.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static const struct quota_ref quota = {17, 1764547200000};
static struct digest *digest;
static struct token_keys *keys;
static struct chain_signer *signer;
static int64_t numbers[10];
static struct chain_entry entry;

static struct token_keys *keys_from(const char *lines)
{
    struct token_keys *parsed = NULL;
    char error[256];

    cr_assert_eq(token_keys_parse(slice_from_cstr(lines), "test", &parsed, error, sizeof(error)),
                 STATUS_OK);
    return parsed;
}

static void set_up(void)
{
    const int64_t first[10] = {17, 1764547200000, 1, 50, 10, 18, 0, 7, 60, 0};

    digest = digest_create();
    keys = keys_from("1:" KEY_A);
    signer = chain_signer_create(keys);
    memcpy(numbers, first, sizeof(numbers));
    entry = (struct chain_entry){.tenant_id = 5,
                                 .job_id = SLICE("job-1"),
                                 .attempt = {3, 1234},
                                 .scope = SLICE("team-a"),
                                 .meter = SLICE("tokens"),
                                 .asked_given = true,
                                 .asked = 60,
                                 .amount = 50,
                                 .debt = 10,
                                 .held = 70,
                                 .late = true,
                                 .at_ms = 1764072060123,
                                 .numbers_count = 10,
                                 .numbers = numbers};
}

static void tear_down(void)
{
    chain_signer_destroy(signer);
    token_keys_destroy(keys);
    digest_destroy(digest);
}

TestSuite(chain, .init = set_up, .fini = tear_down);

static struct chain of_one(void)
{
    struct chain chain;

    chain_begin(&chain, digest, entry.tenant_id, quota);
    chain_add(&chain, digest, &entry, 0);
    return chain;
}

static bool equal(const struct chain *a, const struct chain *b)
{
    return memcmp(a->digest, b->digest, DIGEST_BYTES) == 0;
}

Test(chain, counts_entries_and_adds_their_amounts_up)
{
    struct chain chain = of_one();

    numbers[2] = 2;
    numbers[3] = 7;
    entry.at_ms++;
    chain_add(&chain, digest, &entry, 0);
    cr_assert_eq(chain.seq, 2);
    cr_assert_eq(chain.amount, 57);
    cr_assert_eq(chain.debt, 20);
    cr_assert_eq(chain.at_ms, 1764072060124);
}

Test(chain, is_the_same_for_the_same_entries_and_another_for_each_quota)
{
    struct chain one = of_one(), two = of_one(), other, empty;

    cr_assert(equal(&one, &two));
    chain_begin(&empty, digest, 5, quota);
    chain_begin(&other, digest, 6, quota);
    cr_assert_not(equal(&empty, &other));
    chain_begin(&other, digest, 5, (struct quota_ref){17, 0});
    cr_assert_not(equal(&empty, &other));
    chain_begin(&other, digest, 5, (struct quota_ref){18, 1764547200000});
    cr_assert_not(equal(&empty, &other));
}

/* The chain is another one with this field changed, and the first one again with it as it was. */
#define EXPECT_SEALED(member)                                                                      \
    do {                                                                                           \
        struct chain changed, again;                                                               \
        (member)++;                                                                                \
        changed = of_one();                                                                        \
        cr_assert_not(equal(&right, &changed), #member);                                           \
        (member)--;                                                                                \
        again = of_one();                                                                          \
        cr_assert(equal(&right, &again), #member);                                                 \
    } while (0)

Test(chain, every_field_of_an_entry_is_sealed)
{
    struct chain right = of_one(), other;

    EXPECT_SEALED(entry.entry);
    EXPECT_SEALED(entry.attempt.epoch);
    EXPECT_SEALED(entry.attempt.seq);
    EXPECT_SEALED(entry.asked);
    EXPECT_SEALED(entry.amount);
    EXPECT_SEALED(entry.debt);
    EXPECT_SEALED(entry.held);
    EXPECT_SEALED(entry.at_ms);
    for (size_t i = 3; i < 10; i++) /* the first three say which quota's it is, and its number */
        EXPECT_SEALED(numbers[i]);
    entry.late = false;
    other = of_one();
    cr_assert_not(equal(&right, &other));
    entry.late = true;
    entry.asked_given = false;
    other = of_one();
    cr_assert_not(equal(&right, &other));
    entry.asked_given = true;
    entry.numbers_count = 5;
    other = of_one();
    cr_assert_not(equal(&right, &other));
    entry.numbers_count = 10;
    entry.job_id = SLICE("job-2");
    other = of_one();
    cr_assert_not(equal(&right, &other));
}

Test(chain, where_one_text_ends_and_the_next_begins_is_sealed)
{
    struct chain right = of_one(), other;

    entry.job_id = SLICE("job-1t");
    entry.scope = SLICE("eam-a");
    other = of_one();
    cr_assert_not(equal(&right, &other));
}

Test(chain, entries_that_are_swapped_make_another_chain)
{
    struct chain right = of_one(), swapped;
    struct chain_entry second = entry;
    int64_t of_second[10];

    memcpy(of_second, numbers, sizeof(numbers));
    of_second[2] = 2;
    second.numbers = of_second;
    second.job_id = SLICE("job-2");
    chain_add(&right, digest, &second, 0);
    of_second[2] = 1;
    numbers[2] = 2;
    chain_begin(&swapped, digest, entry.tenant_id, quota);
    chain_add(&swapped, digest, &second, 0);
    chain_add(&swapped, digest, &entry, 0);
    cr_assert_eq(right.amount, swapped.amount);
    cr_assert_not(equal(&right, &swapped));
}

Test(chain, an_entry_of_another_number_is_a_bug, .signal = SIGABRT)
{
    numbers[2] = 2;
    of_one();
}

Test(chain, numbers_that_no_program_writes_do_no_harm)
{
    struct chain chain;

    numbers[3] = INT64_MAX;
    numbers[4] = INT64_MIN;
    chain = of_one();
    numbers[2] = 2;
    chain_add(&chain, digest, &entry, 0);
    cr_assert_eq(chain.seq, 2);
}

/* --- signatures ------------------------------------------------------------------------------- */

#define EXPECT_SIGNED(member)                                                                      \
    do {                                                                                           \
        (member)++;                                                                                \
        cr_assert_eq(chain_verify(signer, &chain, 4, &code), CHAIN_FORGED, #member);               \
        (member)--;                                                                                \
        cr_assert_eq(chain_verify(signer, &chain, 4, &code), CHAIN_GENUINE, #member);              \
    } while (0)

Test(chain, every_field_of_a_seal_is_signed)
{
    struct chain chain = of_one();
    struct chain_code code = chain_sign(signer, &chain, 4);

    EXPECT_SIGNED(chain.tenant_id);
    EXPECT_SIGNED(chain.ref.limit_id);
    EXPECT_SIGNED(chain.ref.period_start_ms);
    EXPECT_SIGNED(chain.seq);
    EXPECT_SIGNED(chain.amount);
    EXPECT_SIGNED(chain.debt);
    EXPECT_SIGNED(chain.at_ms);
    EXPECT_SIGNED(chain.digest[0]);
    EXPECT_SIGNED(chain.digest[DIGEST_BYTES - 1]);
    EXPECT_SIGNED(code.code[0]);
    EXPECT_SIGNED(code.code[CHAIN_CODE_BYTES - 1]);
    cr_assert_eq(chain_verify(signer, &chain, 5, &code), CHAIN_FORGED);
}

Test(chain, a_head_is_signed_and_is_no_seal)
{
    struct chain_code code = chain_sign_head(signer, 5, 12);
    struct chain chain = of_one();

    cr_assert_eq(chain_verify_head(signer, 5, 12, &code), CHAIN_GENUINE);
    cr_assert_eq(chain_verify_head(signer, 5, 11, &code), CHAIN_FORGED);
    cr_assert_eq(chain_verify_head(signer, 6, 12, &code), CHAIN_FORGED);
    cr_assert_eq(chain_verify(signer, &chain, 4, &code), CHAIN_FORGED);
}

Test(chain, seals_outlive_a_rotation_as_long_as_their_key_is_there)
{
    struct token_keys *rotated = keys_from("2:" KEY_B "\n1:" KEY_A), *later = keys_from("2:" KEY_B);
    struct chain_signer *now = chain_signer_create(rotated), *then = chain_signer_create(later);
    struct chain chain = of_one();
    struct chain_code old = chain_sign(signer, &chain, 1), new = chain_sign(now, &chain, 1);

    cr_assert_eq(old.kid, 1);
    cr_assert_eq(new.kid, 2);
    for (int i = 0; i < 2; i++) { /* the signer keeps one key ready, and changes it */
        cr_assert_eq(chain_verify(now, &chain, 1, &old), CHAIN_GENUINE);
        cr_assert_eq(chain_verify(now, &chain, 1, &new), CHAIN_GENUINE);
    }
    cr_assert_eq(chain_verify(then, &chain, 1, &old), CHAIN_UNKNOWN_KEY);
    old.kid = 2;
    cr_assert_eq(chain_verify(now, &chain, 1, &old), CHAIN_FORGED);
    chain_signer_destroy(now);
    chain_signer_destroy(then);
    token_keys_destroy(rotated);
    token_keys_destroy(later);
}

Test(chain, of_a_change_covers_all_of_it_and_is_not_one_of_the_ledger)
{
    struct chain ledger = of_one(), before, after;
    int64_t closed[2] = {4, 0};

    entry.change = (struct chain_change){
        .kind = 1, .id = SLICE("r"), .reason = SLICE("why"), .left = 5, .closed_count = 2,
        .closed = closed};
    before = of_one();
    cr_assert(!equal(&ledger, &before));
#define CHANGES(statement)                                                                         \
    do {                                                                                           \
        const struct chain_change was = entry.change;                                              \
        statement;                                                                                 \
        after = of_one();                                                                          \
        cr_assert(!equal(&before, &after), #statement);                                            \
        entry.change = was;                                                                        \
    } while (0)
    CHANGES(entry.change.kind = 2);
    CHANGES(entry.change.id = SLICE("s"));
    CHANGES(entry.change.reason = SLICE("who"));
    CHANGES(entry.change.left = 6);
    CHANGES(entry.change.closed_count = 0);
    CHANGES(closed[1] = 1);
#undef CHANGES
}
