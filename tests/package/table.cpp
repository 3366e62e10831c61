// SPDX-License-Identifier: MIT
// A table with every macro, in C++17 and, with options as designated initializers, in C++20.
#include <coney/amqp/type.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

enum state { state_new, state_paid };

struct line {
    const char *sku;
    std::int32_t quantity;
};

struct order {
    std::int64_t id;
    state current;
    line first;
    line *gift;
    line *lines;
    std::size_t line_count;
    double weights[2];
    std::uint16_t codes[4];
    std::size_t code_count;
    const char **tags;
    coney_map labels;
    bool has_total;
    double total;
    struct timespec at;
    std::uint8_t uuid[16];
    char code[8];
};

static const coney_enum_name states[] = {{"NEW", state_new}, {"PAID", state_paid}};

static const coney_field line_fields[] = {
    CONEY_FIELD(line, sku, CONEY_STRING),
    CONEY_FIELD(line, quantity, CONEY_INT32),
};
static const coney_type line_type = CONEY_TYPE("shop.Line", line, line_fields);

static const coney_field order_fields[] = {
    CONEY_FIELD(order, id, CONEY_INT64),
    CONEY_FIELD(order, current, CONEY_ENUM(states)),
    CONEY_FIELD(order, first, CONEY_STRUCT(line_type)),
    CONEY_POINTER(order, gift, CONEY_STRUCT(line_type)),
    CONEY_LIST(order, lines, line_count, CONEY_STRUCT(line_type)),
    CONEY_ARRAY_FIELD(order, weights, CONEY_DOUBLE),
    CONEY_COUNTED_ARRAY(order, codes, code_count, CONEY_UINT16),
    CONEY_TERMINATED_LIST(order, tags, CONEY_STRING),
    CONEY_MAP(order, labels, CONEY_STRING),
#if __cplusplus >= 202002L
    CONEY_FIELD(order, total, CONEY_DOUBLE, .has = CONEY_HAS(order, has_total), CONEY_REAL_RANGE(0, 100)),
#endif
    CONEY_FIELD(order, at, CONEY_TIMESPEC),
    CONEY_FIELD(order, uuid, CONEY_UUID),
    CONEY_FIELD(order, code, CONEY_CHARS),
};
static const coney_type order_type = CONEY_TYPE("shop.Order", order, order_fields);
static const coney_type orders_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(order_type));

int main()
{
    const char json[] = "[{\"id\":7,\"current\":\"PAID\",\"first\":{\"sku\":\"a\",\"quantity\":1},\"gift\":null,"
                        "\"lines\":[],\"weights\":[0.5,1.0],\"codes\":[3],\"tags\":[\"x\"],\"labels\":{\"k\":\"v\"},"
                        "\"at\":\"2026-12-01T03:04:05Z\",\"uuid\":\"123e4567-e89b-42d3-a456-426614174000\","
                        "\"code\":\"abc\"}]";
    void *object = nullptr;
    char *text = nullptr;
    bool same = coney_type_check(&orders_type) == CONEY_OK &&
                coney_type_decode(&orders_type, &object, json, std::strlen(json)) == CONEY_OK &&
                coney_type_encode(&orders_type, object, &text, nullptr) == CONEY_OK && std::strcmp(text, json) == 0;
    if (!same)
        std::fprintf(stderr, "%s\n%s\n", coney_last_error(), text ? text : "");
    coney_text_free(text);
    coney_object_free(object);
    return same ? 0 : 1;
}
