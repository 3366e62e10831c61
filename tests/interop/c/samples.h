/* SPDX-License-Identifier: MIT */
/* The objects that both sides know: Samples.java has the same. */
#ifndef CNY_INTEROP_SAMPLES_H
#define CNY_INTEROP_SAMPLES_H

#include "interop.h"

#define OURS "org.coney.interop."

typedef struct customer {
    char *name;
    bool vip;
} customer;

typedef struct line {
    char sku[20];
    int32_t quantity;
    char *price;
} line;

typedef struct order {
    char *id;
    customer *customer;
    line *lines;
    size_t line_count;
    char *total;
    char *note;
} order;

typedef struct cancellation {
    char *id, *reason;
} cancellation;

/* By class name, and by the ids of Samples.IDS. */
extern const coney_type sample_order_type, sample_line_type, sample_lines_type, sample_by_sku_type,
    sample_cancellation_type;
extern const coney_type sample_order_id_type, sample_line_id_type, sample_lines_id_type, sample_cancellation_id_type;

/* All of them. */
extern const coney_types sample_types;

extern const order sample_order;
extern line sample_lines[2];

/* Fails the test unless it is sample_order, or they are sample_lines. */
void sample_expect_order(const order *got);
void sample_expect_lines(const line *lines, size_t count);

#endif
