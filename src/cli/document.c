#include "cli/document.h"

#include "base/nearest.h"
#include "base/slice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one that is looked at */
    struct slice text;
    struct arena *arena;
    char *error;
};

static int line_of(yaml_mark_t mark)
{
    return (int)mark.line + 1;
}

static int line_here(const struct reader *reader)
{
    return line_of(reader->event.start_mark);
}

__attribute__((format(printf, 3, 4))) static bool refuse(struct reader *reader, int line,
                                                         const char *format, ...)
{
    int used = snprintf(reader->error, DOCUMENT_ERROR_BYTES, "line %d: ", line);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reader->error + used, DOCUMENT_ERROR_BYTES - (size_t)used, format, arguments);
    va_end(arguments);
    return false;
}

static bool too_large(struct reader *reader)
{
    return refuse(reader, line_here(reader), "the document is too large");
}

/* --- events ----------------------------------------------------------------------------------- */

/* What libyaml's scanner and parser find. Its reader knows no lines, only an offset. */
static bool refuse_syntax(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    int line = line_of(parser->problem_mark);

    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < reader->text.len; i++)
            line += reader->text.data[i] == '\n';
    }
    return refuse(reader, line, "%s%s%s", parser->problem ? parser->problem : "it is not YAML",
                  parser->context ? " " : "", parser->context ? parser->context : "");
}

/* Anchors and tags change what a value means; here every value says what it is. */
static bool check_plain(struct reader *reader)
{
    const yaml_event_t *event = &reader->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (event->type == YAML_ALIAS_EVENT)
        return refuse(reader, line_here(reader), "aliases (*%s) are not supported",
                      (const char *)event->data.alias.anchor);
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor)
        return refuse(reader, line_here(reader), "anchors (&%s) are not supported",
                      (const char *)anchor);
    if (tag)
        return refuse(reader, line_here(reader), "tags (%s) are not supported", (const char *)tag);
    return true;
}

static bool advance(struct reader *reader)
{
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->parser, &reader->event))
        return refuse_syntax(reader);
    return check_plain(reader);
}

/* --- scalars ---------------------------------------------------------------------------------- */

