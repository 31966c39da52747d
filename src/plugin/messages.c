#include "plugin/messages.h"

#include "plugin/member.h"
#include "plugin/name.h"
#include "plugin/reserved.h"
#include "plugin/text.h"
#include "plugin/types.h"
#include "plugin/valid.h"

#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_message;
typedef Google__Protobuf__DescriptorProto message_message;
typedef Google__Protobuf__FieldDescriptorProto field_message;
typedef Google__Protobuf__EnumDescriptorProto enum_message;

/* A message or enum, and what its names in C are made of. */
struct subject {
    const file_message *file;
    bool written;
    const char *full_name; /* "pkg.M" */
    const char *c_name;    /* the same, with the file's c_package */
    const char *owner;     /* "message pkg.M" */
    const char *type;      /* "Pkg__M" */
    const char *symbol;    /* "pkg__m" */
    const char *constant;  /* "PKG__M" */
    const char *base;      /* the struct's first member */
};

static void take(struct messages *messages, const char *owner, const char *start, const char *end)
{
    clash_take(messages->clash, text_format(messages->arena, "%s%s", start, end), owner);
}

static struct subject subject_make(struct messages *messages, const struct subject *scope,
                                   const char *what, const char *name)
{
    struct arena *arena = messages->arena;
    struct subject subject = {
        .file = scope->file,
        .written = scope->written,
        .full_name = types_join(arena, scope->full_name, name),
        .c_name = types_join(arena, scope->c_name, name),
        .base = "base",
    };

    subject.owner = text_format(arena, "%s %s", what, subject.full_name);
    subject.type = name_type(arena, subject.c_name);
    subject.symbol = name_symbol(arena, subject.c_name);
    subject.constant = name_constant(arena, subject.c_name);
    if (subject.written && !messages->error && !valid_identifier(slice_from_cstr(subject.type)))
        messages->error = text_format(arena, "%s: %s would become \"%s\" in C, which is no name",
                                      subject.file->name, subject.owner, subject.type);
    take(messages, subject.owner, subject.type, "");
    return subject;
}

static void take_enum(struct messages *messages, const struct subject *scope,
                      const enum_message *proto)
{
    static const char *const tables[] = {"__descriptor", "__enum_values_by_number",
                                         "__value_ranges", "__enum_values_by_name"};
    struct subject subject = subject_make(messages, scope, "enum", proto->name);

    for (size_t i = 0; i < ARRAY_COUNT(tables); i++)
        take(messages, subject.owner, subject.symbol, tables[i]);
    clash_take(messages->clash, text_format(messages->arena, "_%s_IS_INT_SIZE", subject.constant),
               subject.owner);
    for (size_t i = 0; i < proto->n_value; i++)
        clash_take(messages->clash,
                   text_format(messages->arena, "%s__%s", subject.constant, proto->value[i]->name),
                   text_format(messages->arena, "value %s.%s", subject.full_name,
                               proto->value[i]->name));
}

/* --- members ------------------------------------------------------------------------------------ */

static void take_member(struct messages *messages, const struct subject *subject, const char *owner,
                        const char *start, const char *name, const char *end)
{
    clash_take(messages->clash,
               text_format(messages->arena, "%s.%s%s%s", subject->type, start, name, end), owner);
}

/* The name that protoc-c sees. */
static const char *seen_name(struct messages *messages, const struct subject *subject,
                             const char *owner, const char *name, const char *base)
{
    struct arena *arena = messages->arena;
    const char *renamed = member_rename(arena, messages->parameter, subject->full_name, name, base);

    if (!renamed)
        return name;
    if (subject->written && !messages->parameter->optional && !messages->error)
        messages->error = text_format(
            arena,
            "%s: %s is to be called %s in C, which protoc-c alone does not do; run cstub-protoc "
            "in place of protoc-c and protoc",
            subject->file->name, owner, renamed);
    return renamed;
}

/* Whether the struct says by a bool if it is set: strings and messages are NULL, oneofs have a case. */
static bool has_presence(const struct subject *subject, const field_message *field)
{
    bool proto3 = subject->file->syntax && strcmp(subject->file->syntax, "proto3") == 0;

    return !proto3 && !field->has_oneof_index && field->has_label &&
           field->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_OPTIONAL &&
           field->has_type &&
           field->type != GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING &&
           field->type != GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE;
}

