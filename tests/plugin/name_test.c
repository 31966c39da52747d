#include "plugin/name.h"

#include <criterion/criterion.h>

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 4096, 1 << 20);
}

static void teardown(void)
{
    arena_done(&arena);
}

TestSuite(name, .init = setup, .fini = teardown);

/* Seen in what protoc-c 1.4.1 writes. */
Test(name, types_are_those_of_protobuf_c)
{
    cr_assert_str_eq(name_type(&arena, "my_pkg.V1beta.Foo_Bar2Baz"), "MyPkg__V1beta__FooBar2Baz");
    cr_assert_str_eq(name_type(&arena, "Ask"), "Ask");
    cr_assert_str_eq(name_type(&arena, "a.bC"), "A__BC");
}

Test(name, symbols_are_those_of_protobuf_c)
{
    cr_assert_str_eq(name_symbol(&arena, "my_pkg.V1beta.Foo_Bar2Baz"),
                     "my_pkg__v1beta__foo__bar2_baz");
    cr_assert_str_eq(name_symbol(&arena, "HTTPApi"), "httpapi");
    cr_assert_str_eq(name_symbol(&arena, "GetHTTPThing"), "get_httpthing");
    cr_assert_str_eq(name_symbol(&arena, "DoURLFetch2"), "do_urlfetch2");
}

Test(name, prefixes_have_single_underscores)
{
    cr_assert_str_eq(name_prefix(&arena, "holdfast.v1.QuotaService"), "holdfast_v1_quota_service");
    cr_assert_str_eq(name_prefix(&arena, "p.Foo_Bar"), "p_foo_bar");
}

Test(name, members_are_no_words_of_c)
{
    cr_assert_str_eq(name_member(&arena, "Delete"), "delete_");
    cr_assert_str_eq(name_member(&arena, "GetReservation"), "get_reservation");
    cr_assert_str_eq(name_member(&arena, "Int"), "int_");
}

Test(name, files_become_identifiers)
{
    cr_assert_str_eq(name_of_file(&arena, "a/b-c.proto"), "a_b_c_proto");
    cr_assert_str_eq(name_of_file(&arena, "1.proto"), "_1_proto");
    cr_assert_str_eq(name_replace_suffix(&arena, "a/b.proto", ".stub.h"), "a/b.stub.h");
    cr_assert_str_eq(name_replace_suffix(&arena, "odd", ".stub.h"), "odd.stub.h");
    cr_assert_str_eq(name_guard(&arena, "a/b.proto"), "A_B_STUB_H");
}
