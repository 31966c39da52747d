/*
 * What a soak plays beside the interop cases: sizes, bursts, refusals, and streams that are left.
 */
#ifndef HOLDFAST_TESTS_INTEROP_SOAK_CASES_H
#define HOLDFAST_TESTS_INTEROP_SOAK_CASES_H

#include "interop/cases.h"

extern const struct interop_case soak_cases[];
extern const size_t soak_cases_count;

#endif
