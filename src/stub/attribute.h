/*
 * Hints to the compiler in the headers that applications include. Those headers include nothing of
 * base/, so that they bring an application no macros but STUB_...
 */
#ifndef HOLDFAST_STUB_ATTRIBUTE_H
#define HOLDFAST_STUB_ATTRIBUTE_H

/* The caller must look at the result. */
#define STUB_MUST_CHECK __attribute__((warn_unused_result))

/*
 * The first argument, the thing that the function is about, must not be NULL: the compiler warns, and it is
 * a CHECK. (Not inside the runtime, where the compiler would leave that CHECK out.)
 */
#ifdef STUB_RUNTIME
#define STUB_NONNULL
#else
#define STUB_NONNULL __attribute__((nonnull(1)))
#endif

/* At a client function of a method that its .proto calls deprecated. */
#define STUB_DEPRECATED __attribute__((deprecated))

#endif
