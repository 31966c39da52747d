#include "quota/receipt.h"

#include "base/bytes.h"

#include <criterion/criterion.h>
#include <string.h>

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static const struct slice acme = {"acme", 4};
static struct token_keys *keys;
static struct token_seal *seal;
static struct arena arena;

static struct settle_counted of_tokens[] = {
    {{17, 1764547200000}, 41, 50, 10},
    {{18, 0}, 1042, 60, 0},
};
static struct settle_counted of_requests[] = {{{19, 0}, 7, 1, 0}};
static struct settle_entry entries[2];
static struct receipt issued;

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
    keys = keys_from("1:" KEY_A);
    seal = token_seal_create(keys, TOKEN_OF_RECEIPT);
    arena_init(&arena, 1024, 1 << 24);
    entries[0] = (struct settle_entry){.meter = SLICE("tokens"),
                                       .asked_given = true,
                                       .asked = 60,
                                       .amount = 50,
                                       .debt = 10,
                                       .held = 70,
                                       .counted_count = 2,
                                       .counted = of_tokens};
    entries[1] = (struct settle_entry){.meter = SLICE("requests"),
                                       .asked = 1,
                                       .amount = 1,
                                       .held = 1,
                                       .counted_count = 1,
                                       .counted = of_requests};
    issued = (struct receipt){
        .tenant = acme,
        .job_id = SLICE("job-1"),
        .record = {.attempt = {3, 1234},
                   .scope = SLICE("team-a"),
                   .late = true,
                   .at_ms = 1764072060123,
                   .entries_count = 2,
                   .entries = entries},
    };
}

static void tear_down(void)
{
    arena_done(&arena);
    token_seal_destroy(seal);
    token_keys_destroy(keys);
}

TestSuite(receipt, .init = set_up, .fini = tear_down);

static char *issue(void)
{
    char *text = receipt_issue(seal, &arena, &issued);

    cr_assert(text);
    return text;
}

static struct receipt genuine(const char *text)
{
    struct receipt read;

    cr_assert_eq(receipt_verify(seal, &arena, acme, slice_from_cstr(text), &read), TOKEN_GENUINE);
    return read;
}

Test(receipt, says_all_that_the_record_says)
{
    struct receipt read = genuine(issue());

    cr_assert(slice_equal(read.tenant, acme));
    cr_assert(slice_equal(read.job_id, issued.job_id));
    cr_assert_null(receipt_difference(&arena, &read, &issued.record));
    cr_assert_eq(read.record.at_ms, issued.record.at_ms);
}

Test(receipt, is_the_same_bytes_for_the_same_record)
{
    struct settle_entry again[2];

    char *first = issue();

    memcpy(again, entries, sizeof(again));
    again[0].asked_given = false; /* how it was asked is no part of what was recorded */
    issued.record.entries = again;
    cr_assert_str_eq(issue(), first);
}

Test(receipt, begins_with_its_own_prefix_and_is_short)
{
    char *text = issue();

    cr_assert_eq(strncmp(text, "hfr1.", 5), 0);
    cr_assert_lt(strlen(text), 200);
}

Test(receipt, whoever_alters_one_character_makes_a_forged_one)
{
    char *text = issue();
    struct receipt read;

    for (size_t i = 0; i < strlen(text); i++) {
        char was = text[i];

        text[i] = was == 'A' ? 'B' : 'A';
        cr_assert_eq(receipt_verify(seal, &arena, acme, slice_from_cstr(text), &read), TOKEN_FORGED,
                     "at %zu", i);
        text[i] = was;
        cr_assert_eq(receipt_verify(seal, &arena, acme, slice_of(text, i), &read), TOKEN_FORGED);
    }
    genuine(text);
}

Test(receipt, is_of_one_tenant)
{
    struct receipt read;

    cr_assert_eq(receipt_verify(seal, &arena, SLICE("acne"), slice_from_cstr(issue()), &read),
                 TOKEN_FORGED);
}

Test(receipt, a_reservation_id_is_none_and_it_is_no_reservation_id)
{
    struct token_seal *other = token_seal_create(keys, TOKEN_OF_RESERVATION);
    char text[TOKEN_TEXT_MAX + 1], *receipt = issue();
    uint8_t raw[TOKEN_RAW_MAX];
    struct slice body;
    struct receipt read;
    struct token token;

    cr_assert(token_seal_open(seal, acme, slice_from_cstr(receipt), raw, &body));
    token_seal_close(other, acme, body, text); /* the same body under the other key */
    cr_assert_eq(receipt_verify(seal, &arena, acme, slice_from_cstr(text), &read), TOKEN_FORGED);
    cr_assert_eq(token_verify(other, &arena, acme, slice_from_cstr(receipt), &token), TOKEN_FORGED);
    token_seal_destroy(other);
}

