/*
 * Core's credentials. Newer versions have them in a header of their own; without the prototypes C
 * would cut the pointers to int. For the files of src/stub/ only.
 */
#ifndef HOLDFAST_STUB_SECURITY_H
#define HOLDFAST_STUB_SECURITY_H

#include <grpc/grpc_security.h>
#if __has_include(<grpc/credentials.h>)
#include <grpc/credentials.h>
#endif

#endif
