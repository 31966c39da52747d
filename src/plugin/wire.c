#include "plugin/wire.h"

bool wire_take_varint(struct slice *rest, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < rest->len && i < 10; i++) {
        uint8_t byte = (uint8_t)rest->data[i];

        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *rest = slice_skip(*rest, i + 1);
            *ret = value;
            return true;
        }
    }
    return false;
}

bool wire_take(struct slice *rest, struct wire_field *ret)
{
    const char *start = rest->data;
    uint64_t key, len = 0;

    *ret = (struct wire_field){0};
    if (!wire_take_varint(rest, &key))
        return false;
    switch (key & 7) {
    case 0:
        if (!wire_take_varint(rest, &ret->value))
            return false;
        break;
    case 1:
        len = 8;
        break;
    case 2:
        if (!wire_take_varint(rest, &len))
            return false;
        break;
    case 5:
        len = 4;
        break;
    default:
        return false;
    }
    if (len > rest->len)
        return false;
    ret->number = key >> 3;
    if ((key & 7) == 2)
        ret->content = slice_of(rest->data, len);
    *rest = slice_of(rest->data + len, rest->len - len);
    ret->whole = slice_of(start, (size_t)(rest->data - start));
    return true;
}