/* The constant that x_case has while the field is set. */
static void take_case(struct messages *messages, const struct subject *subject, const char *owner,
                      const message_message *proto, int32_t index, const char *seen)
{
    struct arena *arena = messages->arena;
    const char *oneof;

    if (index < 0 || (size_t)index >= proto->n_oneof_decl)
        return;
    oneof = seen_name(messages, subject, owner, proto->oneof_decl[index]->name, NULL);
    clash_take(messages->clash,
               text_format(arena, "%s_%s",
                           name_constant(arena, types_join(arena, subject->c_name, oneof)),
                           name_constant(arena, seen)),
               owner);
}

static void take_field(struct messages *messages, const struct subject *subject,
                       const message_message *proto, const field_message *field)
{
    struct arena *arena = messages->arena;
    const char *owner = text_format(arena, "field %s.%s", subject->full_name, field->name);
    const char *seen = seen_name(messages, subject, owner, field->name, subject->base);
    const char *member = name_field(arena, seen);
    const char *full = types_join(arena, subject->c_name, seen);

    take_member(messages, subject, owner, "", member, "");
    if (field->has_label &&
        field->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED)
        take_member(messages, subject, owner, "n_", member, "");
    else if (has_presence(subject, field))
        take_member(messages, subject, owner, "has_", member, "");
    else if (field->has_oneof_index)
        take_case(messages, subject, owner, proto, field->oneof_index, seen);
    if (!field->default_value)
        return;
    take(messages, owner, name_symbol(arena, full), "__default_value");
    if (field->has_type &&
        field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BYTES)
        take(messages, owner, name_symbol(arena, full), "__default_value_data");
}

static void take_oneof(struct messages *messages, const struct subject *subject, const char *name)
{
    struct arena *arena = messages->arena;
    const char *owner = text_format(arena, "oneof %s.%s", subject->full_name, name);
    const char *seen = seen_name(messages, subject, owner, name, NULL);
    const char *c_name = types_join(arena, subject->c_name, seen);

    take_member(messages, subject, owner, "", name_symbol(arena, seen), "_case");
    take(messages, owner, name_type(arena, c_name), "Case");
    take(messages, owner, name_constant(arena, c_name), "__NOT_SET");
    clash_take(messages->clash,
               text_format(arena, "_%s__CASE_IS_INT_SIZE", name_constant(arena, c_name)), owner);
}

/* --- messages ----------------------------------------------------------------------------------- */

static void take_message(struct messages *messages, const struct subject *scope,
                         const message_message *proto)
{
    static const char *const functions[] = {"__descriptor",
                                            "__init",
                                            "__pack",
                                            "__unpack",
                                            "__pack_to_buffer",
                                            "__free_unpacked",
                                            "__get_packed_size",
                                            "__field_descriptors",
                                            "__field_indices_by_name",
                                            "__number_ranges"};
    struct subject subject = subject_make(messages, scope, "message", proto->name);

    subject.base = options_base(messages->arena, proto);
    if (subject.written && !messages->error &&
        (!valid_identifier(slice_from_cstr(subject.base)) || reserved_word(subject.base)))
        messages->error = text_format(messages->arena,
                                      "%s: option (pb_c_msg).base_field_name of %s is no name in C",
                                      subject.file->name, subject.full_name);
    for (size_t i = 0; i < ARRAY_COUNT(functions); i++)
        take(messages, subject.owner, subject.symbol, functions[i]);
    take(messages, subject.owner, subject.type, "_Closure");
    take(messages, subject.owner, subject.constant, "__INIT");
    take_member(messages, &subject, subject.owner, "", subject.base, "");
    for (size_t i = 0; i < proto->n_field; i++)
        take_field(messages, &subject, proto, proto->field[i]);
    for (size_t i = 0; i < proto->n_oneof_decl; i++)
        take_oneof(messages, &subject, proto->oneof_decl[i]->name);
    for (size_t i = 0; i < proto->n_enum_type; i++)
        take_enum(messages, &subject, proto->enum_type[i]);
    for (size_t i = 0; i < proto->n_nested_type; i++)
        take_message(messages, &subject, proto->nested_type[i]);
}

void messages_take(struct messages *messages, const file_message *file,
                   const struct options *options, bool written)
{
    const char *package = file->package ? file->package : "";
    struct subject scope = {
        .file = file,
        .written = written && !options->no_generate,
        .full_name = package,
        .c_name = options->c_package ? options->c_package : package,
    };

    if (options->no_generate) /* nothing is written for it */
        return;
    for (size_t i = 0; i < file->n_enum_type; i++)
        take_enum(messages, &scope, file->enum_type[i]);
    for (size_t i = 0; i < file->n_message_type; i++)
        take_message(messages, &scope, file->message_type[i]);
}
