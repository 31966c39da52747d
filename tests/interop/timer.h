/*
 * A thread that calls functions at their time. An entry lies in a struct of its owner, and is set
 * once at a time.
 */
#ifndef HOLDFAST_TESTS_INTEROP_TIMER_H
#define HOLDFAST_TESTS_INTEROP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer;

struct timer_entry {
    void (*run)(struct timer_entry *entry); /* on the timer's thread, no lock held */
    struct timer_entry *next;
    int64_t due_us;
    bool set;
};

struct timer *timer_create_thread(void);

/* Runs the entry once clock_mono_us is due_us. False: it is set already, to whatever time. */
bool timer_set(struct timer *timer, struct timer_entry *entry, int64_t due_us);

/* True: the entry will not run. False: it was not set, or runs already. */
bool timer_unset(struct timer *timer, struct timer_entry *entry);

/* Joins the thread. Nothing may be set then. */
void timer_destroy(struct timer *timer);

#endif
