/* SPDX-License-Identifier: MIT */
#include "support/orders.h"

static const coney_enum_name states[] = {{"NEW", ORDER_NEW}, {"PAID", ORDER_PAID}, {"SHIPPED", ORDER_SHIPPED}};

static const coney_field line_fields[] = {
    CONEY_FIELD(order_line, sku, CONEY_CHARS, .min_size = 1),
    CONEY_FIELD(order_line, quantity, CONEY_INT32, CONEY_RANGE(1, 1000)),
    CONEY_FIELD(order_line, price, CONEY_DECIMAL),
};
const coney_type order_line_type = CONEY_TYPE("shop.Line", order_line, line_fields);

static const coney_field customer_fields[] = {
    CONEY_FIELD(customer, name, CONEY_STRING, .max_size = 20),
    CONEY_FIELD(customer, mail, CONEY_STRING, .optional = true),
};
const coney_type customer_type = CONEY_TYPE("shop.Customer", customer, customer_fields);

static coney_status check_order(const void *object, void *user)
{
    const order *checked = object;
    (void)user;
    return checked->state == ORDER_SHIPPED && checked->line_count == 0
               ? coney_conversion_failed("a shipped order has lines")
               : CONEY_OK;
}

static const coney_field order_fields[] = {
    CONEY_FIELD(order, id, CONEY_INT64),
    CONEY_FIELD(order, uuid, CONEY_UUID, .optional = true),
    CONEY_FIELD(order, state, CONEY_ENUM(states)),
    CONEY_FIELD(order, customer, CONEY_STRUCT(customer_type)),
    CONEY_POINTER(order, guest, CONEY_STRUCT(customer_type), .optional = true),
    CONEY_LIST(order, lines, line_count, CONEY_STRUCT(order_line_type), .max_size = 100),
    CONEY_FIELD(order, placed_at, CONEY_TIMESTAMP, .name = "placedAt"),
    CONEY_FIELD(order, weight, CONEY_DOUBLE, .has = CONEY_HAS(order, has_weight), CONEY_REAL_RANGE(0, 50)),
    CONEY_FIELD(order, note, CONEY_STRING, .optional = true, .write_null = true),
    CONEY_FIELD(order, currency, CONEY_STRING, .default_text = "EUR"),
};
const coney_type order_type = CONEY_TYPE("shop.Order", order, order_fields, .check = check_order);
const coney_type orders_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(order_type));
const coney_type orders_by_name_type = CONEY_MAP_TYPE("java.util.HashMap", CONEY_STRUCT(order_type));

const coney_field everything_fields[] = {
    CONEY_FIELD(everything, yes, CONEY_BOOL),
    CONEY_FIELD(everything, i8, CONEY_INT8),
    CONEY_FIELD(everything, u8, CONEY_UINT8),
    CONEY_FIELD(everything, i16, CONEY_INT16),
    CONEY_FIELD(everything, u16, CONEY_UINT16),
    CONEY_FIELD(everything, i32, CONEY_INT32),
    CONEY_FIELD(everything, u32, CONEY_UINT32),
    CONEY_FIELD(everything, i64, CONEY_INT64),
    CONEY_FIELD(everything, u64, CONEY_UINT64, .number = CONEY_NUMBER_PLAIN),
    CONEY_FIELD(everything, single, CONEY_FLOAT),
    CONEY_FIELD(everything, real, CONEY_DOUBLE),
    CONEY_FIELD(everything, decimal, CONEY_DECIMAL),
    CONEY_FIELD(everything, text, CONEY_STRING),
    CONEY_FIELD(everything, chars, CONEY_CHARS),
    CONEY_FIELD(everything, bytes, CONEY_BYTES),
    CONEY_FIELD(everything, state, CONEY_ENUM(states)),
    CONEY_FIELD(everything, seconds, CONEY_TIMESTAMP, .time = CONEY_TIME_SECONDS),
    CONEY_FIELD(everything, milliseconds, CONEY_TIMESTAMP_MS, .time = CONEY_TIME_MILLISECONDS),
    CONEY_FIELD(everything, time, CONEY_TIMESPEC),
    CONEY_FIELD(everything, uuid, CONEY_UUID),
    CONEY_FIELD(everything, json, CONEY_JSON),
    CONEY_FIELD(everything, raw, CONEY_RAW_JSON),
    CONEY_FIELD(everything, one, CONEY_STRUCT(customer_type)),
    CONEY_POINTER(everything, pointed, CONEY_INT32),
    CONEY_POINTER(everything, pointed_struct, CONEY_STRUCT(customer_type)),
    CONEY_LIST(everything, list, list_count, CONEY_INT32),
    CONEY_ARRAY_FIELD(everything, fixed, CONEY_DOUBLE),
    CONEY_COUNTED_ARRAY(everything, some, some_count, CONEY_UINT16),
    CONEY_TERMINATED_LIST(everything, words, CONEY_STRING),
    CONEY_TERMINATED_LIST(everything, customers, CONEY_STRUCT(customer_type)),
    CONEY_MAP(everything, map, CONEY_STRING),
    CONEY_FIELD(everything, others, CONEY_UNKNOWN),
};
const coney_type everything_type = CONEY_TYPE("test.Everything", everything, everything_fields);
