/* SPDX-License-Identifier: MIT */
/* The JSON cases: converts a document again and again, by the functions of a side, without a broker. */
#ifndef BENCH_CONVERSION_H
#define BENCH_CONVERSION_H

#include "cases.h"

/* What is sent or was received. */
typedef struct encoded {
    void *message; /* the side's */
    const char *body;
    size_t size;
} encoded;

/* A side's functions for one of the documents. After false or NULL the side tells the problem. */
typedef struct codec {
    bool (*receive)(encoded *made, const char *text, size_t size); /* makes what the side would receive */
    void *(*decode)(const encoded *from);
    bool (*encode)(encoded *made, const void *object);
    void (*free_object)(void *object);
    void (*free_encoded)(encoded *freed);
} codec;

typedef struct conversion conversion;

/* Converts the case's document both ways, so that a wrong conversion is not measured. NULL if the document changes or
 * cannot be converted. */
conversion *conversion_new(const bench_case *one, const codec *by);
bool conversion_repeat(const conversion *repeated, int times);
void conversion_free(conversion *freed);

#endif
