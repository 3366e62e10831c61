/* SPDX-License-Identifier: MIT */
/* What can be found of an exception in bytes that Java has serialised. Private to the folder. */
#ifndef CNY_AMQP_JAVA_ERROR_H
#define CNY_AMQP_JAVA_ERROR_H

#include "base/base.h"

/* A piece of the bytes; data is NULL if it was not found. */
typedef struct cny_java_text {
    const char *data;
    size_t size;
} cny_java_text;

typedef struct cny_java_error {
    cny_java_text class_name;
    cny_java_text message;
} cny_java_error;

/* True if the bytes are a RemoteInvocationResult whose exception is set. */
bool cny_java_is_error(const void *bytes, size_t size);

/* For such bytes. */
cny_java_error cny_java_read_error(const void *bytes, size_t size);

#endif
