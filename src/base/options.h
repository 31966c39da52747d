/*
 * What argp lacks: an unknown long option is answered with the one that was probably meant, an option of a
 * command that stands before it with where it belongs, a value that is empty or a second one is refused
 * instead of being taken, and -h is --help.
 *
 * For the start of a program: one thread.
 */
#ifndef HOLDFAST_BASE_OPTIONS_H
#define HOLDFAST_BASE_OPTIONS_H

#include <argp.h>

/* A line for a table of options, and its key; the parser then calls options_help. */
enum { OPTIONS_KEY_HELP = 'h' };
#define OPTIONS_HELP                                                                               \
    {                                                                                              \
        NULL, OPTIONS_KEY_HELP, NULL, OPTION_HIDDEN, NULL, -1                                      \
    }

/* A flag beside argp's own: the option has a value and may be given more than once. */
enum { OPTIONS_REPEATED = 0x1000 };

/* Prints --help on stdout and ends the program with 0. */
void options_help(struct argp_state *state);

/*
 * Call it before argp_parse, with the same arguments (of the flags only ARGP_IN_ORDER counts). It prints an
 * error on stderr and ends the program with argp_err_exit_status for
 *
 *   a long option that is neither in the tables of argp and its children nor the beginning of one (in
 *   order: for such a letter, too)
 *   a value that is empty: more likely a variable without a value than what was meant
 *   a second value for one option, of which one would be dropped without a word
 */
void options_check(const struct argp *argp, int argc, char **argv, unsigned flags);

#endif
