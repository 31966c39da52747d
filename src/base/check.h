/*
 * Checks that stay on in every build: a wrong counter is worse than a restart.
 *
 * CHECK is for bugs only. What the outside world can cause is a failure (status.h) or an answer to
 * a client, never a CHECK. Any thread may use everything here.
 */
#ifndef HOLDFAST_BASE_CHECK_H
#define HOLDFAST_BASE_CHECK_H

#include <stddef.h>

/* The caller must look at the result. */
#define MUST_CHECK __attribute__((warn_unused_result))

/* Lets the compiler check a format string against its arguments. */
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))

/* Prints "CHECK failed" with file:line, function and expression on stderr, then aborts. */
void check_failed(const char *file, int line, const char *function, const char *expression)
    __attribute__((noreturn));
void check_failed_message(const char *file, int line, const char *function, const char *expression,
                          const char *format, ...) __attribute__((noreturn)) PRINTF_LIKE(5, 6);

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, __func__, #cond))

/* CHECK_MSG(held >= 0, "held=%" PRId64, held): the format is required. */
#define CHECK_MSG(cond, ...)                                                                       \
    ((cond) ? (void)0 : check_failed_message(__FILE__, __LINE__, __func__, #cond, __VA_ARGS__))

#define UNREACHABLE() check_failed(__FILE__, __LINE__, __func__, "this line is not reached")

/* The number that a macro stands for, as text: it must be a plain number, such as 256. */
#define TEXT_OF(number) TEXT_OF_TOKEN(number)
#define TEXT_OF_TOKEN(token) #token

/* Number of elements of an array; does not compile for a pointer. */
#define ARRAY_COUNT(array)                                                                         \
    (sizeof(array) / sizeof((array)[0]) +                                                          \
     0 * sizeof(struct {                                                                           \
         int not_an_array : 1 -                                                                    \
             2 * __builtin_types_compatible_p(__typeof__(array), __typeof__(&(array)[0]));         \
     }))

/* The struct around a member: how an intrusive list item leads back to its owner. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
