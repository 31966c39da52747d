/* All tenants of a server, one after the other. */
#ifndef HOLDFAST_CLI_TENANTS_H
#define HOLDFAST_CLI_TENANTS_H

#include "cli/cli.h"

/*
 * Runs `run` for each, by name. What is wrong with one keeps none of the others from being looked at, but
 * a server that does not answer does. Returns CLI_OK, or else what the last one that had another answered.
 */
int tenants_each(struct cli *cli, int (*run)(struct cli *cli, const char *tenant));

#endif
