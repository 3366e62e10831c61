/* SPDX-License-Identifier: MIT */
/* The two documents of the JSON cases, as C structs and as JSON. Both sides convert between the same of each. */
#ifndef BENCH_DOCUMENTS_H
#define BENCH_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Ten fields. */
typedef struct parcel {
    int64_t id;
    char *customer;
    char *street;
    char *city;
    int32_t items;
    double weight;
    bool insured;
    char *charge; /* decimal, such as "12.50" */
    struct timespec posted;
    char *note; /* NULL if there is none */
} parcel;

typedef enum order_status { ORDER_OPEN, ORDER_PAID, ORDER_SHIPPED, ORDER_CANCELLED } order_status;

typedef struct order_customer {
    int64_t id;
    char *name;
    char *email;
} order_customer;

typedef struct order_line {
    char *sku;
    char *title;
    int32_t quantity; /* 1 to 10,000 */
    char *price;      /* decimal */
    bool gift;
} order_line;

typedef struct order {
    char *id;
    order_status status;
    order_customer customer;
    struct timespec placed;
    struct timespec due;
    char *total; /* decimal */
    char *note;  /* NULL if there is none */
    order_line *lines;
    size_t line_count;
} order;

/* A parcel as JSON if lines is 0, otherwise an order with as many lines. Compact, in the order of the members. For
 * free(). */
char *bench_document(int lines);

#endif
