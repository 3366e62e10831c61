/* SPDX-License-Identifier: MIT */
/* A struct with a field of every kind and shape, and its table. */
#ifndef CNY_TEST_ORDERS_H
#define CNY_TEST_ORDERS_H

#include <coney/amqp/type.h>

typedef enum order_state { ORDER_NEW = 1, ORDER_PAID, ORDER_SHIPPED } order_state;

typedef struct order_line {
    char sku[12];
    int32_t quantity;
    char *price;
} order_line;

typedef struct customer {
    char *name;
    char *mail;
} customer;

typedef struct order {
    int64_t id;
    uint8_t uuid[16];
    order_state state;
    customer customer;
    customer *guest;
    order_line *lines;
    size_t line_count;
    int64_t placed_at;
    bool has_weight;
    double weight;
    char *note;
    char *currency;
} order;

extern const coney_type order_line_type, customer_type, order_type, orders_type, orders_by_name_type;

typedef struct everything {
    bool yes;
    int8_t i8;
    uint8_t u8;
    int16_t i16;
    uint16_t u16;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    float single;
    double real;
    char *decimal;
    char *text;
    char chars[8];
    coney_bytes bytes;
    order_state state;
    int64_t seconds;
    int64_t milliseconds;
    struct timespec time;
    uint8_t uuid[16];
    json_t *json;
    char *raw;
    customer one;
    int32_t *pointed;
    customer *pointed_struct;
    int32_t *list;
    size_t list_count;
    double fixed[3];
    uint16_t some[4];
    size_t some_count;
    char **words;
    customer **customers;
    coney_map map;
    json_t *others;
} everything;

extern const coney_field everything_fields[];
extern const coney_type everything_type;

#endif
