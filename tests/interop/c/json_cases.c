/* SPDX-License-Identifier: MIT */
/* Objects, lists and maps as JSON, with type headers and without: JsonCases.java is the other side. */
#include "interop.h"

#define OURS "org.coney.interop.Samples$"
#define CANCELLATION "{'id':'A-18','reason':'too late'}"
#define BY_SKU "{'bolt':{'sku':'bolt','quantity':3,'price':0.25},'wheel':{'sku':'wheel','quantity':2,'price':19.5}}"
#define LATIN1 "{'id':'Z\u00fcrich','reason':'\u00e0 bient\u00f4t'}"

/* ---- type headers ---- */

static void expect_types(const coney_message *message, const char *type, const char *content, const char *key)
{
    interop_expect_header(message, "__TypeId__", type);
    interop_expect_header(message, "__ContentTypeId__", content);
    interop_expect_header(message, "__KeyTypeId__", key);
}

static void send_with_types(const char *queue, const char *json, const char *type, const char *content, const char *key)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    json_t *value = interop_json(json);
    assert_ok(coney_table_set_string(headers, "__TypeId__", type));
    assert_ok(coney_table_set_string(headers, "__ContentTypeId__", content));
    if (key)
        assert_ok(coney_table_set_string(headers, "__KeyTypeId__", key));
    assert_ok(coney_message_new_json(&message, value, &(coney_properties){.headers = headers}));
    json_decref(value);
    coney_table_free(headers);
    interop_send(queue, message);
}

/* convertAndSend knows the class of a collection, and nothing of its elements. A listener method with a return type
 * knows its elements. */
static void expect_collection(const coney_message *message, int index, const char *content)
{
    if (index == 0)
        expect_types(message, "java.util.ArrayList", "java.lang.Object", NULL);
    else
        expect_types(message, "java.util.List", content, NULL);
}

static void read_object(coney_message *message, int index)
{
    (void)index;
    expect_types(message, OURS "Order", NULL, NULL);
    interop_expect_json(message, INTEROP_ORDER);
    assert_string_equal(coney_message_properties(message)->content_type, "application/json");
    assert_string_equal(coney_message_properties(message)->content_encoding, "UTF-8");
}

static void send_object(const char *queue)
{
    interop_send_json(queue, INTEROP_ORDER, OURS "Order");
}

static void read_list(coney_message *message, int index)
{
    expect_collection(message, index, OURS "Line");
    interop_expect_json(message, INTEROP_LINES);
}

static void send_list(const char *queue)
{
    send_with_types(queue, INTEROP_LINES, "java.util.List", OURS "Line", NULL);
}

static void read_map(coney_message *message, int index)
{
    if (index == 0)
        expect_types(message, "java.util.LinkedHashMap", "java.lang.Object", "java.lang.Object");
    else
        expect_types(message, "java.util.Map", OURS "Line", "java.lang.String");
    interop_expect_json(message, BY_SKU);
}

static void send_map(const char *queue)
{
    send_with_types(queue, BY_SKU, "java.util.Map", OURS "Line", "java.lang.String");
}

static void read_array(coney_message *message, int index)
{
    (void)index;
    expect_types(message, "[L" OURS "Line;", NULL, NULL);
    interop_expect_json(message, INTEROP_LINES);
}

static void send_array(const char *queue)
{
    interop_send_json(queue, INTEROP_LINES, "[L" OURS "Line;");
}

static void read_no_type(coney_message *message, int index)
{
    (void)index;
    expect_types(message, NULL, NULL, NULL);
    interop_expect_json(message, CANCELLATION);
}

static void send_no_type(const char *queue)
{
    interop_send_json(queue, CANCELLATION, NULL);
}

static void read_id(coney_message *message, int index)
{
    (void)index;
    expect_types(message, "order", NULL, NULL);
    interop_expect_json(message, INTEROP_ORDER);
}

static void send_id(const char *queue)
{
    interop_send_json(queue, INTEROP_ORDER, "order");
}

static void read_id_list(coney_message *message, int index)
{
    expect_collection(message, index, "line");
    interop_expect_json(message, INTEROP_LINES);
}

static void send_id_list(const char *queue)
{
    send_with_types(queue, INTEROP_LINES, "java.util.ArrayList", "line", NULL);
}

static void read_hashtable(coney_message *message, int index)
{
    (void)index;
    expect_types(message, "Hashtable", NULL, NULL);
    interop_expect_json(message, CANCELLATION);
}

static void send_hashtable(const char *queue)
{
    interop_send_json(queue, CANCELLATION, "Hashtable");
}

/* ---- scalars, content types and charsets ---- */

static const struct {
    const char *json, *type;
} scalars[] = {
    {"'Z\u00fcrich, \u6771\u4eac \U0001f680 \\'quoted\\''", "java.lang.String"},
    {"42", "java.lang.Integer"},
    {"true", "java.lang.Boolean"},
    {"2.5", "java.lang.Double"},
    {"[]", NULL}, /* Java's immutable classes have names of their own */
    {"{}", NULL},
};

static void read_scalars(coney_message *message, int index)
{
    interop_expect_json(message, scalars[index].json);
    if (scalars[index].type)
        interop_expect_header(message, "__TypeId__", scalars[index].type);
}

static void send_scalars(const char *queue)
{
    for (int i = 0; i < 4; i++)
        interop_send_json(queue, scalars[i].json, scalars[i].type);
}

