/*
 * What the granter's stories share; belongs to its thread.
 */
#ifndef HOLDFAST_OP_GRANTING_H
#define HOLDFAST_OP_GRANTING_H

#include <stdbool.h>

struct refusals;
struct stores;

struct granting {
    struct stores *stores; /* scratch: of one pass */
    struct refusals *refusals;
    bool quick;                  /* ops with much to reap go to the patient one */
    void (*collect)(void *user); /* takes in and notifies what has arrived meanwhile */
    void *user;
};

#endif
