#include "quota/token.h"

#include "base/amount.h"
#include "base/bytes.h"
#include "base/entropy.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

static struct token_keys *keys;
static struct token_seal *seal;
static struct arena arena;
static struct token token;

static struct hold_meter meters[] = {{{"tokens", 6}, 60}, {{"requests", 8}, 1}};
static struct hold_quota quotas[] = {
    {0, {17, 1764547200000}, 3145729, 60},
    {0, {18, 1764072000000}, 3145730, 60},
    {1, {19, 0}, 3145729, 1},
};
static const struct token issued = {
    .tenant = {"acme", 4},
    .job_id = {"job-1", 5},
    .hold = {.attempt = {3, 1234},
             .deadline_ms = 1764072060000,
             .created_ms = 1764072000000,
             .scope = {"team-a/user-7", 13},
             .mode = 1,
             .meters_count = 2,
             .meters = meters,
             .quotas_count = 3,
             .quotas = quotas},
};

static void set_up(void)
{
    char error[256];

    cr_assert_eq(token_keys_parse(
                     SLICE("9:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
                     "test", &keys, error, sizeof(error)),
                 STATUS_OK);
    seal = token_seal_create(keys, TOKEN_OF_RESERVATION);
    arena_init(&arena, 1024, 1 << 24);
}

static void tear_down(void)
{
    arena_done(&arena);
    token_seal_destroy(seal);
    token_keys_destroy(keys);
}

TestSuite(token, .init = set_up, .fini = tear_down);

static enum token_verdict verify(const char *text, size_t len)
{
    return token_verify(seal, &arena, issued.tenant, slice_of(text, len), &token);
}

static void expect_equal_warnings(const struct hold_warning *a, const struct hold_warning *b)
{
    cr_assert(slice_equal(a->limit_name, b->limit_name));
    cr_assert_eq(a->scope_len, b->scope_len);
    cr_assert_eq(a->projected, b->projected);
    cr_assert_eq(a->soft, b->soft);
    cr_assert_eq(a->amount, b->amount);
    cr_assert_eq(a->cap, b->cap);
}

static void expect_equal(const struct token *a, const struct token *b)
{
    cr_assert(slice_equal(a->tenant, b->tenant));
    cr_assert(slice_equal(a->job_id, b->job_id));
    cr_assert_eq(a->hold.attempt.epoch, b->hold.attempt.epoch);
    cr_assert_eq(a->hold.attempt.seq, b->hold.attempt.seq);
    cr_assert_eq(a->hold.deadline_ms, b->hold.deadline_ms);
    cr_assert_eq(a->hold.created_ms, b->hold.created_ms);
    cr_assert(slice_equal(a->hold.scope, b->hold.scope));
    cr_assert_eq(a->hold.mode, b->hold.mode);
    cr_assert_eq(a->hold.meters_count, b->hold.meters_count);
    for (size_t i = 0; i < a->hold.meters_count; i++) {
        cr_assert(slice_equal(a->hold.meters[i].meter, b->hold.meters[i].meter));
        cr_assert_eq(a->hold.meters[i].units, b->hold.meters[i].units);
    }
    cr_assert_eq(a->hold.quotas_count, b->hold.quotas_count);
    for (size_t i = 0; i < a->hold.quotas_count; i++) {
        const struct hold_quota *p = &a->hold.quotas[i];
        const struct hold_quota *q = &b->hold.quotas[i];

        cr_assert_eq(p->meter, q->meter);
        cr_assert_eq(p->quota.limit_id, q->quota.limit_id);
        cr_assert_eq(p->quota.period_start_ms, q->quota.period_start_ms);
        cr_assert_eq(p->lease_id, q->lease_id);
        cr_assert_eq(p->units, q->units);
    }
    cr_assert_eq(!a->hold.warnings, !b->hold.warnings);
    for (size_t i = 0; a->hold.warnings && i < a->hold.quotas_count; i++)
        expect_equal_warnings(&a->hold.warnings[i], &b->hold.warnings[i]);
}

Test(token, hold_comes_back_as_it_was_issued)
{
    char *text = token_issue(seal, &arena, &issued);

    cr_assert_not_null(text);
    cr_assert_eq(verify(text, strlen(text)), TOKEN_GENUINE);
    expect_equal(&token, &issued);
}

Test(token, hold_without_scope_or_units_comes_back)
{
    struct hold_meter nothing = {{"tokens", 6}, 0};
    struct token small = {.tenant = issued.tenant, .job_id = {"j", 1}};
    char *text;

    small.hold = (struct hold){.mode = 1, .meters_count = 1, .meters = &nothing};
    text = token_issue(seal, &arena, &small);
    cr_assert_eq(verify(text, strlen(text)), TOKEN_GENUINE);
    expect_equal(&token, &small);
    cr_assert_lt(strlen(text), 80);
}

Test(token, warnings_come_back_for_the_quotas_that_warned)
{
    struct hold_warning warnings[3] = {[2] = {.limit_name = {"month", 5},
                                              .scope_len = 6,
                                              .projected = 95,
                                              .soft = 80,
                                              .amount = 100,
                                              .cap = 110}};
    struct token warned = issued;
    char *text;

    warned.hold.warnings = warnings;
    text = token_issue(seal, &arena, &warned);
    cr_assert_eq(verify(text, strlen(text)), TOKEN_GENUINE);
    expect_equal(&token, &warned);
}

Test(token, largest_hold_fits)
{
    static char name[SCOPE_BYTES_MAX], names[HOLD_METERS_MAX][NAME_BYTES_MAX];
    struct hold_meter many_meters[HOLD_METERS_MAX];
    struct hold_quota many_quotas[HOLD_QUOTAS_MAX];
    struct hold_warning many_warnings[HOLD_QUOTAS_MAX];
    struct token large = {.tenant = {name, NAME_BYTES_MAX}, .job_id = {name, JOB_ID_BYTES_MAX}};
    char *text;

    memset(name, 'x', sizeof(name));
    for (size_t i = 0; i < HOLD_METERS_MAX; i++) {
        memset(names[i], 'x', NAME_BYTES_MAX);
        names[i][0] = (char)('A' + i);
        many_meters[i] = (struct hold_meter){{names[i], NAME_BYTES_MAX}, AMOUNT_MAX};
    }
    for (uint32_t i = 0; i < HOLD_QUOTAS_MAX; i++)
        many_quotas[i] = (struct hold_quota){i % HOLD_METERS_MAX,
                                             {INT64_MAX - i, INT64_MAX},
                                             INT64_MAX,
                                             AMOUNT_MAX};
    for (size_t i = 0; i < HOLD_QUOTAS_MAX; i++)
        many_warnings[i] = (struct hold_warning){{name, NAME_BYTES_MAX},
                                                 SCOPE_BYTES_MAX,
                                                 AMOUNT_MAX,
                                                 AMOUNT_MAX,
                                                 AMOUNT_MAX,
                                                 AMOUNT_MAX};
    large.hold = (struct hold){.attempt = {INT64_MAX, INT64_MAX},
                               .deadline_ms = INT64_MAX,
                               .created_ms = INT64_MAX,
                               .scope = {name, SCOPE_BYTES_MAX},
                               .mode = INT32_MAX,
                               .meters_count = HOLD_METERS_MAX,
                               .meters = many_meters,
                               .quotas_count = HOLD_QUOTAS_MAX,
                               .quotas = many_quotas,
                               .warnings = many_warnings};
    text = token_issue(seal, &arena, &large);
    cr_assert_not_null(text);
    cr_assert_eq(token_verify(seal, &arena, large.tenant, slice_from_cstr(text), &token),
                 TOKEN_GENUINE);
    expect_equal(&token, &large);
}

/* Whoever has the key can seal anything; a server is not brought down by it. */
Test(token, sealed_holds_that_no_server_makes_are_refused)
{
    struct hold_meter two_meters[] = {meters[0], meters[1]};
    struct hold_quota three_quotas[] = {quotas[0], quotas[1], quotas[2]};
    struct token odd = issued;
    char *text;

    odd.hold.meters = two_meters;
    odd.hold.quotas = three_quotas;
    three_quotas[1].quota = three_quotas[0].quota;
    text = token_issue(seal, &arena, &odd);
    cr_assert_eq(verify(text, strlen(text)), TOKEN_FORGED, "a quota twice");
    three_quotas[1] = quotas[1];
    two_meters[1].meter = two_meters[0].meter;
    text = token_issue(seal, &arena, &odd);
    cr_assert_eq(verify(text, strlen(text)), TOKEN_FORGED, "a meter twice");
    odd.hold.meters_count = odd.hold.quotas_count = 0;
    text = token_issue(seal, &arena, &odd);
    cr_assert_eq(verify(text, strlen(text)), TOKEN_FORGED, "nothing held");
}

Test(token, every_flipped_bit_is_refused)
{
    char *text = token_issue(seal, &arena, &issued);
    size_t len = strlen(text);

    for (size_t bit = 0; bit < 8 * len; bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        cr_assert_eq(verify(text, len), TOKEN_FORGED, "bit %zu", bit);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    }
    cr_assert_eq(verify(text, len), TOKEN_GENUINE);
}

Test(token, truncated_and_lengthened_ids_are_refused)
{
    char *text = token_issue(seal, &arena, &issued);
    size_t len = strlen(text);
    static char longer[3 * TOKEN_TEXT_MAX];

    for (size_t shorter = 0; shorter < len; shorter++)
        cr_assert_eq(verify(text, shorter), TOKEN_FORGED);
    memset(longer, 'A', sizeof(longer));
    memcpy(longer, text, len);
    for (size_t more = len + 1; more < len + 12; more++)
        cr_assert_eq(verify(longer, more), TOKEN_FORGED);
    cr_assert_eq(verify(longer, sizeof(longer)), TOKEN_FORGED);
}

Test(token, other_tenant_is_refused)
{
    char *text = token_issue(seal, &arena, &issued);

    cr_assert_eq(token_verify(seal, &arena, SLICE("acme2"), slice_from_cstr(text), &token),
                 TOKEN_FORGED);
    cr_assert_eq(token_verify(seal, &arena, SLICE(""), slice_from_cstr(text), &token),
                 TOKEN_FORGED);
    cr_assert_eq(token.tenant.len, 0, "a refused id writes nothing");
}

/* Bodies that only our own key could have signed are still read with care. */
Test(token, genuine_seal_around_nonsense_is_refused)
{
    struct entropy_seeded random;
    uint64_t seed = entropy_u64(entropy_real());
    char text[TOKEN_TEXT_MAX + 1];

    entropy_seeded_init(&random, seed);
    for (int i = 0; i < 20000; i++) {
        uint8_t body[96];
        struct bytes_writer writer = bytes_writer_on(body, sizeof(body));
        size_t size = 1 + entropy_below(&random.entropy, sizeof(body) - 16);
        uint8_t noise[96];

        entropy_fill(&random.entropy, noise, sizeof(noise));
        if (i % 2)
            bytes_write_string(&writer, issued.tenant);
        if (i % 4 > 1)
            for (size_t at = 0; at < sizeof(noise); at++)
                noise[at] &= 3;
        bytes_write_raw(&writer, noise, size);
        size = token_seal_close(seal, issued.tenant, bytes_written(&writer), text);
        arena_reset(&arena);
        if (verify(text, size) == TOKEN_GENUINE) {
            cr_assert(slice_equal(token.tenant, issued.tenant));
            cr_assert_leq(token.hold.meters_count, HOLD_METERS_MAX);
            for (size_t q = 0; q < token.hold.quotas_count; q++)
                cr_assert_lt(token.hold.quotas[q].meter, token.hold.meters_count,
                             "seed %llu round %d", (unsigned long long)seed, i);
            /* What is accepted is exactly what we would have written. */
            cr_assert_str_eq(token_issue(seal, &arena, &token), text);
        }
    }
}

Test(token, one_byte_more_in_the_body_is_refused)
{
    char *text = token_issue(seal, &arena, &issued);
    uint8_t raw[TOKEN_RAW_MAX];
    char padded[TOKEN_BODY_MAX] = {0};
    char sealed[TOKEN_TEXT_MAX + 1];
    struct slice body;

    cr_assert(token_seal_open(seal, issued.tenant, slice_from_cstr(text), raw, &body));
    memcpy(padded, body.data, body.len);
    cr_assert_eq(verify(sealed, token_seal_close(seal, issued.tenant,
                                                 slice_of(padded, body.len + 1), sealed)),
                 TOKEN_FORGED);
    for (size_t len = 1; len < body.len; len++)
        cr_assert_eq(verify(sealed,
                            token_seal_close(seal, issued.tenant, slice_of(padded, len), sealed)),
                     TOKEN_FORGED);
}

Test(token, tenant_can_be_read_before_anything_is_verified)
{
    char *text = token_issue(seal, &arena, &issued);
    struct slice tenant;

    cr_assert(token_tenant(TOKEN_OF_RESERVATION, &arena, slice_from_cstr(text), &tenant));
    cr_assert(slice_equal_cstr(tenant, "acme"));
    cr_assert_not(token_tenant(TOKEN_OF_RESERVATION, &arena, SLICE(""), &tenant));
    cr_assert_not(token_tenant(TOKEN_OF_RESERVATION, &arena, SLICE("hf1.AQE"), &tenant));
    cr_assert_not(
        token_tenant(TOKEN_OF_RESERVATION, &arena, slice_of(text + 1, strlen(text) - 1), &tenant));
}

Test(token, arena_without_room_is_told_apart_from_forgery)
{
    char *text = token_issue(seal, &arena, &issued);
    int refused = 0;

    for (size_t limit = 16; limit < 1024; limit += 16) {
        struct arena small;
        enum token_verdict verdict;

        arena_init(&small, 16, limit);
        verdict = token_verify(seal, &small, issued.tenant, slice_from_cstr(text), &token);
        cr_assert_neq(verdict, TOKEN_FORGED);
        refused += verdict == TOKEN_NO_MEMORY;
        arena_done(&small);
    }
    cr_assert(refused > 3 && refused < 40);
    arena_done(&arena);
    arena_init(&arena, 16, 32);
    cr_assert_null(token_issue(seal, &arena, &issued));
}

Test(token, negative_number_is_a_bug, .signal = SIGABRT)
{
    struct token wrong = issued;

    wrong.hold.deadline_ms = -1;
    cr_assert_null(token_issue(seal, &arena, &wrong));
}