static bool is_null(const char *text)
{
    return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

/* The text of the scalar that is looked at. */
static bool scalar_text(struct reader *reader, const char *name, bool *ret_plain, const char **ret)
{
    const char *text = (const char *)reader->event.data.scalar.value;

    if (reader->event.type != YAML_SCALAR_EVENT)
        return refuse(reader, line_here(reader), "%s is a list or a mapping; it must be one value",
                      name);
    if (strlen(text) != reader->event.data.scalar.length)
        return refuse(reader, line_here(reader), "%s has a NUL character in it", name);
    *ret_plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (*ret_plain && is_null(text))
        return refuse(reader, line_here(reader),
                      "%s has no value; give it one, or leave the key out", name);
    *ret = text;
    return true;
}

static bool read_text(struct reader *reader, const struct document_key *key, void *field)
{
    char *copy;
    const char *text;
    bool plain;

    if (!scalar_text(reader, key->name, &plain, &text))
        return false;
    copy = arena_strndup(reader->arena, text, strlen(text));
    memcpy(field, &copy, sizeof(copy));
    return copy || too_large(reader);
}

/* Is it a number that is good but for its size? */
static bool is_too_long(const char *text)
{
    const char *digits = *text == '-' ? text + 1 : text;
    size_t len = strlen(digits);

    return *digits != '0' && len > 18 && strspn(digits, "0123456789") == len;
}

static bool read_number(struct reader *reader, const struct document_key *key,
                        struct document_number *field)
{
    const char *text;
    bool plain;

    if (!scalar_text(reader, key->name, &plain, &text))
        return false;
    if (!plain)
        return refuse(reader, line_here(reader), "%s is quoted; write the number without quotes",
                      key->name);
    if (!slice_to_i64(slice_from_cstr(text), &field->value)) {
        if (!is_too_long(text))
            return refuse(
                reader, line_here(reader),
                "%s is \"%.64s\"; it must be a whole number in digits alone, such as 1000000",
                key->name, text);
        field->value = *text == '-' ? INT64_MIN : INT64_MAX;
    }
    if (field->value < key->min || field->value > key->max)
        return refuse(reader, line_here(reader),
                      "%s is %.64s; it must be from %" PRId64 " to %" PRId64, key->name, text,
                      key->min, key->max);
    field->given = true;
    return true;
}

static bool read_flag(struct reader *reader, const struct document_key *key,
                      struct document_flag *field)
{
    const char *text;
    bool plain;

    if (!scalar_text(reader, key->name, &plain, &text))
        return false;
    field->value = strcmp(text, "true") == 0;
    if (!plain || (!field->value && strcmp(text, "false") != 0))
        return refuse(reader, line_here(reader), "%s is %s\"%.64s\"; it must be true or false",
                      key->name, plain ? "" : "the text ", text);
    field->given = true;
    return true;
}

static bool read_word(struct reader *reader, const struct document_key *key, void *field)
{
    const char *text, *wanted;
    bool plain;

    if (!scalar_text(reader, key->name, &plain, &text))
        return false;
    wanted = key->read(text, field);
    return !wanted || refuse(reader, line_here(reader), "%s is \"%.64s\"; it must be %s", key->name,
                             text, wanted);
}

/* --- mappings and lists ------------------------------------------------------------------------ */

static bool read_map(struct reader *reader, const struct document_map *map, void *target);

static const char *unique_of(const struct document_map *map, const char *item)
{
    const char *text;

    memcpy(&text, item + map->unique, sizeof(text));
    return text;
}

static int item_line(const struct document_map *map, const char *item)
{
    int line;

    memcpy(&line, item + map->line, sizeof(line));
    return line;
}

/* qsort_r: by the text that must be unique, then by line. */
static int compare_items(const void *a, const void *b, void *user)
{
    const char *const *left = a, *const *right = b;
    const struct document_map *map = user;
    int order = strcmp(unique_of(map, *left), unique_of(map, *right));

    return order ? order : item_line(map, *left) - item_line(map, *right);
}

static bool check_unique(struct reader *reader, const struct document_map *map,
                         const struct document_list *list)
{
    const char **sorted = arena_array(reader->arena, list->count + 1, sizeof(*sorted));

    if (!sorted)
        return too_large(reader);
    for (size_t i = 0; i < list->count; i++)
        sorted[i] = (const char *)list->items + i * map->size;
    /* The cast takes the inner const away, which qsort_r does not look at. */
    qsort_r((void *)sorted, list->count, sizeof(*sorted), compare_items, (void *)(uintptr_t)map);
    for (size_t i = 1; i < list->count; i++)
        if (strcmp(unique_of(map, sorted[i - 1]), unique_of(map, sorted[i])) == 0)
            return refuse(reader, item_line(map, sorted[i]),
                          "the %s \"%.64s\" stands here a second time, first in line %d",
                          map->unique_name, unique_of(map, sorted[i]),
                          item_line(map, sorted[i - 1]));
    return true;
}

/* Room for one more; the old array stays in the arena, half as large as the new one. */
static void *add_item(struct reader *reader, const struct document_map *map,
                      struct document_list *list)
{
    size_t count = list->count;

    if ((count & (count - 1)) == 0) { /* 0, 1, 2, 4, 8 ...: it is full */
        void *items = arena_array(reader->arena, count ? 2 * count : 1, map->size);

        if (!items)
            return NULL;
        if (count)
            memcpy(items, list->items, count * map->size);
        list->items = items;
    }
    list->count++;
    return (char *)list->items + count * map->size;
}

static bool read_list(struct reader *reader, const struct document_key *key,
                      struct document_list *list)
{
    if (reader->event.type != YAML_SEQUENCE_START_EVENT)
        return refuse(reader, line_here(reader), "%s must be a list, each item after a \"- \"%s",
                      key->name, key->required ? "" : "; leave the key out if there is none");
    list->given = true;
    for (;;) {
        void *item;

        if (!advance(reader))
            return false;
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return check_unique(reader, key->list, list);
        item = add_item(reader, key->list, list);
        if (!item)
            return too_large(reader);
        if (!read_map(reader, key->list, item))
            return false;
    }
}

static bool read_value(struct reader *reader, const struct document_key *key, void *target)
{
    void *field = (char *)target + key->offset;

    switch (key->type) {
    case DOCUMENT_TEXT:
        return read_text(reader, key, field);
    case DOCUMENT_NUMBER:
        return read_number(reader, key, field);
    case DOCUMENT_FLAG:
        return read_flag(reader, key, field);
    case DOCUMENT_WORD:
        return read_word(reader, key, field);
    case DOCUMENT_LIST:
        return read_list(reader, key, field);
    }
    UNREACHABLE();
}

static bool refuse_key(struct reader *reader, const struct document_map *map, const char *name)
{
    const char *names[DOCUMENT_KEYS_MAX], *meant;

    for (size_t i = 0; i < map->count; i++)
        names[i] = map->keys[i].name;
    meant = nearest(name, names, map->count);
    return refuse(reader, line_here(reader), "there is no key \"%.64s\" here%s%s%s", name,
                  meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
}

/* The key that is looked at, and the value after it. */
static bool read_key(struct reader *reader, const struct document_map *map, int *lines,
                     void *target)
{
    const char *name = (const char *)reader->event.data.scalar.value;
    const struct document_key *key = NULL;
    size_t i;

    if (reader->event.type != YAML_SCALAR_EVENT)
        return refuse(reader, line_here(reader), "a key must be one word");
    if (strlen(name) != reader->event.data.scalar.length)
        return refuse(reader, line_here(reader), "a key has a NUL character in it");
    for (i = 0; i < map->count && !key; i++)
        if (strcmp(map->keys[i].name, name) == 0)
            key = &map->keys[i];
    if (!key)
        return refuse_key(reader, map, name);
    if (lines[i - 1])
        return refuse(reader, line_here(reader),
                      "the key %s stands here a second time, first in line %d", name, lines[i - 1]);
    lines[i - 1] = line_here(reader);
    return advance(reader) && read_value(reader, key, target);
}

static bool check_required(struct reader *reader, const struct document_map *map, const int *lines,
                           int line)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->keys[i].required && !lines[i])
            return refuse(reader, line, "the key %s is missing", map->keys[i].name);
    return true;
}

