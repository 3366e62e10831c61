/* SPDX-License-Identifier: MIT */
#include "coney_json.h"

#include "documents.h"

#include <coney/coney.h>

/* ---- parcels: what json_by_hand.c does, as a table ---- */

static const coney_field parcel_fields[] = {
    CONEY_FIELD(parcel, id, CONEY_INT64),        CONEY_FIELD(parcel, customer, CONEY_STRING),
    CONEY_FIELD(parcel, street, CONEY_STRING),   CONEY_FIELD(parcel, city, CONEY_STRING),
    CONEY_FIELD(parcel, items, CONEY_INT32),     CONEY_FIELD(parcel, weight, CONEY_DOUBLE),
    CONEY_FIELD(parcel, insured, CONEY_BOOL),    CONEY_FIELD(parcel, charge, CONEY_DECIMAL),
    CONEY_FIELD(parcel, posted, CONEY_TIMESPEC), CONEY_FIELD(parcel, note, CONEY_STRING, .optional = true),
};
static const coney_type parcel_type = CONEY_TYPE(NULL, parcel, parcel_fields);

/* ---- orders ---- */

static const coney_enum_name statuses[] = {
    {"OPEN", ORDER_OPEN}, {"PAID", ORDER_PAID}, {"SHIPPED", ORDER_SHIPPED}, {"CANCELLED", ORDER_CANCELLED}};

static const coney_field customer_fields[] = {
    CONEY_FIELD(order_customer, id, CONEY_INT64, CONEY_RANGE(1, INT64_MAX)),
    CONEY_FIELD(order_customer, name, CONEY_STRING),
    CONEY_FIELD(order_customer, email, CONEY_STRING),
};
static const coney_type customer_type = CONEY_TYPE(NULL, order_customer, customer_fields);

static const coney_field line_fields[] = {
    CONEY_FIELD(order_line, sku, CONEY_STRING),
    CONEY_FIELD(order_line, title, CONEY_STRING),
    CONEY_FIELD(order_line, quantity, CONEY_INT32, CONEY_RANGE(1, 10000)),
    CONEY_FIELD(order_line, price, CONEY_DECIMAL),
    CONEY_FIELD(order_line, gift, CONEY_BOOL),
};
static const coney_type line_type = CONEY_TYPE(NULL, order_line, line_fields);

static const coney_field order_fields[] = {
    CONEY_FIELD(order, id, CONEY_STRING),
    CONEY_FIELD(order, status, CONEY_ENUM(statuses)),
    CONEY_FIELD(order, customer, CONEY_STRUCT(customer_type)),
    CONEY_FIELD(order, placed, CONEY_TIMESPEC),
    CONEY_FIELD(order, due, CONEY_TIMESPEC),
    CONEY_FIELD(order, total, CONEY_DECIMAL),
    CONEY_FIELD(order, note, CONEY_STRING, .optional = true),
    CONEY_LIST(order, lines, line_count, CONEY_STRUCT(line_type)),
};
static const coney_type order_type = CONEY_TYPE(NULL, order, order_fields);

/* ---- conversion: messages as a program sends and receives them ---- */

static bool give(encoded *made, coney_status status, coney_message *message)
{
    if (status == CONEY_OK)
        *made = (encoded){message, coney_message_body(message), coney_message_size(message)};
    return status == CONEY_OK;
}

static bool receive(encoded *made, const char *text, size_t size)
{
    const coney_properties json = {.content_type = CONEY_CONTENT_TYPE_JSON};
    coney_message *message = NULL;
    coney_status status = coney_message_new(&message, text, size, &json);
    return give(made, status, message);
}

static void free_encoded(encoded *freed)
{
    coney_message_unref(freed->message);
}

static bool encode(encoded *made, const coney_type *type, const void *object)
{
    coney_message *message = NULL;
    coney_status status = coney_message_new_object(&message, type, object, NULL);
    return give(made, status, message);
}

static void *decode(const encoded *from, const coney_type *type)
{
    void *object = NULL;
    return coney_message_object(&object, from->message, type) == CONEY_OK ? object : NULL;
}

static bool encode_parcel(encoded *made, const void *object)
{
    return encode(made, &parcel_type, object);
}

static void *decode_parcel(const encoded *from)
{
    return decode(from, &parcel_type);
}

static bool encode_order(encoded *made, const void *object)
{
    return encode(made, &order_type, object);
}

static void *decode_order(const encoded *from)
{
    return decode(from, &order_type);
}

const codec *coney_json_codec(const bench_case *one)
{
    static const codec parcels = {receive, decode_parcel, encode_parcel, coney_object_free, free_encoded};
    static const codec orders = {receive, decode_order, encode_order, coney_object_free, free_encoded};
    return one->lines > 0 ? &orders : &parcels;
}
