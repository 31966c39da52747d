#include "base/standard.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void standard_open(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1) /* the lowest number that is free is this one */
            CHECK(open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) == fd);
}

/* True if stdout is a pipe or socket whose other end is closed. */
static bool output_is_unread(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};

    return poll(&output, 1, 0) == 1 && (output.revents & POLLERR);
}

static void check_output(int status, void *exit_code)
{
    bool failed = ferror(stdout) != 0, unread = output_is_unread();

    (void)status;
    errno = 0;
    if (fclose(stdout) == 0 && !failed)
        return;
    if (!unread) /* like `... | head -1`, which wants no more and no complaint */
        fprintf(stderr, "%s: the output could not be written: %s\n", program_invocation_short_name,
                errno ? strerror(errno) : "an earlier write failed");
    _exit((int)(intptr_t)exit_code);
}

void standard_check_output(int exit_code)
{
    CHECK(on_exit(check_output, (void *)(intptr_t)exit_code) == 0);
}
