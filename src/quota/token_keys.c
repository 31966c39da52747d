#include "quota/token_keys.h"

#include "base/hex.h"
#include "base/hmac.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 16 * 1024 };

struct token_keys {
    size_t count;
    struct token_key keys[TOKEN_KEYS_MAX];
};

void token_keys_destroy(struct token_keys *keys)
{
    if (!keys)
        return;
    hmac_forget(keys, sizeof(*keys));
    free(keys);
}

const struct token_key *token_keys_first(const struct token_keys *keys)
{
    CHECK(keys->count > 0);
    return &keys->keys[0];
}

const struct token_key *token_keys_find(const struct token_keys *keys, uint8_t kid)
{
    for (size_t i = 0; i < keys->count; i++)
        if (keys->keys[i].kid == kid)
            return &keys->keys[i];
    return NULL;
}

/* Adds the key of one line; otherwise returns what is wrong with it. */
static const char *line_parse(struct slice line, struct token_keys *keys)
{
    struct token_key *key = &keys->keys[keys->count];
    struct slice kid_text;
    uint64_t kid;

    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    if (line.len == 0 || line.data[0] == '#')
        return NULL;
    if (keys->count == TOKEN_KEYS_MAX)
        return "there are more than 16 keys";
    if (!slice_cut(&line, ':', &kid_text) || !line.data)
        return "it must read kid:64 hexadecimal digits";
    if (!slice_to_u64(kid_text, &kid) || kid < 1 || kid > UINT8_MAX)
        return "the key id must be a number from 1 to 255";
    if (token_keys_find(keys, (uint8_t)kid))
        return "the key id was used before";
    if (line.len != HEX_LEN(TOKEN_KEY_BYTES))
        return "the key must have exactly 64 hexadecimal digits";
    if (!hex_decode(line, key->key, TOKEN_KEY_BYTES))
        return "the key has a character that is no hexadecimal digit";
    key->kid = (uint8_t)kid;
    keys->count++;
    return NULL;
}

enum status token_keys_parse(struct slice text, const char *name, struct token_keys **ret_keys,
                             char *error, size_t error_size)
{
    struct token_keys *keys = calloc(1, sizeof(*keys));
    struct slice line;

    CHECK(keys);
    for (int number = 1; slice_cut(&text, '\n', &line); number++) {
        const char *wrong = line_parse(line, keys);

        if (wrong) {
            snprintf(error, error_size, "token keys %s, line %d: %s", name, number, wrong);
            goto fail;
        }
    }
    if (keys->count == 0) {
        snprintf(error, error_size, "token keys %s: there is no key in it", name);
        goto fail;
    }
    *ret_keys = keys;
    return STATUS_OK;
fail:
    token_keys_destroy(keys);
    return STATUS_INVALID;
}

static enum status file_check(int fd, const char *path, char *error, size_t error_size)
{
    struct stat file;

    if (fstat(fd, &file) != 0) {
        snprintf(error, error_size, "token keys %s: %s", path, strerror(errno));
        return STATUS_UNAVAILABLE;
    }
    if (!S_ISREG(file.st_mode)) {
        snprintf(error, error_size, "token keys %s: it is not a regular file", path);
        return STATUS_REFUSED;
    }
    if (file.st_mode & (S_IWGRP | S_IWOTH | S_IROTH)) {
        snprintf(error, error_size,
                 "token keys %s: its mode is %03o; nobody but its owner may write it and not "
                 "everyone may read it: chmod 600 or 640",
                 path, (unsigned)file.st_mode & 0777);
        return STATUS_REFUSED;
    }
    return STATUS_OK;
}

/* All of the file, at most size bytes; -1 with errno. */
static ssize_t file_read(int fd, char *data, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t got = read(fd, data + len, size - len);

        if (got < 0 && errno != EINTR)
            return -1;
        if (got == 0)
            break;
        if (got > 0)
            len += (size_t)got;
    }
    return (ssize_t)len;
}

enum status token_keys_load(const char *path, struct token_keys **ret_keys, char *error,
                            size_t error_size)
{
    char text[FILE_BYTES_MAX];
    enum status status;
    ssize_t len;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        snprintf(error, error_size, "token keys %s: %s", path, strerror(errno));
        return STATUS_UNAVAILABLE;
    }
    status = file_check(fd, path, error, error_size);
    if (status != STATUS_OK)
        goto done;
    len = file_read(fd, text, sizeof(text));
    if (len < 0) {
        snprintf(error, error_size, "token keys %s: %s", path, strerror(errno));
        status = STATUS_UNAVAILABLE;
    } else if ((size_t)len == sizeof(text)) {
        snprintf(error, error_size, "token keys %s: it is larger than any key file", path);
        status = STATUS_INVALID;
    } else {
        status = token_keys_parse(slice_of(text, (size_t)len), path, ret_keys, error, error_size);
    }
    hmac_forget(text, sizeof(text));
done:
    close(fd);
    return status;
}