/* The mapping that begins with the event that is looked at; ends looking at its end. */
static bool read_map(struct reader *reader, const struct document_map *map, void *target)
{
    int lines[DOCUMENT_KEYS_MAX] = {0}, line = line_here(reader);

    CHECK(map->count <= DOCUMENT_KEYS_MAX);
    memset(target, 0, map->size);
    memcpy((char *)target + map->line, &line, sizeof(line));
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, line, "here must be keys with values, such as \"%s: ...\"",
                      map->keys[0].name);
    for (;;) {
        if (!advance(reader))
            return false;
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            return check_required(reader, map, lines, line);
        if (!read_key(reader, map, lines, target))
            return false;
    }
}

/* libyaml reads UTF-16 as well; a file that arrives so has come by an unusual way. */
static bool check_encoding(struct reader *reader)
{
    if (slice_starts_with(reader->text, SLICE("\xff\xfe")) ||
        slice_starts_with(reader->text, SLICE("\xfe\xff")))
        return refuse(reader, 1, "it is in UTF-16; save it as UTF-8");
    return true;
}

static bool read_all(struct reader *reader, const struct document_map *map, void *target)
{
    if (!advance(reader) || !advance(reader)) /* the stream, the document */
        return false;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return refuse(reader, line_here(reader), "there is nothing in it; it begins with \"%s:\"",
                      map->keys[0].name);
    if (!advance(reader) || !read_map(reader, map, target) || !advance(reader) || !advance(reader))
        return false;
    return reader->event.type == YAML_STREAM_END_EVENT ||
           refuse(reader, line_here(reader), "a second document begins here; a file has one");
}

bool document_read(const char *text, size_t len, const struct document_map *map, void *target,
                   struct arena *arena, char error[DOCUMENT_ERROR_BYTES])
{
    struct reader reader = {.arena = arena, .error = error};
    bool good;

    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* libyaml would count it as a column */
        text += 3;
        len -= 3;
    }
    reader.text = slice_of(text, len);

    CHECK(yaml_parser_initialize(&reader.parser));
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    good = check_encoding(&reader) && read_all(&reader, map, target);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    return good;
}