Test(receipt, verifies_after_a_rotation_as_long_as_its_key_is_there)
{
    struct token_keys *rotated = keys_from("2:" KEY_B "\n1:" KEY_A), *later = keys_from("2:" KEY_B);
    struct token_seal *now = token_seal_create(rotated, TOKEN_OF_RECEIPT);
    struct token_seal *then = token_seal_create(later, TOKEN_OF_RECEIPT);
    char *text = issue(), *again = receipt_issue(now, &arena, &issued);
    struct receipt read;

    cr_assert_str_neq(text, again);
    cr_assert_eq(receipt_verify(now, &arena, acme, slice_from_cstr(text), &read), TOKEN_GENUINE);
    cr_assert_eq(receipt_verify(now, &arena, acme, slice_from_cstr(again), &read), TOKEN_GENUINE);
    cr_assert_eq(receipt_verify(then, &arena, acme, slice_from_cstr(text), &read), TOKEN_FORGED);
    token_seal_destroy(now);
    token_seal_destroy(then);
    token_keys_destroy(rotated);
    token_keys_destroy(later);
}

Test(receipt, names_its_tenant_before_it_is_verified)
{
    struct slice tenant;

    cr_assert(token_tenant(TOKEN_OF_RECEIPT, &arena, slice_from_cstr(issue()), &tenant));
    cr_assert(slice_equal(tenant, acme));
    cr_assert_not(token_tenant(TOKEN_OF_RESERVATION, &arena, slice_from_cstr(issue()), &tenant));
}

/* Changes one number of the record, and expects that the difference names it. */
#define EXPECT(member, says)                                                                       \
    do {                                                                                           \
        const char *found;                                                                         \
        (member)++;                                                                                \
        found = receipt_difference(&arena, &read, &issued.record);                                 \
        cr_assert(found &&strstr(found, says), "%s", found ? found : "none");                      \
        (member)--;                                                                                \
    } while (0)

Test(receipt, a_difference_in_any_field_is_found_and_named)
{
    struct receipt read = genuine(issue());

    EXPECT(issued.record.attempt.epoch, "epoch is 4, the receipt says 3");
    EXPECT(issued.record.attempt.seq, "number is 1235");
    EXPECT(issued.record.at_ms, "time in ms");
    EXPECT(entries[0].asked, "\"tokens\" has asked 61");
    EXPECT(entries[0].amount, "\"tokens\" has amount 51, the receipt says 50");
    EXPECT(entries[1].debt, "\"requests\" has debt 1, the receipt says 0");
    EXPECT(entries[0].held, "held 71");
    EXPECT(of_tokens[0].ref.limit_id, "limit number 18");
    EXPECT(of_tokens[1].ref.period_start_ms, "period start 1");
    EXPECT(of_tokens[1].ledger_seq, "ledger_seq 1043, the receipt says 1042");
    EXPECT(of_requests[0].amount, "counted amount 2");
    EXPECT(of_requests[0].debt, "counted debt 1");
    issued.record.late = false;
    cr_assert_not_null(receipt_difference(&arena, &read, &issued.record));
    issued.record.late = true;
    issued.record.scope = SLICE("team-b");
    cr_assert_str_eq(receipt_difference(&arena, &read, &issued.record),
                     "the scope is \"team-b\", the receipt says \"team-a\"");
    issued.record.scope = SLICE("team-a");
    entries[1].meter = SLICE("seats");
    cr_assert_not_null(receipt_difference(&arena, &read, &issued.record));
    entries[1].meter = SLICE("requests");
    entries[0].counted_count = issued.record.entries_count = 1;
    cr_assert_not_null(receipt_difference(&arena, &read, &issued.record));
}

Test(receipt, numbers_that_no_program_writes_come_back_too)
{
    struct receipt read;

    entries[0].amount = -1;
    of_tokens[0].ledger_seq = INT64_MIN;
    read = genuine(issue());
    cr_assert_null(receipt_difference(&arena, &read, &issued.record));
    entries[0].amount = 50;
    of_tokens[0].ledger_seq = 41;
}

Test(receipt, a_record_that_no_receipt_can_tell_has_none)
{
    struct settle_counted *many = calloc(2000, sizeof(*many));

    cr_assert(many);
    for (size_t i = 0; i < 2000; i++)
        many[i] = (struct settle_counted){{INT64_MAX, INT64_MAX}, 1, 2, 3};
    entries[0].counted = many;
    entries[0].counted_count = 2000;
    cr_assert_null(receipt_issue(seal, &arena, &issued));
    free(many);
}
