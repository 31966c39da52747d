/*
 * Named points where a test can make the program fail, wait, stop or die.
 *
 *     if (FAULT("commit.after_commit"))
 *         return STATUS_UNKNOWN;               the path taken when the point is set to fail
 *
 * A point does nothing until it is set. Settings are a list, `name=action[@N]`, comma between:
 *
 *     fail    FAULT is true
 *     wait    the thread blocks here until fault_release(name)
 *     stop    the whole process stops as by SIGSTOP, until someone sends SIGCONT
 *     crash   the process dies at once as by SIGKILL
 *     @N      only at the N-th passage, counted from 1; without it at every passage
 *
 * The points exist only in builds with HOLDFAST_FAULTS (cmake -DFAULTS=ON); elsewhere FAULT is
 * false and costs nothing. The table is one of the two mutable globals of the program (the other is
 * the log level). Any thread may use everything.
 */
#ifndef HOLDFAST_BASE_FAULT_H
#define HOLDFAST_BASE_FAULT_H

#include "base/check.h"

#include <stdbool.h>

enum { FAULT_POINTS_MAX = 32, FAULT_NAME_MAX = 63 };

/* The environment variable that fault_load_environment reads. */
#define FAULT_ENVIRONMENT "HOLDFAST_FAULTS"

#if defined(HOLDFAST_FAULTS) && HOLDFAST_FAULTS
#define FAULT(name) fault_hit(name)
#define FAULTS_COMPILED_IN 1
#else
#define FAULT(name) fault_none()
#define FAULTS_COMPILED_IN 0
#endif

/*
 * Sets the points of the list above and adds to those set before; a name set again begins anew.
 * False if the list is malformed or too long: then nothing is changed.
 */
MUST_CHECK bool fault_set(const char *settings);

/* fault_set with the environment variable; true when it is absent. Call once at start. */
MUST_CHECK bool fault_load_environment(void);

/* Lets every thread that waits at the point go, and sets the point to nothing. */
void fault_release(const char *name);

/* Releases every waiting thread and forgets all settings. */
void fault_clear(void);

/* Threads that wait at the point now; passages of the point since it was set. */
int fault_waiting(const char *name);
int fault_passages(const char *name);

/* Behind FAULT: does what is set for the point and tells whether to fail. */
bool fault_hit(const char *name);

static inline bool fault_none(void)
{
    return false;
}

#endif
