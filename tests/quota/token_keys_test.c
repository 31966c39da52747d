#include "quota/token_keys.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "ffeeddccbbaa99887766554433221100FFEEDDCCBBAA99887766554433221100"

static struct token_keys *keys;
static char error[256];
static char path[] = "token-keys-XXXXXX";

static void tear_down(void)
{
    token_keys_destroy(keys);
}

TestSuite(token_keys, .fini = tear_down);

static enum status parse(const char *text)
{
    return token_keys_parse(slice_from_cstr(text), "FILE", &keys, error, sizeof(error));
}

Test(token_keys, first_line_signs_and_all_are_found)
{
    cr_assert_eq(parse("# newest first\n7:" KEY_B "\n\n255:" KEY_A "\r\n"), STATUS_OK);
    cr_assert_eq(token_keys_first(keys)->kid, 7);
    cr_assert_eq(token_keys_first(keys)->key[0], 0xff);
    cr_assert_eq(token_keys_find(keys, 255)->key[31], 0xff);
    cr_assert_eq(token_keys_find(keys, 255)->key[0], 0x00);
    cr_assert_null(token_keys_find(keys, 6));
    cr_assert_null(token_keys_find(keys, 0));
}

static void expect_refusal(const char *text, const char *expected)
{
    cr_assert_eq(parse(text), STATUS_INVALID, "%s", text);
    cr_assert_str_eq(error, expected);
    cr_assert_null(strstr(error, "0011"), "an error must not show a key");
    cr_assert_null(keys);
}

Test(token_keys, malformed_lines_are_named)
{
    expect_refusal("", "token keys FILE: there is no key in it");
    expect_refusal("# nothing\n", "token keys FILE: there is no key in it");
    expect_refusal("0:" KEY_A,
                   "token keys FILE, line 1: the key id must be a number from 1 to 255");
    expect_refusal("\n256:" KEY_A,
                   "token keys FILE, line 2: the key id must be a number from 1 to 255");
    expect_refusal("01:" KEY_A,
                   "token keys FILE, line 1: the key id must be a number from 1 to 255");
    expect_refusal(":" KEY_A, "token keys FILE, line 1: the key id must be a number from 1 to 255");
    expect_refusal(KEY_A, "token keys FILE, line 1: it must read kid:64 hexadecimal digits");
    expect_refusal("1:" KEY_A "0",
                   "token keys FILE, line 1: the key must have exactly 64 hexadecimal digits");
    expect_refusal("1:00",
                   "token keys FILE, line 1: the key must have exactly 64 hexadecimal digits");
    expect_refusal("1: 0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
                   "token keys FILE, line 1: the key has a character that is no hexadecimal digit");
    expect_refusal("1:" KEY_A "\n2:" KEY_B "\n1:" KEY_B,
                   "token keys FILE, line 3: the key id was used before");
}

Test(token_keys, more_keys_than_there_is_room_for_are_refused)
{
    char text[(TOKEN_KEYS_MAX + 1) * 80] = "";
    size_t len = 0;

    for (int i = 1; i <= TOKEN_KEYS_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%d:" KEY_A "\n", i);
    cr_assert_eq(parse(text), STATUS_OK);
    token_keys_destroy(keys);
    keys = NULL;
    snprintf(text + len, sizeof(text) - len, "99:" KEY_A "\n");
    cr_assert_eq(parse(text), STATUS_INVALID);
}

/* Writes a key file with the mode and loads it. */
static enum status load_with_mode(const char *text, mode_t mode)
{
    enum status status;
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    cr_assert_eq(fchmod(fd, mode), 0);
    close(fd);
    status = token_keys_load(path, &keys, error, sizeof(error));
    unlink(path);
    return status;
}

Test(token_keys, private_file_is_loaded)
{
    cr_assert_eq(load_with_mode("3:" KEY_A "\n", 0640), STATUS_OK);
    cr_assert_eq(token_keys_first(keys)->kid, 3);
}

Test(token_keys, file_that_others_may_read_or_write_is_refused)
{
    const mode_t modes[] = {0644, 0604, 0620, 0602, 0666};

    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        memcpy(path + strlen(path) - 6, "XXXXXX", 6);
        cr_assert_eq(load_with_mode("3:" KEY_A "\n", modes[i]), STATUS_REFUSED, "%o", modes[i]);
        cr_assert_not_null(strstr(error, "chmod 600"));
    }
}

Test(token_keys, file_that_is_absent_or_no_file_is_refused)
{
    cr_assert_eq(token_keys_load("no/such/file", &keys, error, sizeof(error)), STATUS_UNAVAILABLE);
    cr_assert_str_eq(error, "token keys no/such/file: No such file or directory");
    cr_assert_eq(token_keys_load("/", &keys, error, sizeof(error)), STATUS_REFUSED);
}

Test(token_keys, file_without_end_is_refused)
{
    char *text = malloc(20000);

    cr_assert_not_null(text);
    memset(text, '\n', 19999);
    text[19999] = '\0';
    cr_assert_eq(load_with_mode(text, 0600), STATUS_INVALID);
    free(text);
}
