#include "plugin/comment.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The bytes of the UTF-8 character at the start, 0 if there is none. */
static size_t character_bytes(const unsigned char *at, size_t left, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : 4;

    if (bytes == 4 && at[0] >> 3 != 30)
        return 0;
    if (bytes > left)
        return 0;
    *ret_point = bytes == 1 ? at[0] : at[0] & (0x7fU >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if (at[i] >> 6 != 2)
            return 0;
        *ret_point = *ret_point << 6 | (at[i] & 0x3fU);
    }
    if (*ret_point < least[bytes] || *ret_point > 0x10ffff || *ret_point >> 11 == 27)
        return 0;
    return bytes;
}

/* Control characters, and those that make text look like other text than it is. */
static bool is_unseen(uint32_t point)
{
    return (point < ' ' && point != '\t') || (point >= 0x7f && point < 0xa0) || point == 0x61c ||
           point == 0x200e || point == 0x200f || (point >= 0x202a && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

/* Would these two characters, or a trigraph that begins with them, mean something to C? */
static bool is_live(const char *at, size_t left)
{
    if (left < 2)
        return false;
    return memcmp(at, "*/", 2) == 0 || memcmp(at, "/*", 2) == 0 ||
           (left > 2 && memcmp(at, "?\?/", 3) == 0);
}

static void write_line(struct text *out, const char *indent, const char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t' || line[len - 1] == '\r'))
        len--;
    text_printf(out, "%s *", indent);
    if (len > 0 && *line != ' ')
        text_printf(out, " ");
    for (size_t i = 0; i < len;) {
        uint32_t point = 0;
        size_t bytes = character_bytes((const unsigned char *)line + i, len - i, &point);

        if (bytes == 0 || is_unseen(point)) {
            text_printf(out, "?");
            i += bytes ? bytes : 1;
            continue;
        }
        text_add(out, line + i, bytes);
        if (is_live(line + i, len - i))
            text_printf(out, " ");
        i += bytes;
    }
    text_printf(out, "\n");
}

static void write_lines(struct text *out, const char *indent, const char *lines)
{
    while (*lines) {
        size_t len = strcspn(lines, "\n");

        write_line(out, indent, lines, len);
        lines += len + (lines[len] == '\n');
    }
}

void comment_write(struct text *out, const char *indent, const char *comment, const char *note)
{
    bool has_comment = comment && *comment, has_note = note && *note;

    if (!has_comment && !has_note)
        return;
    text_printf(out, "%s/*\n", indent);
    if (has_comment)
        write_lines(out, indent, comment);
    if (has_comment && has_note)
        text_printf(out, "%s *\n", indent);
    if (has_note)
        write_lines(out, indent, note);
    text_printf(out, "%s */\n", indent);
}

void comment_write_literal(struct text *out, const char *content)
{
    text_printf(out, "\"");
    for (; *content; content++) {
        unsigned char c = (unsigned char)*content;

        if (c == '"' || c == '\\' || c == '?')
            text_printf(out, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            text_printf(out, "\\%03o", c);
        else
            text_add(out, content, 1);
    }
    text_printf(out, "\"");
}
