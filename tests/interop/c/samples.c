/* SPDX-License-Identifier: MIT */
/* See samples.h. */
#include "samples.h"

static const coney_field customer_fields[] = {
    CONEY_FIELD(customer, name, CONEY_STRING),
    CONEY_FIELD(customer, vip, CONEY_BOOL),
};
static const coney_type customer_type = CONEY_TYPE(NULL, customer, customer_fields);

static const coney_field line_fields[] = {
    CONEY_FIELD(line, sku, CONEY_CHARS),
    CONEY_FIELD(line, quantity, CONEY_INT32, CONEY_RANGE(1, 1000)),
    CONEY_FIELD(line, price, CONEY_DECIMAL, .number = CONEY_NUMBER_PLAIN),
};
const coney_type sample_line_type = CONEY_TYPE(OURS "Samples$Line", line, line_fields);
const coney_type sample_line_id_type = CONEY_TYPE("line", line, line_fields);

static const coney_field order_fields[] = {
    CONEY_FIELD(order, id, CONEY_STRING),
    CONEY_POINTER(order, customer, CONEY_STRUCT(customer_type)),
    CONEY_LIST(order, lines, line_count, CONEY_STRUCT(sample_line_type)),
    CONEY_FIELD(order, total, CONEY_DECIMAL),
    CONEY_FIELD(order, note, CONEY_STRING, .optional = true, .write_null = true),
};
const coney_type sample_order_type = CONEY_TYPE(OURS "Samples$Order", order, order_fields);
const coney_type sample_order_id_type = CONEY_TYPE("order", order, order_fields);

const coney_type sample_lines_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(sample_line_type));
const coney_type sample_lines_id_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(sample_line_id_type));
const coney_type sample_by_sku_type = CONEY_MAP_TYPE("java.util.LinkedHashMap", CONEY_STRUCT(sample_line_type));

static const coney_field cancellation_fields[] = {
    CONEY_FIELD(cancellation, id, CONEY_STRING),
    CONEY_FIELD(cancellation, reason, CONEY_STRING),
};
const coney_type sample_cancellation_type = CONEY_TYPE(OURS "Samples$Cancellation", cancellation, cancellation_fields);
const coney_type sample_cancellation_id_type = CONEY_TYPE("cancellation", cancellation, cancellation_fields);

static const coney_type *const types[] = {&sample_order_type,        &sample_order_id_type,       &sample_line_type,
                                          &sample_lines_type,        &sample_lines_id_type,       &sample_by_sku_type,
                                          &sample_cancellation_type, &sample_cancellation_id_type};
const coney_types sample_types = {types, COUNT_OF(types)};

line sample_lines[] = {{"bolt", 3, (char[]){"0.25"}}, {"wheel", 2, (char[]){"19.5"}}};
static customer sample_customer = {(char[]){INTEROP_TEXT}, true};
const order sample_order = {(char[]){"A-17"}, &sample_customer, sample_lines, 2, (char[]){"39.75"}, NULL};

void sample_expect_lines(const line *lines, size_t count)
{
    assert_int_equal(count, COUNT_OF(sample_lines));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(lines[i].sku, sample_lines[i].sku);
        assert_int_equal(lines[i].quantity, sample_lines[i].quantity);
        assert_string_equal(lines[i].price, sample_lines[i].price);
    }
}

void sample_expect_order(const order *got)
{
    assert_string_equal(got->id, sample_order.id);
    assert_string_equal(got->customer->name, sample_customer.name);
    assert_true(got->customer->vip);
    sample_expect_lines(got->lines, got->line_count);
    assert_string_equal(got->total, sample_order.total);
    assert_null(got->note);
}
