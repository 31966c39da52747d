#include "stub/socket_file.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* 0: somebody accepts there; else connect's errno. */
static int try_connect(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;

    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
        error = errno;
    close(fd);
    return error;
}

int socket_file_claim(const char *address)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat found;
    const char *path;
    int error;

    if (strncmp(address, "unix:", 5) != 0)
        return 0;
    path = strncmp(address, "unix://", 7) == 0 ? address + 7 : address + 5;
    if (strlen(path) >= sizeof(at.sun_path))
        return ENAMETOOLONG;
    memcpy(at.sun_path, path, strlen(path));
    if (lstat(path, &found) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(found.st_mode))
        return ENOTSOCK;
    error = try_connect(&at);
    if (error == 0 || error == EAGAIN || error == EINPROGRESS)
        return EADDRINUSE;
    if (error != ECONNREFUSED)
        return error;
    return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}
