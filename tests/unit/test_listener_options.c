/* SPDX-License-Identifier: MIT */
/* What can be wrong with a listener's options and a container's: the error names the option, its value and the way
 * out. Nothing connects here. */
#include "support/test_support.h"

#include <limits.h>
#include <stdio.h>

static coney_connection_factory *factory;
static coney_container *container;

static int setup(void **state)
{
    (void)state;
    assert_ok(coney_connection_factory_new(&factory, "amqp://127.0.0.1:1", NULL));
    assert_ok(coney_container_new(&container, factory, NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    coney_container_free(container);
    coney_connection_factory_free(factory);
    return 0;
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_ACK;
}

static void handle_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)deliveries;
    (void)user;
    for (size_t i = 0; i < count; i++)
        outcomes[i] = CONEY_ACK;
}

static coney_outcome recover(coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)delivery;
    (void)error;
    (void)user;
    return CONEY_ACK;
}

static coney_status validate(const void *payload, void *user)
{
    (void)payload;
    (void)user;
    return CONEY_OK;
}

typedef struct wrong_listener {
    coney_listener listener; /* without a queue it is for "q", without a handler it has one */
    const char *words[3];
} wrong_listener;

static void expect_refusals(const wrong_listener *wrong, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        coney_listener listener = wrong[i].listener;
        listener.queue = listener.queue ? listener.queue : "q";
        if (!listener.on_batch && !listener.handlers && listener.handler_count == 0)
            listener.on_message = handle;
        for (size_t k = 0; k < COUNT_OF(wrong[i].words) && wrong[i].words[k]; k++)
            assert_fails(coney_container_listen(container, &listener), CONEY_E_INVALID, wrong[i].words[k]);
    }
    assert_fails(coney_container_start(container), CONEY_E_STATE, "no listeners"); /* none was taken */
}

static void test_error_names_the_queue(void **state)
{
    (void)state;
    const coney_listener wrong = {.queue = "orders", .on_message = handle, .prefetch = -1};
    assert_fails(coney_container_listen(container, &wrong), CONEY_E_INVALID, "listener for queue 'orders': prefetch");
}

