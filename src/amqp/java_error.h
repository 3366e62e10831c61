/* SPDX-License-Identifier: MIT */
/* What can be found of an exception in bytes that Java has serialised. Pure functions. Private to the folder. Knows
 * nothing of messages. */
#ifndef CNY_AMQP_JAVA_ERROR_H
#define CNY_AMQP_JAVA_ERROR_H

#include "base/base.h"

/* A piece of the bytes, in Java's form of UTF-8; data is NULL if it was not found. */
typedef struct cny_java_text {
    const char *data;
    size_t size;
} cny_java_text;

typedef struct cny_java_exception {
    cny_java_text class_name;
    cny_java_text message;
} cny_java_exception;

enum { CNY_JAVA_EXCEPTIONS = 8 };

/* The exception, its cause, the cause of that and so on. */
typedef struct cny_java_error {
    size_t count;
    cny_java_exception exceptions[CNY_JAVA_EXCEPTIONS];
} cny_java_error;

/* True if the bytes are a RemoteInvocationResult whose exception is set. */
bool cny_java_is_error(const void *bytes, size_t size);

/* Reads such bytes as far as they can be read. */
void cny_java_read_error(cny_java_error *error, const void *bytes, size_t size);

bool cny_java_text_is(const cny_java_text *text, const char *expected);

/* Writes the text as UTF-8 with a NUL, cut to the room, of which at least 1 byte is there. */
void cny_java_text_copy(char *to, size_t room, const cny_java_text *text);

#endif