static void send_as(const char *queue, const char *json, const coney_properties *properties)
{
    coney_message *message;
    json_t *value = interop_json(json);
    assert_ok(coney_message_new_json(&message, value, properties));
    json_decref(value);
    interop_send(queue, message);
}

static void read_vendor_type(coney_message *message, int index)
{
    (void)index;
    assert_string_equal(coney_message_properties(message)->content_type, "application/vnd.coney.order+json");
    interop_expect_json(message, INTEROP_ORDER);
}

static void send_vendor_type(const char *queue)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "__TypeId__", OURS "Order"));
    send_as(queue, INTEROP_ORDER,
            &(coney_properties){.content_type = "application/vnd.coney.order+json", .headers = headers});
    coney_table_free(headers);
}

static void read_latin1(coney_message *message, int index)
{
    (void)index;
    assert_null(coney_message_properties(message)->content_encoding);
    interop_expect_json(message, LATIN1);
}

static void send_latin1(const char *queue)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "__TypeId__", OURS "Cancellation"));
    send_as(queue, LATIN1, &(coney_properties){.content_encoding = "ISO-8859-1", .headers = headers});
    coney_table_free(headers);
}

static void read_utf16(coney_message *message, int index)
{
    (void)index;
    assert_string_equal(coney_message_properties(message)->content_encoding, "UTF-16BE");
    interop_expect_json(message, CANCELLATION);
}

static void send_utf16(const char *queue)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "__TypeId__", OURS "Cancellation"));
    send_as(queue, CANCELLATION, &(coney_properties){.content_encoding = "UTF-16BE", .headers = headers});
    coney_table_free(headers);
}

static void read_content_type(coney_message *message, int index)
{
    if (index == 0)
        assert_null(coney_message_properties(message)->content_type);
    interop_expect_json(message, CANCELLATION);
    interop_expect_kind(message, index < 2 ? CONEY_CONTENT_BYTES : CONEY_CONTENT_JSON);
}

static void send_content_types(const char *queue)
{
    static const char *const types[] = {"application/json", "application/octet-stream", "application/problem+json"};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        send_as(queue, CANCELLATION, &(coney_properties){.content_type = types[i]});
}

/* ---- who chooses the type ---- */

static void send_to_be_inferred(const char *queue)
{
    interop_send_json(queue, CANCELLATION, NULL);
    interop_send_json(queue, CANCELLATION, "no.such.Class");
}

static void send_type_id_first(const char *queue)
{
    interop_send_json(queue, CANCELLATION, OURS "Cancellation");
}

static void send_to_handlers(const char *queue)
{
    interop_send_json(queue, INTEROP_ORDER, "order");
    interop_send_json(queue, CANCELLATION, "cancellation");
    interop_send_json(queue, "{'sku':'bolt'}", NULL);
}

static int orders, cancellations, others;

static coney_outcome on_order(coney_delivery *delivery, void *user)
{
    (void)user;
    const json_t *order = coney_delivery_payload(delivery);
    check_text(json_string_value(json_object_get(order, "id")), "A-17");
    orders++;
    return CONEY_ACK;
}

static coney_outcome on_cancellation(coney_delivery *delivery, void *user)
{
    (void)user;
    const json_t *cancellation = coney_delivery_payload(delivery);
    check_text(json_string_value(json_object_get(cancellation, "reason")), "too late");
    cancellations++;
    return CONEY_ACK;
}

static coney_outcome on_other(coney_delivery *delivery, void *user)
{
    (void)user;
    check_text(json_string_value(coney_delivery_payload(delivery)), "neither");
    others++;
    return CONEY_ACK;
}

static void serve_handlers(const char *queue)
{
    static const coney_typed_handler handlers[] = {
        {.type = "order", .on_message = on_order},
        {.type = "cancellation", .on_message = on_cancellation},
    };
    interop_listen(&(coney_listener){.queue = queue,
                                     .handlers = handlers,
                                     .handler_count = COUNT_OF(handlers),
                                     .on_message = on_other,
                                     .converter = coney_json_converter()},
                   3);
    assert_int_equal(orders, 1);
    assert_int_equal(cancellations, 1);
    assert_int_equal(others, 1);
}

const interop_case interop_json_cases[] = {
    {.name = "json-object", .read = read_object, .send = send_object},
    {.name = "json-list", .read = read_list, .messages = 2, .send = send_list},
    {.name = "json-map", .read = read_map, .messages = 2, .send = send_map},
    {.name = "json-array", .read = read_array, .send = send_array},
    {.name = "json-no-type", .read = read_no_type, .send = send_no_type},
    {.name = "json-id-mapping", .read = read_id, .send = send_id},
    {.name = "json-id-mapping-list", .read = read_id_list, .messages = 2, .send = send_id_list},
    {.name = "json-old-map-type", .read = read_hashtable, .send = send_hashtable},
    {.name = "json-scalars", .read = read_scalars, .messages = COUNT_OF(scalars), .send = send_scalars},
    {.name = "json-vendor-type", .read = read_vendor_type, .send = send_vendor_type},
    {.name = "json-charset-parameter", .read = read_latin1, .send = send_latin1},
    {.name = "json-utf16", .read = read_utf16, .send = send_utf16},
    {.name = "json-content-types", .read = read_content_type, .messages = 6, .send = send_content_types},
    {.name = "json-inferred", .send = send_to_be_inferred},
    {.name = "json-type-id-first", .send = send_type_id_first},
    {.name = "json-handler-by-class", .serve = serve_handlers, .send = send_to_handlers},
    {0},
};