static void test_queue_and_a_handler_are_required(void **state)
{
    (void)state;
    const coney_listener nameless = {.on_message = handle}, empty = {.queue = "", .on_message = handle};
    const coney_listener handlerless = {.queue = "q"};
    assert_fails(coney_container_listen(container, &nameless), CONEY_E_INVALID, "the queue is not named");
    assert_fails(coney_container_listen(container, &empty), CONEY_E_INVALID, "the queue is not named");
    assert_fails(coney_container_listen(container, &handlerless), CONEY_E_INVALID,
                 "on_message is NULL, and there is no on_batch and no handlers");
    assert_fails(coney_container_listen(container, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_container_listen(NULL, &handlerless), CONEY_E_INVALID, "NULL");
}

static void test_own_queue_is_no_parking_queue(void **state)
{
    (void)state;
    assert_fails(coney_container_listen(
                     container, &(coney_listener){.queue = "q", .on_message = handle, .retry = {.parking_queue = "q"}}),
                 CONEY_E_INVALID, "own queue 'q'");
}

static void test_what_does_not_go_with_a_stream_is_refused(void **state)
{
    (void)state;
    static const coney_queue stream = {.name = "q", .kind = CONEY_STREAM},
                             classic = {.name = "q", .kind = CONEY_CLASSIC};
    static const wrong_listener wrong[] = {
        {{.stream = true, .acknowledge = CONEY_ACKNOWLEDGE_NONE}, {"acknowledge is CONEY_ACKNOWLEDGE_NONE; a stream"}},
        {{.declare = &stream, .acknowledge = CONEY_ACKNOWLEDGE_NONE}, {"a stream is consumed with acknowledgements"}},
        {{.stream = true, .exclusive = true}, {"exclusive does not go with a stream"}},
        {{.stream = true, .concurrency = 2}, {"one consumer", "concurrency is 2, max_concurrency 0; take lanes"}},
        {{.stream = true, .max_concurrency = 3}, {"max_concurrency 3"}},
        {{.stream = true, .priority = 4}, {"priority is 4; consumers of a stream have none"}},
        {{.stream = true, .retry = {.delays_ms = {5000}}}, {"retry.delays_ms[0] is 5000, and a stream"}},
        {{.stream = true, .retry = {.stateful = true}}, {"retry.stateful gives messages back"}},
        {{.stream = true, .retry = {.delayed_by_queue = true}}, {"retry.delayed_by_queue gives messages back"}},
        {{.stream = true, .retry = {.exhausted = CONEY_EXHAUSTED_REQUEUE}}, {"CONEY_EXHAUSTED_REQUEUE, and a stream"}},
        {{.stream = true, .declare = &classic}, {"goes with a stream; declare is a classic queue"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_what_does_not_go_with_a_queue_that_delays_is_refused(void **state)
{
    (void)state;
    static const coney_queue plain = {.name = "q", .kind = CONEY_QUORUM},
                             returned = {.name = "q",
                                         .kind = CONEY_QUORUM,
                                         .delayed_retry = CONEY_DELAYED_RETRY_RETURNED,
                                         .delayed_retry_min_ms = 5},
                             delaying = {.name = "q",
                                         .kind = CONEY_QUORUM,
                                         .delayed_retry = CONEY_DELAYED_RETRY_ALL,
                                         .delayed_retry_min_ms = 5},
                             limited = {.name = "q",
                                        .kind = CONEY_QUORUM,
                                        .delayed_retry = CONEY_DELAYED_RETRY_ALL,
                                        .delayed_retry_min_ms = 5,
                                        .delivery_limit = 1};
#define DELAYED .delayed_by_queue = true
    static const wrong_listener wrong[] = {
        {{.retry = {DELAYED, .max_attempts = 1}}, {"retry.delayed_by_queue is for the time between attempts"}},
        {{.retry = {DELAYED, .first_delay_ms = 5}}, {"retry.delayed_by_queue goes without first_delay_ms"}},
        {{.retry = {DELAYED, .multiplier = 2}}, {"goes without first_delay_ms, multiplier"}},
        {{.retry = {DELAYED, .max_delay_ms = 5}}, {"max_delay_ms"}},
        {{.retry = {DELAYED, .delays_ms = {5}}}, {"and delays_ms: the queue's delayed_retry_min_ms"}},
        {{.retry = {DELAYED}, .acknowledge = CONEY_ACKNOWLEDGE_NONE}, {"retry.delayed_by_queue counts redeliveries"}},
        {{.retry = {DELAYED}, .declare = &plain}, {"the queue 'q' is declared here without a delay", "delays_ms"}},
        {{.retry = {DELAYED}, .declare = &returned}, {"set its delayed_retry to CONEY_DELAYED_RETRY_FAILED"}},
        {{.retry = {DELAYED, .max_attempts = 22}, .declare = &delaying}, {"max_attempts is 22", "come back 20 times"}},
        {{.retry = {DELAYED}, .declare = &limited}, {"max_attempts is 3", "come back 1 times"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void expect_attempts_within(coney_queue *queue, int limit)
{
    coney_listener listener = {
        .declare = queue, .on_message = handle, .retry = {.delayed_by_queue = true, .max_attempts = limit + 2}};
    assert_fails(coney_container_listen(container, &listener), CONEY_E_INVALID, "the broker would end the message");
    listener.retry.max_attempts = limit + 1;
    assert_ok(coney_container_listen(container, &listener));
}

/* Over its limit the broker drops a message, unless there is a dead-letter exchange. */
static void test_queue_that_delays_must_let_all_attempts_be_made(void **state)
{
    (void)state;
    coney_table *arguments = coney_table_new();
    coney_queue queue = {.name = "default", .kind = CONEY_QUORUM};
    queue.delayed_retry = CONEY_DELAYED_RETRY_ALL;
    queue.delayed_retry_min_ms = 5;
    expect_attempts_within(&queue, 20);
    queue.name = "field";
    queue.delivery_limit = 4;
    expect_attempts_within(&queue, 4);
    queue.name = "argument";
    queue.delivery_limit = 0;
    queue.arguments = arguments;
    assert_ok(coney_table_set_int64(arguments, "x-delivery-limit", 2));
    expect_attempts_within(&queue, 2);
    queue.name = "argument of zero";
    assert_ok(coney_table_set_int64(arguments, "x-delivery-limit", 0));
    queue.delivery_limit = 0;
    assert_fails(
        coney_container_listen(
            container, &(coney_listener){.declare = &queue, .on_message = handle, .retry = {.delayed_by_queue = true}}),
        CONEY_E_INVALID, "come back 0 times");
    queue.name = "none";
    queue.delivery_limit = -1;
    queue.arguments = NULL;
    const coney_listener listener = {
        .declare = &queue, .on_message = handle, .retry = {.delayed_by_queue = true, .max_attempts = 1000}};
    assert_ok(coney_container_listen(container, &listener));
    coney_table_free(arguments);
}

static void expect_offset(const coney_value *offset, const char *words)
{
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set(arguments, "x-stream-offset", offset));
    const coney_listener listener = {.queue = "q", .on_message = handle, .arguments = arguments};
    if (words)
        assert_fails(coney_container_listen(container, &listener), CONEY_E_INVALID, words);
    else
        assert_ok(coney_container_listen(container, &listener));
    coney_table_free(arguments);
}

/* For any other RabbitMQ closes the connection, and with it all other consumers. */
static void test_only_an_offset_that_rabbitmq_knows_is_taken(void **state)
{
    (void)state;
    static const char *const right[] = {"first", "last", "next", "1h", "10Y", "5m"};
    static const char *const wrong[] = {"First", "nonsense", "", "5", "-3h", "1h30m", "h"};
    for (size_t i = 0; i < COUNT_OF(right); i++)
        expect_offset(&(coney_value){.type = CONEY_STRING, .as.bytes = {right[i], strlen(right[i])}}, NULL);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        expect_offset(&(coney_value){.type = CONEY_STRING, .as.bytes = {wrong[i], strlen(wrong[i])}},
                      "first, last, next or an interval such as 10m");
    expect_offset(&(coney_value){.type = CONEY_INT64, .as.integer = 0}, NULL);
    expect_offset(&(coney_value){.type = CONEY_INT32, .as.integer = 7}, NULL);
    expect_offset(&(coney_value){.type = CONEY_TIMESTAMP, .as.integer = 1700000000}, NULL);
    expect_offset(&(coney_value){.type = CONEY_INT64, .as.integer = -5}, "x-stream-offset is -5");
    expect_offset(&(coney_value){.type = CONEY_DOUBLE, .as.real = 1.5}, "neither a text, an integer nor a timestamp");
    expect_offset(&(coney_value){.type = CONEY_BOOL, .as.boolean = true}, "neither a text, an integer nor");
}

static void test_numbers_below_zero_are_refused(void **state)
{
    (void)state;
    static const wrong_listener wrong[] = {
        {{.concurrency = -1}, {"concurrency is -1; 0 to 2000 are possible"}},
        {{.max_concurrency = -2}, {"max_concurrency is -2; 0 to 2000 are possible"}},
        {{.prefetch = -3}, {"prefetch is -3; 0 to 65535 are possible"}},
        {{.lanes = -4}, {"lanes is -4; 0 to 1000 are possible"}},
        {{.ack_every = -5}, {"ack_every is -5; 0 to 65535 are possible"}},
        {{.ack_after_ms = -6}, {"ack_after_ms is -6; 0 to 2147483647 are possible"}},
        {{.batch_size = -7}, {"batch_size is -7; 0 to 65535 are possible"}},
        {{.batch_timeout_ms = -8}, {"batch_timeout_ms is -8; 0 to"}},
        {{.idle_event_ms = -9}, {"idle_event_ms is -9; 0 to"}},
        {{.elasticity.cycle_ms = -10}, {"elasticity.cycle_ms is -10; 0 to"}},
        {{.elasticity.active_trigger = -11}, {"elasticity.active_trigger is -11; 0 to"}},
        {{.elasticity.idle_trigger = -12}, {"elasticity.idle_trigger is -12; 0 to"}},
        {{.elasticity.grow_interval_ms = -13}, {"elasticity.grow_interval_ms is -13; 0 to"}},
        {{.elasticity.shrink_interval_ms = -14}, {"elasticity.shrink_interval_ms is -14; 0 to"}},
        {{.retry.max_attempts = -15}, {"retry.max_attempts is -15; 0 to"}},
        {{.retry.first_delay_ms = -16}, {"retry.first_delay_ms is -16; 0 to"}},
        {{.retry.max_delay_ms = -17}, {"retry.max_delay_ms is -17; 0 to"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_numbers_too_large_are_refused(void **state)
{
    (void)state;
    static const wrong_listener wrong[] = {
        {{.concurrency = 2001}, {"concurrency is 2001; 0 to 2000"}},
        {{.max_concurrency = 2001}, {"max_concurrency is 2001; 0 to 2000"}},
        {{.prefetch = 65536}, {"prefetch is 65536; 0 to 65535"}},
        {{.lanes = 1001}, {"lanes is 1001; 0 to 1000"}},
        {{.ack_every = 65536}, {"ack_every is 65536; 0 to 65535"}},
        {{.on_batch = handle_batch, .batch_size = 65536}, {"batch_size is 65536; 0 to 65535"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_multiplier_and_delays_are_checked(void **state)
{
    (void)state;
    static const wrong_listener wrong[] = {
        {{.retry.multiplier = 0.5}, {"retry.multiplier is 0.5; 1 to 1,000 are possible"}},
        {{.retry.multiplier = -1}, {"retry.multiplier is -1; 1 to"}},
        {{.retry.multiplier = 1001}, {"retry.multiplier is 1001; 1 to"}},
        {{.retry.delays_ms = {1000, -5}}, {"retry.delays_ms[1] is -5; a delay is positive"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_names_are_checked(void **state)
{
    (void)state;
    static char long_name[257];
    memset(long_name, 'n', 256);
    const wrong_listener wrong[] = {
        {{.queue = "\xff"}, {"queue name is not UTF-8 at byte 0"}},
        {{.queue = long_name}, {"queue name 'nnnn", "has 256 bytes; AMQP allows 255"}},
        {{.id = "a\xff"}, {"id is not UTF-8 at byte 1"}},
        {{.group = long_name}, {"group 'nnnn", "AMQP allows 255"}},
        {{.consumer_tag = "\xff"}, {"consumer_tag is not UTF-8"}},
        {{.send_to = "\xff"}, {"send_to is not UTF-8"}},
        {{.send_to = ""}, {"send_to is empty"}},
        {{.retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .exchange = "\xff"}}, {"retry.exchange is not UTF-8"}},
        {{.retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .routing_key = "\xff"}},
         {"retry.routing_key is not UTF-8"}},
        {{.retry = {.exhausted = CONEY_EXHAUSTED_PARK, .parking_queue = "\xff"}}, {"retry.parking_queue is not UTF-8"}},
        {{.queue = long_name + 6, .retry.delays_ms = {5000}}, {"a queue of the ladder", "AMQP allows 255"}},
        {{.queue = long_name + 6, .retry.exhausted = CONEY_EXHAUSTED_PARK}, {"AMQP allows 255"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

#define ON_MESSAGE .on_message = handle

static void test_handlers_are_checked(void **state)
{
    (void)state;
    static const coney_typed_handler nameless[] = {{.on_message = handle}}, empty[] = {{.type = "", ON_MESSAGE}};
    static const coney_typed_handler idle[] = {{.type = "order", ON_MESSAGE}, {.type = "offer"}};
    static const coney_typed_handler twice[] = {
        {.type = "order", ON_MESSAGE}, {.type = "invoice", ON_MESSAGE}, {.type = "order", ON_MESSAGE}};
    static const wrong_listener wrong[] = {
        {{.handlers = nameless, .handler_count = 1}, {"handlers[0] has no type or no on_message"}},
        {{.handlers = empty, .handler_count = 1}, {"handlers[0] has no type"}},
        {{.handlers = idle, .handler_count = 2}, {"handlers[1] has no type or no on_message"}},
        {{.handlers = twice, .handler_count = 3}, {"type 'order' has two handlers, 0 and 2"}},
        {{.handler_count = 3}, {"handlers is NULL, handler_count 3"}},
        {{.on_batch = handle_batch, .on_message = handle}, {"on_batch goes with no other handler, neither on_message"}},
        {{.on_batch = handle_batch, .handlers = twice, .handler_count = 2}, {"on_batch goes with no other handler"}},
        {{.validator = validate}, {"validator", "converter is NULL", "no type"}},
        {{.validator = validate, .handlers = twice, .handler_count = 2}, {"validator", "converter is NULL"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

/* ---- types of payloads ---- */

typedef struct parcel {
    int32_t weight;
} parcel;
static const coney_field parcel_fields[] = {CONEY_FIELD(parcel, weight, CONEY_INT32)};
static const coney_type parcel_type = CONEY_TYPE("Parcel", parcel, parcel_fields),
                        second_type = CONEY_TYPE("Parcel", parcel, parcel_fields),
                        nameless_type = CONEY_TYPE(NULL, parcel, parcel_fields),
                        wrong_type = {.id = "Wrong", .form = CONEY_OBJECT_FORM},
                        parcels_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(parcel_type)),
                        other_list_type = CONEY_LIST_TYPE("java.util.LinkedList", CONEY_STRUCT(second_type)),
                        nameless_list_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(nameless_type)),
                        numbers_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_INT32);

#define TYPES(...)                                                                                                     \
    {                                                                                                                  \
        (const coney_type *const[]){__VA_ARGS__}, sizeof((const coney_type *const[]){__VA_ARGS__}) / sizeof(void *)    \
    }
#define BY_ID .type_precedence = CONEY_TYPE_ID

static void test_types_are_checked(void **state)
{
    (void)state;
    const wrong_listener wrong[] = {
        {{.type = &wrong_type}, {"type: "}},
        {{.types = {.count = 2}}, {"types.types is NULL, and types.count is 2"}},
        {{.types = {(const coney_type *const[]){&parcel_type}, 0}}, {"types.count is 0"}},
        {{.types = TYPES(&parcel_type, NULL)}, {"types.types[1] is NULL"}},
        {{.types = TYPES(&wrong_type)}, {"types.types[0]: "}},
        {{.types = TYPES(&nameless_type)}, {"types.types[0]: it has no id"}},
        {{.types = TYPES(&nameless_list_type)}, {"types.types[0]: the type of its elements has no id"}},
        {{.types = TYPES(&numbers_type, &parcel_type, &second_type)},
         {"types.types[1] and types.types[2]", "'Parcel'"}},
        {{.types = TYPES(&parcel_type, &parcel_type)}, {"types.types[0] and types.types[1] are both named 'Parcel'"}},
        {{.types = TYPES(&parcels_type, &other_list_type)}, {"both named 'Parcel', by their elements"}},
        {{.type = &second_type, .types = TYPES(&parcel_type), BY_ID}, {"type and types.types[0]", "'Parcel'"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_types_without_effect_are_refused(void **state)
{
    (void)state;
    static const coney_typed_handler typed = {.payload_type = &parcel_type, ON_MESSAGE};
    const coney_converter *json = coney_json_converter();
    const wrong_listener wrong[] = {
        {{.type = &parcel_type, .converter = json}, {"converter and type are set"}},
        {{.types = TYPES(&parcel_type), .converter = json}, {"converter and types are set"}},
        {{.type = &parcel_type, .types = TYPES(&numbers_type)}, {"types would do nothing", "CONEY_TYPE_ID"}},
        {{BY_ID}, {"type_precedence is CONEY_TYPE_ID, and there is no type", "set type or types"}},
        {{BY_ID, .converter = json, .handlers = &typed, .handler_count = 1}, {"a converter makes the payloads"}},
        {{.type_precedence = (coney_type_precedence)2}, {"type_precedence is 2, which is no coney_type_precedence"}},
        {{.types = TYPES(&numbers_type), .handlers = &typed, .handler_count = 1},
         {"types would do nothing: each handl"}},
        {{.type = &numbers_type, .handlers = &typed, .handler_count = 1}, {"type would do nothing: each handler has"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_payload_types_of_handlers_are_checked(void **state)
{
    (void)state;
    static const coney_typed_handler nameless = {.payload_type = &nameless_type, ON_MESSAGE},
                                     broken = {.type = "a", .payload_type = &wrong_type, ON_MESSAGE},
                                     nameless_list = {.payload_type = &nameless_list_type, ON_MESSAGE},
                                     same[] = {{.payload_type = &parcel_type, ON_MESSAGE},
                                               {.type = "Parcel", ON_MESSAGE}},
                                     lists[] = {{.payload_type = &parcels_type, ON_MESSAGE},
                                                {.payload_type = &other_list_type, ON_MESSAGE}};
    const coney_typed_handler both = {.payload_type = &parcel_type, .converter = coney_json_converter(), ON_MESSAGE};
    const wrong_listener wrong[] = {
        {{.handlers = &nameless, .handler_count = 1}, {"handlers[0].payload_type: it has no id"}},
        {{.handlers = &nameless_list, .handler_count = 1}, {"handlers[0].payload_type: the type of its elements"}},
        {{.handlers = &broken, .handler_count = 1}, {"handlers[0].payload_type: "}},
        {{.handlers = &both, .handler_count = 1}, {"handlers[0].payload_type: there is a converter, too"}},
        {{.handlers = same, .handler_count = 2}, {"type 'Parcel' has two handlers, 0 and 1"}},
        {{.handlers = lists, .handler_count = 2}, {"type 'java.util.LinkedList' has two handlers, 0 and 1"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_types_that_go_together_are_taken(void **state)
{
    (void)state;
    static const coney_typed_handler two_lists[] = {{.payload_type = &parcels_type, ON_MESSAGE},
                                                    {.payload_type = &numbers_type, ON_MESSAGE}},
                                     named = {.type = "a", .payload_type = &nameless_type, ON_MESSAGE},
                                     plain = {.type = "Parcel", ON_MESSAGE};
    const coney_listener right[] = {
        {.on_message = handle, .type = &nameless_type, .validator = validate},
        {.on_message = handle, .types = TYPES(&parcel_type, &parcels_type, &numbers_type), .validator = validate},
        {.on_batch = handle_batch, .type = &parcel_type, .types = TYPES(&parcel_type, &numbers_type), BY_ID},
        {.on_message = handle, .type = &parcel_type, BY_ID},
        {.handlers = two_lists, .handler_count = 2, .validator = validate, BY_ID},
        {.handlers = &named, .handler_count = 1},
        {.handlers = &plain, .handler_count = 1, .types = TYPES(&parcel_type)},
    };
    for (size_t i = 0; i < COUNT_OF(right); i++) {
        static const char *const queues[] = {"a", "b", "c", "d", "e", "f", "g"};
        coney_listener listener = right[i];
        listener.queue = queues[i];
        assert_ok(coney_container_listen(container, &listener));
    }
}

static void test_concurrency_is_checked_against_the_rest(void **state)
{
    (void)state;
    static const wrong_listener wrong[] = {
        {{.concurrency = 3, .max_concurrency = 2}, {"max_concurrency 2 is below concurrency 3"}},
        {{.exclusive = true, .concurrency = 2}, {"an exclusive listener has one consumer; concurrency is 2"}},
        {{.exclusive = true, .max_concurrency = 3}, {"an exclusive listener has one consumer", "max_concurrency 3"}},
        {{.lanes = 2, .on_batch = handle_batch}, {"on_batch has one lane for each consumer, not 2"}},
        {{.lane_header = "key"}, {"lane_header 'key' goes with lanes only"}},
        {{.batch_size = 5}, {"batch_size 5 and batch_timeout_ms 0 go with on_batch only"}},
        {{.lanes = 2, .lane_header = "\xff"}, {"lane_header", "not UTF-8"}},
        {{.lanes = 2, .transacted = true}, {"a transacted listener has one lane", "not 2; take a higher concurrency"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_acknowledging_is_checked(void **state)
{
    (void)state;
    static const wrong_listener wrong[] = {
        {{.acknowledge = (coney_acknowledge_mode)7}, {"acknowledge is 7, which is no coney_acknowledge_mode"}},
        {{.acknowledge = (coney_acknowledge_mode)-1}, {"acknowledge is -1, which is no coney_acknowledge_mode"}},
        {{.acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .transacted = true},
         {"acknowledge is CONEY_ACKNOWLEDGE_MANUAL", "with CONEY_ACKNOWLEDGE_AUTO only"}},
        {{.acknowledge = CONEY_ACKNOWLEDGE_NONE, .transacted = true},
         {"acknowledge is CONEY_ACKNOWLEDGE_NONE", "with CONEY_ACKNOWLEDGE_AUTO only"}},
        {{.acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .ack_every = 2},
         {"ack_every is 2; that goes with AUTO, one lane, on_message and no transactions"}},
        {{.acknowledge = CONEY_ACKNOWLEDGE_NONE, .ack_every = 3}, {"ack_every is 3; that goes with AUTO"}},
        {{.transacted = true, .ack_every = 4}, {"ack_every is 4; that goes with AUTO"}},
        {{.lanes = 2, .ack_every = 5}, {"ack_every is 5; that goes with AUTO, one lane"}},
        {{.on_batch = handle_batch, .ack_every = 6}, {"ack_every is 6; that goes with AUTO, one lane, on_message"}},
        {{.acknowledge = CONEY_ACKNOWLEDGE_NONE, .lanes = 7},
         {"acknowledge NONE goes with one lane, not 7: nothing would bound what waits for the others"}},
        {{.acknowledge = CONEY_ACKNOWLEDGE_NONE, .retry.stateful = true},
         {"retry.stateful counts redeliveries, and with NONE there are none"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_max_crashes_is_refused_where_nobody_counts(void **state)
{
    (void)state;
    static const coney_queue classic = {.name = "q", .kind = CONEY_CLASSIC},
                             stream = {.name = "q", .kind = CONEY_STREAM};
    static const coney_queue exclusive = {.name = "q", .exclusive = true};
    static const wrong_listener wrong[] = {
        {{.acknowledge = CONEY_ACKNOWLEDGE_NONE, .retry.max_crashes = 3},
         {"retry.max_crashes is 3", "with acknowledge NONE no message does"}},
        {{.declare = &classic, .retry.max_crashes = 4}, {"retry.max_crashes is 4", "must be CONEY_QUORUM"}},
        {{.declare = &stream, .retry.max_crashes = 5}, {"only a quorum queue counts"}},
        {{.declare = &exclusive, .retry.max_crashes = 6}, {"only a quorum queue counts"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_recovery_is_checked(void **state)
{
    (void)state;
    static const wrong_listener wrong[] = {
        {{.retry.exhausted = (coney_exhausted)77}, {"retry.exhausted is 77, which is no coney_exhausted"}},
        {{.retry.exhausted = CONEY_EXHAUSTED_CALL},
         {"retry.on_exhausted goes with retry.exhausted CONEY_EXHAUSTED_CALL"}},
        {{.retry.on_exhausted = recover},
         {"retry.on_exhausted goes with retry.exhausted CONEY_EXHAUSTED_CALL, and only with it"}},
        {{.retry = {.exhausted = CONEY_EXHAUSTED_PARK, .exchange = "x"}},
         {"retry.exchange and retry.routing_key go with CONEY_EXHAUSTED_REPUBLISH only"}},
        {{.retry = {.routing_key = "x"}}, {"retry.routing_key go with CONEY_EXHAUSTED_REPUBLISH only"}},
        {{.retry.ladder_kind = CONEY_STREAM}, {"retry.ladder_kind is 3; queues of the ladder are classic or quorum"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static bool is_retriable(const coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)delivery;
    (void)error;
    (void)user;
    return true;
}

static void test_retry_options_without_effect_are_refused(void **state)
{
    (void)state;
    static const wrong_listener wrong[] = {
        {{.retry = {.parking_queue = "parked", .exhausted = CONEY_EXHAUSTED_REJECT}},
         {"retry.parking_queue is 'parked', and retry.exhausted does not park"}},
        {{.retry.is_retriable = is_retriable}, {"retry.is_retriable has nothing to decide without max_attempts above"}},
        {{.retry.first_delay_ms = 10}, {"retry.first_delay_ms", "max_attempts is 0"}},
        {{.retry = {.max_attempts = 1, .multiplier = 3}}, {"multiplier", "max_attempts is 1"}},
        {{.retry = {.stateful = true, .max_attempts = 1, .max_delay_ms = 3}}, {"max_delay_ms", "max_attempts is 1"}},
    };
    expect_refusals(wrong, COUNT_OF(wrong));
}

static void test_limits_themselves_are_accepted(void **state)
{
    (void)state;
    static const coney_listener right[] = {
        {.concurrency = 2000, .max_concurrency = 2000, .prefetch = 65535},
        {.lanes = 1000, .lane_header = "key", .slow_handler_ms = -1},
        {.ack_every = 65535, .ack_after_ms = INT_MAX, .priority = INT_MIN},
        {.max_concurrency = 2, .elasticity = {1, 1, 1, 1, 1}, .retry = {.multiplier = 1000, .max_attempts = INT_MAX}},
        {.exclusive = true, .concurrency = 1, .max_concurrency = 1, .transacted = true},
        {.retry = {.max_attempts = 2, .multiplier = 1, .delays_ms = {1, INT_MAX}, .ladder_kind = CONEY_QUORUM}},
        {.retry = {.stateful = true, .first_delay_ms = INT_MAX, .multiplier = 1, .max_delay_ms = INT_MAX}},
        {.retry = {.exhausted = CONEY_EXHAUSTED_CALL, .on_exhausted = recover}, .acknowledge = CONEY_ACKNOWLEDGE_NONE},
    };
    for (size_t i = 0; i < COUNT_OF(right); i++) {
        coney_listener listener = right[i];
        listener.queue = "q";
        listener.on_message = handle;
        assert_ok(coney_container_listen(container, &listener));
    }
}

static void test_id_is_taken_once(void **state)
{
    (void)state;
    const coney_listener named = {.queue = "q", .id = "it", .on_message = handle};
    const coney_listener like_a_queue = {.queue = "r", .id = "q#2", .on_message = handle};
    const coney_listener nameless = {.queue = "q", .on_message = handle};
    coney_listener_statistics statistics;
    assert_ok(coney_container_listen(container, &named));
    assert_fails(coney_container_listen(container, &named), CONEY_E_INVALID, "the id 'it' is taken");
    assert_ok(coney_container_listen(container, &like_a_queue));
    assert_ok(coney_container_listen(container, &nameless));
    assert_ok(coney_container_listen(container, &nameless)); /* "#2" is taken */
    assert_ok(coney_container_statistics(container, "q", &statistics));
    assert_ok(coney_container_statistics(container, "q#3", &statistics));
    assert_fails(coney_container_statistics(container, "q#4", &statistics), CONEY_E_NOT_FOUND, "no listener 'q#4'");
    assert_ok(coney_container_unlisten(container, "it"));
    assert_ok(coney_container_listen(container, &named)); /* free again */
}

static void test_options_of_a_container_are_checked(void **state)
{
    (void)state;
    static const struct {
        coney_container_options options;
        const char *words;
    } wrong[] = {
        {{.workers = -1}, "workers is -1; 0 (the default) to 2000 are possible"},
        {{.workers = 2001}, "workers is 2001; 0 (the default) to 2000 are possible"},
        {{.start_timeout_ms = -2}, "start_timeout_ms is -2; 0 (the default) to"},
        {{.shutdown_timeout_ms = -3}, "shutdown_timeout_ms is -3; 0 (the default) to"},
        {{.resubscribe_interval_ms = -4}, "resubscribe_interval_ms is -4; 0 (the default) to"},
        {{.publish_timeout_ms = -5}, "publish_timeout_ms is -5; 0 (the default) to"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        coney_container *made = container;
        assert_fails(coney_container_new(&made, factory, &wrong[i].options), CONEY_E_INVALID, wrong[i].words);
        assert_null(made);
    }
    assert_fails(coney_container_new(NULL, factory, NULL), CONEY_E_INVALID, "NULL");
    coney_container *made;
    assert_fails(coney_container_new(&made, NULL, NULL), CONEY_E_INVALID, "NULL");
}

/* ---- listeners of one queue ---- */

static bool accept_all(const coney_message *message, void *user)
{
    (void)message;
    (void)user;
    return true;
}

static bool is_warned_of(const coney_listener *one, const coney_listener *other)
{
    const coney_listener *const both[] = {one, other};
    test_log_start(CONEY_LOG_WARN);
    for (int i = 0; i < 2; i++) {
        coney_listener made = *both[i];
        made.id = i == 0 ? "one" : "other";
        if (!made.queue)
            made.queue = "orders";
        if (made.handler_count == 0)
            made.on_message = handle;
        assert_ok(coney_container_listen(container, &made));
    }
    bool warned = test_log_has("listeners 'one' and 'other' of queue 'orders'");
    assert_int_equal(test_log_count("warn"), warned);
    test_log_stop();
    assert_ok(coney_container_unlisten(container, "one"));
    assert_ok(coney_container_unlisten(container, "other"));
    return warned;
}

static const coney_typed_handler order = {.type = "order", .on_message = handle},
                                 invoice = {.type = "invoice", .on_message = handle};
static const coney_typed_handler two[] = {{.type = "order", .on_message = handle},
                                          {.type = "invoice", .on_message = handle}};
static const coney_typed_handler turned[] = {{.type = "invoice", .on_message = handle},
                                             {.type = "order", .on_message = handle}};

static const coney_typed_handler one_parcel[] = {{.payload_type = &parcel_type, ON_MESSAGE}},
                                 parcels[] = {{.payload_type = &parcels_type, ON_MESSAGE}},
                                 numbers[] = {{.payload_type = &numbers_type, ON_MESSAGE}};

static void test_listeners_of_one_queue_with_different_types_draw_a_warning(void **state)
{
    (void)state;
    const coney_converter *json = coney_json_converter(), *text = coney_text_converter();
    const coney_typed_handler order_in_json = {.type = "order", .on_message = handle, .converter = json};
    const struct {
        coney_listener one, other;
    } different[] = {
        {{.converter = json}, {.converter = text}},
        {{.converter = json}, {.converter = NULL}},
        {{.handlers = &order, .handler_count = 1}, {.handlers = &invoice, .handler_count = 1}},
        {{.handlers = &order, .handler_count = 1}, {.handlers = two, .handler_count = 2}},
        {{.handlers = &order, .handler_count = 1}, {.handlers = &order_in_json, .handler_count = 1}},
        {{.handlers = &order, .handler_count = 1}, {.on_message = handle}},
        {{.handlers = &order, .handler_count = 1}, {.handlers = &order, .handler_count = 1, .on_message = handle}},
        {{.filter = accept_all}, {.filter = NULL}},
        {{.type = &parcel_type}, {.type = NULL}},
        {{.type = &parcel_type}, {.type = &parcel_type, BY_ID}},
        {{.types = TYPES(&parcel_type)}, {.types = TYPES(&parcel_type, &numbers_type)}},
        {{.handlers = one_parcel, .handler_count = 1}, {.handlers = numbers, .handler_count = 1}},
        {{.handlers = parcels, .handler_count = 1}, {.handlers = numbers, .handler_count = 1}},
    };
    for (size_t i = 0; i < COUNT_OF(different); i++) {
        assert_true(is_warned_of(&different[i].one, &different[i].other));
        assert_true(is_warned_of(&different[i].other, &different[i].one));
    }
}

static void test_listeners_with_the_same_types_or_queues_of_their_own_draw_none(void **state)
{
    (void)state;
    const coney_converter *json = coney_json_converter(), *text = coney_text_converter();
    coney_table *from_first = coney_table_new();
    assert_ok(coney_table_set_string(from_first, "x-stream-offset", "first"));
    const struct {
        coney_listener one, other;
    } alike[] = {
        {{.converter = json}, {.converter = json, .prefetch = 1}},
        {{.handlers = two, .handler_count = 2}, {.handlers = turned, .handler_count = 2}},
        {{.handlers = parcels, .handler_count = 1}, {.handlers = parcels, .handler_count = 1}},
        {{.types = TYPES(&parcel_type, &numbers_type)}, {.types = TYPES(&numbers_type, &parcel_type)}},
        {{.queue = "orders", .converter = json}, {.queue = "invoices", .converter = text}},
        /* consumers of a stream get all messages each */
        {{.converter = json, .arguments = from_first}, {.converter = text, .arguments = from_first}},
    };
    for (size_t i = 0; i < COUNT_OF(alike); i++)
        assert_false(is_warned_of(&alike[i].one, &alike[i].other));
    coney_table_free(from_first);
}

int main(void)
{
#define own_container(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        own_container(test_error_names_the_queue),
        own_container(test_queue_and_a_handler_are_required),
        own_container(test_own_queue_is_no_parking_queue),
        own_container(test_what_does_not_go_with_a_stream_is_refused),
        own_container(test_what_does_not_go_with_a_queue_that_delays_is_refused),
        own_container(test_queue_that_delays_must_let_all_attempts_be_made),
        own_container(test_only_an_offset_that_rabbitmq_knows_is_taken),
        own_container(test_numbers_below_zero_are_refused),
        own_container(test_numbers_too_large_are_refused),
        own_container(test_multiplier_and_delays_are_checked),
        own_container(test_names_are_checked),
        own_container(test_handlers_are_checked),
        own_container(test_types_are_checked),
        own_container(test_types_without_effect_are_refused),
        own_container(test_payload_types_of_handlers_are_checked),
        own_container(test_types_that_go_together_are_taken),
        own_container(test_concurrency_is_checked_against_the_rest),
        own_container(test_acknowledging_is_checked),
        own_container(test_max_crashes_is_refused_where_nobody_counts),
        own_container(test_recovery_is_checked),
        own_container(test_retry_options_without_effect_are_refused),
        own_container(test_limits_themselves_are_accepted),
        own_container(test_id_is_taken_once),
        own_container(test_options_of_a_container_are_checked),
        own_container(test_listeners_of_one_queue_with_different_types_draw_a_warning),
        own_container(test_listeners_with_the_same_types_or_queues_of_their_own_draw_none),
    };
    return cmocka_run_group_tests_name("listener options", tests, NULL, NULL);
}
