#include "run.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX 40

/* Puts a new temporary file in the place of the descriptor; *ret_old is to be put back. */
static FILE *divert(int descriptor, int *ret_old)
{
    FILE *file = tmpfile();

    cr_assert_not_null(file);
    *ret_old = dup(descriptor);
    dup2(fileno(file), descriptor);
    return file;
}

static void put_back(int descriptor, int old, FILE *file, char *text)
{
    size_t bytes;

    dup2(old, descriptor);
    close(old);
    rewind(file);
    bytes = fread(text, 1, RUN_TEXT_BYTES - 1, file);
    text[bytes] = '\0';
    fclose(file);
}

const struct run *run_command(run_command_function *command, const char *server,
                              const char *const *args)
{
    static struct run run;
    struct cli cli = {.server = server, .timeout_us = 5000000};
    char name[] = "holdfast test", *argv[ARGS_MAX + 2] = {name};
    int argc = 1, old_out, old_err;
    FILE *out, *err;

    for (; args[argc - 1]; argc++) {
        cr_assert(argc <= ARGS_MAX);
        argv[argc] = strdup(args[argc - 1]);
    }
    fflush(stdout);
    fflush(stderr);
    out = divert(1, &old_out);
    err = divert(2, &old_err);
    run.code = command(&cli, argc, argv);
    fflush(stdout);
    fflush(stderr);
    put_back(1, old_out, out, run.out);
    put_back(2, old_err, err, run.err);
    if (cli.channel)
        stub_channel_destroy(cli.channel);
    /* argp may have changed the order of argv, but not what is in it. */
    for (int i = 0; i < argc; i++) {
        if (argv[i] != name)
            free(argv[i]);
    }
    return &run;
}

json_t *run_last_line(const struct run *run)
{
    size_t end = strlen(run->out), begin;
    json_error_t error;
    json_t *object;

    while (end > 0 && run->out[end - 1] == '\n')
        end--;
    for (begin = end; begin > 0 && run->out[begin - 1] != '\n'; begin--)
        ;
    object = json_loadb(run->out + begin, end - begin, 0, &error);
    cr_assert_not_null(object, "\"%s\" is not JSON: %s", run->out + begin, error.text);
    return object;
}
