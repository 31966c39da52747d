/* What no protoc sends: refused with a sentence, before any of it is used. */
#include "plugin/valid.h"

#include "request.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct request request;

static void setup(void)
{
    arena_init(&arena, 4096, 1 << 28);
    request_init(&request);
}

static void teardown(void)
{
    arena_done(&arena);
}

TestSuite(valid, .init = setup, .fini = teardown);

static void refused(const char *part)
{
    const char *error = valid_request(&arena, &request.base);

    cr_assert(error);
    cr_assert(strstr(error, part), "%s", error);
}

Test(valid, a_request_of_protoc_is)
{
    cr_assert_null(valid_request(&arena, &request.base));
}

Test(valid, everything_has_a_name)
{
    char **const names[] = {&request.file.name, &request.message.name, &request.service.name,
                            &request.method.name};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char *kept = *names[i];

        *names[i] = NULL;
        refused("no name");
        *names[i] = kept;
    }
    request.method.output_type = NULL;
    refused("Get has no types");
}

Test(valid, names_are_identifiers)
{
    const char *const bad[] = {"", "1a", "a b", "a\"", "a.b", "\xc3\xa4", "a\n"};

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        snprintf(request.method_name, sizeof(request.method_name), "%s", bad[i]);
        refused("no identifier");
    }
}

Test(valid, names_have_an_end)
{
    char name[1002];

    memset(name, 'x', sizeof(name));
    name[1000] = name[1001] = '\0';
    request.method.name = name;
    cr_assert_null(valid_request(&arena, &request.base));
    name[1000] = 'x';
    refused("too long");
}

Test(valid, packages_are_identifiers_with_dots)
{
    char package[16];
    const char *const bad[] = {".", "a.", ".a", "a..b", "a-b", "a b"};

    request.file.package = package;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        snprintf(package, sizeof(package), "%s", bad[i]);
        refused("package");
    }
    strcpy(package, "a.b_c.d1");
    cr_assert_null(valid_request(&arena, &request.base));
}

Test(valid, files_stay_in_the_output_folder)
{
    const char *const bad[] = {"", "../a", "a/../b", "/a", "a//b", "./a", "a\"b", "a\nb", "a*/b"};

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        snprintf(request.name, sizeof(request.name), "%s", bad[i]);
        refused("#include");
    }
    strcpy(request.name, "a b/c-d.proto");
    cr_assert_null(valid_request(&arena, &request.base));
}

/* Field 3 of DescriptorProto is nested_type; each level costs 2 to 5 bytes and a kilobyte of stack. */
Test(valid, deep_nesting_does_not_reach_the_end_of_the_stack)
{
    enum { LEVELS = 100000 };
    size_t at = 6 * LEVELS;
    uint8_t *bytes = malloc(at);
    size_t len = 0;

    for (size_t i = 0; i < LEVELS; i++) {
        uint8_t prefix[6];
        size_t n = 0;

        prefix[n++] = 3 << 3 | 2;
        for (size_t left = len; n == 1 || left; left >>= 7)
            prefix[n++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        at -= n;
        len += n;
        memcpy(bytes + at, prefix, n);
    }
    cr_assert_null(valid_unpack(&arena, &google__protobuf__descriptor_proto__descriptor,
                                slice_of(bytes + at, len)));
    cr_assert_not_null(valid_unpack(&arena, &google__protobuf__descriptor_proto__descriptor,
                                    slice_of(bytes + 6 * LEVELS - 100, 100)));
    free(bytes);
}
