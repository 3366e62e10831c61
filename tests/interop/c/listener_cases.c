/* SPDX-License-Identifier: MIT */
/* Listeners and receives of the C side whose payloads are structs: who chooses the type of what Spring has sent.
 * JsonCases.java and TalkCases.java are the other side. */
#include "samples.h"

static int orders, cancellations, others;

static void expect_calls(int of_orders, int of_cancellations, int of_others)
{
    assert_int_equal(orders, of_orders);
    assert_int_equal(cancellations, of_cancellations);
    assert_int_equal(others, of_others);
    orders = cancellations = others = 0;
}

static coney_outcome on_order(coney_delivery *delivery, void *user)
{
    (void)user;
    const order *got = coney_delivery_payload(delivery);
    check(got && got->line_count == 2 && strcmp(got->id, "A-17") == 0);
    orders++;
    return CONEY_ACK;
}

static coney_outcome on_cancellation(coney_delivery *delivery, void *user)
{
    (void)user;
    const cancellation *got = coney_delivery_payload(delivery);
    check(got && strcmp(got->reason, "too late") == 0);
    cancellations++;
    return CONEY_ACK;
}

/* Without a type that is known the content type decides: here it is JSON. */
static coney_outcome on_other(coney_delivery *delivery, void *user)
{
    (void)user;
    check_text(json_string_value(coney_delivery_json(delivery)), "neither");
    others++;
    return CONEY_ACK;
}

static coney_outcome on_any(coney_delivery *delivery, void *user)
{
    const coney_type *type = coney_delivery_type(delivery);
    if (type == &sample_order_type)
        return on_order(delivery, user);
    if (type == &sample_cancellation_id_type)
        return on_cancellation(delivery, user);
    test_check(false, "the payload has another type", __FILE__, __LINE__);
    return CONEY_REJECT;
}

/* The listener's type wins over any header. */
static void serve_inferred(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = on_order, .type = &sample_order_type}, 2);
    expect_calls(2, 0, 0);
}

/* The header wins over the listener's type, which is for messages without a header. */
static void serve_type_id_first(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue,
                                     .on_message = on_any,
                                     .type = &sample_order_type,
                                     .types = sample_types,
                                     .type_precedence = CONEY_TYPE_ID},
                   3);
    expect_calls(2, 1, 0);
}

static void serve_handlers(const char *queue)
{
    static const coney_typed_handler handlers[] = {
        {.payload_type = &sample_order_id_type, .on_message = on_order},
        {.payload_type = &sample_cancellation_id_type, .on_message = on_cancellation},
    };
    interop_listen(&(coney_listener){.queue = queue,
                                     .handlers = handlers,
                                     .handler_count = COUNT_OF(handlers),
                                     .on_message = on_other,
                                     .converter = coney_json_converter()},
                   3);
    expect_calls(1, 1, 1);
}

/* A name that is not in the registry is a conversion error. */
static void serve_unknown_type(const char *queue)
{
    (void)queue;
    interop_declare_dead_lettering("typed-unknown-type.work", "typed-unknown-type.spring");
    interop_listen(&(coney_listener){.queue = interop_name("typed-unknown-type.work"),
                                     .on_message = on_any,
                                     .types = sample_types,
                                     .type_precedence = CONEY_TYPE_ID},
                   1);
    expect_calls(0, 0, 0);
}

static coney_outcome on_request(coney_delivery *delivery, void *user)
{
    (void)user;
    const order *request = coney_delivery_object(delivery, &sample_order_type);
    const cancellation answer = {request ? request->id : NULL, (char[]){"answered"}};
    check(coney_delivery_reply_object(delivery, &sample_cancellation_type, &answer) == CONEY_OK);
    return CONEY_ACK;
}

static void serve_requests(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = on_request, .type = &sample_order_type}, 2);
}

/* A template that knows the same types receives what comes. */
static void serve_receives(const char *queue)
{
    static const coney_content_kind kinds[] = {CONEY_CONTENT_OBJECT, CONEY_CONTENT_TEXT, CONEY_CONTENT_BYTES,
                                               CONEY_CONTENT_JSON};
    coney_template *receiver;
    assert_ok(coney_template_new(&receiver, client.factory, &(coney_template_options){.types = sample_types}));
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        coney_content *content;
        assert_ok(coney_template_receive_content(receiver, queue, &content, interop_patience()));
        assert_non_null(content);
        assert_int_equal(content->kind, kinds[i]);
        if (content->kind == CONEY_CONTENT_OBJECT)
            sample_expect_order(content->object);
        coney_content_free(content);
    }
    coney_template_free(receiver);
}

const interop_case interop_listener_cases[] = {
    {.name = "typed-inferred", .serve = serve_inferred},
    {.name = "typed-type-id-first", .serve = serve_type_id_first},
    {.name = "typed-handler-by-class", .serve = serve_handlers},
    {.name = "typed-unknown-type", .serve = serve_unknown_type},
    {.name = "typed-reply", .serve = serve_requests},
    {.name = "typed-receive", .serve = serve_receives},
    {0},
};
