/*
 * The three standard streams, as a program meets them: closed, full, or a pipe that nobody reads.
 *
 * For main, before anything else opens a file; one thread.
 */
#ifndef HOLDFAST_BASE_STANDARD_H
#define HOLDFAST_BASE_STANDARD_H

/*
 * Opens something in place of each of the three that is closed. Otherwise a socket could get its number,
 * and printf would write to it. A read there finds the end of the file; a write fails.
 */
void standard_open(void);

/*
 * From here on, if anything that was printed on stdout cannot be written, the program says so on stderr and
 * ends with `exit_code`, however it ends (exit, return, argp's --help). A pipe that nobody reads any more
 * ends it with `exit_code` too, in silence; for that the caller ignores SIGPIPE.
 */
void standard_check_output(int exit_code);

#endif
