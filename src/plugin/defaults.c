#include "plugin/defaults.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__DescriptorProto message_message;
typedef Google__Protobuf__FieldDescriptorProto field_message;

/* The numbers that stand in for others: 8.00000e+30 to 8.99999e+30, as either type prints them. */
enum { STAND_INS_MAX = 100000, NUMBER_MAX = 64 };

struct hiding {
    struct arena *arena;
    struct text *rules;
    int count;
};

/* What protoc-c would write, read again. */
static bool is_exact(double value, bool is_float)
{
    char text[NUMBER_MAX];

    if (value == 0)
        return !signbit(value);
    if (fabs(value) >= 8e30 && fabs(value) < 9e30)
        return false;
    if (is_float) {
        snprintf(text, sizeof(text), "%.*g", FLT_DIG, value);
        return strtof(text, NULL) == (float)value;
    }
    snprintf(text, sizeof(text), "%.*g", DBL_DIG, value);
    return strtod(text, NULL) == value;
}

static void add_rule(struct text *rules, const char *stand_in, double value, bool is_float)
{
    char exact[NUMBER_MAX];
    const char *point = strchr(stand_in, '.');
    int before = point ? (int)(point - stand_in) : (int)strlen(stand_in);

    snprintf(exact, sizeof(exact), "%.*g", is_float ? FLT_DECIMAL_DIG : DBL_DECIMAL_DIG, value);
    text_printf(rules,
                "/^ { PROTOBUF_C_MESSAGE_INIT /,/}$/s/\\([ ,]\\)%.*s%s%s\\([ ,]\\)/\\1%s%s\\2/g\n",
                before, stand_in, point ? "\\" : "", point ? point : "", exact,
                strpbrk(exact, ".e") ? "" : ".0");
    text_printf(rules, "/__default_value = /s/ %.*s%s%s;/ %s%s;/\n", before, stand_in,
                point ? "\\" : "", point ? point : "", exact, strpbrk(exact, ".e") ? "" : ".0");
}

static void hide_field(struct hiding *hiding, field_message *field)
{
    bool is_float = field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FLOAT;
    char stand_in[NUMBER_MAX];
    double value;
    char *copy;

    if (!field->default_value || !field->has_type || hiding->count >= STAND_INS_MAX ||
        (!is_float && field->type != GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_DOUBLE))
        return;
    value =
        is_float ? (double)strtof(field->default_value, NULL) : strtod(field->default_value, NULL);
    if (!isfinite(value) || is_exact(value, is_float))
        return;
    snprintf(stand_in, sizeof(stand_in), "8.%05de+30", hiding->count++);
    snprintf(stand_in, sizeof(stand_in), "%.*g", FLT_DIG, strtod(stand_in, NULL));
    if (hiding->rules)
        add_rule(hiding->rules, stand_in, value, is_float);
    copy = arena_strndup(hiding->arena, stand_in, strlen(stand_in));
    CHECK(copy);
    field->default_value = copy;
}

static void hide_message(struct hiding *hiding, message_message *message)
{
    for (size_t i = 0; i < message->n_field; i++)
        hide_field(hiding, message->field[i]);
    for (size_t i = 0; i < message->n_nested_type; i++)
        hide_message(hiding, message->nested_type[i]);
}

void defaults_hide(struct arena *arena, Google__Protobuf__FileDescriptorSet *set,
                   struct text *rules)
{
    struct hiding hiding = {arena, rules, 0};

    for (size_t i = 0; i < set->n_file; i++) {
        for (size_t j = 0; j < set->file[i]->n_message_type; j++)
            hide_message(&hiding, set->file[i]->message_type[j]);
    }
}
