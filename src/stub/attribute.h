/*
 * Hints to the compiler in the headers that applications include. Those headers include nothing of
 * base/, so that they bring an application no macros but STUB_...
 */
#ifndef HOLDFAST_STUB_ATTRIBUTE_H
#define HOLDFAST_STUB_ATTRIBUTE_H

/* The caller must look at the result. */
#define STUB_MUST_CHECK __attribute__((warn_unused_result))

/* At a client function of a method that its .proto calls deprecated. */
#define STUB_DEPRECATED __attribute__((deprecated))

#endif
