/* SPDX-License-Identifier: MIT */
/* The checks of a queue, its arguments, and what its declaration says. Any thread. */
#include "amqp/amqp.h"
#include "topology/fields.h"

#include <string.h>

/* ---- which kinds of queues have a field ---- */

enum { CLASSIC = 1 << CONEY_CLASSIC, QUORUM = 1 << CONEY_QUORUM, STREAM = 1 << CONEY_STREAM };

static const struct {
    const char *field;
    int kinds;
    bool needs_kind; /* else the queue may be of the virtual host's default kind */
} kinds_of_fields[] = {
    {"message_ttl_ms", CLASSIC | QUORUM, false},
    {"expires_ms", CLASSIC | QUORUM, false},
    {"max_length", CLASSIC | QUORUM, false},
    {"overflow", CLASSIC | QUORUM, false},
    {"dead_letter_exchange", CLASSIC | QUORUM, false},
    {"dead_letter_routing_key", CLASSIC | QUORUM, false},
    {"dead_letter_strategy", QUORUM, false},
    {"max_priority", CLASSIC, false},
    {"delivery_limit", QUORUM, false},
    {"single_active_consumer", CLASSIC | QUORUM, false},
    {"lazy", CLASSIC, false},
    {"initial_group_size", QUORUM | STREAM, true},
    {"max_age", STREAM, true},
    {"max_segment_size_bytes", STREAM, true},
    {"filter_size_bytes", STREAM, true},
    {"delayed_retry", QUORUM, true},
    {"delayed_retry_min_ms", QUORUM, true},
    {"delayed_retry_max_ms", QUORUM, true},
    {"consumer_timeout_ms", QUORUM, true},
    {"consumer_disconnected_timeout_ms", QUORUM, true},
};

static const char *const kind_names[] = {"a queue of the default kind", "a classic queue", "a quorum queue",
                                         "a stream"};

static const char *name_kinds(int kinds)
{
    switch (kinds) {
    case CLASSIC: return "classic queues only; set kind to CONEY_CLASSIC";
    case QUORUM: return "quorum queues only; set kind to CONEY_QUORUM";
    case STREAM: return "streams only; set kind to CONEY_STREAM";
    case QUORUM | STREAM: return "quorum queues and streams only; set kind to CONEY_QUORUM or CONEY_STREAM";
    default: return "classic and quorum queues only; set kind to one of these, or leave the field out";
    }
}

/* RabbitMQ refuses an argument of another kind of queue, or ignores the argument if the release is older than the
 * argument. */
static coney_status check_field_kinds(const coney_queue *queue)
{
    cny_typed_field fields[CNY_QUEUE_FIELDS];
    coney_queue_kind kind = cny_queue_kind(queue);
    cny_read_queue_fields(fields, queue);
    for (size_t i = 0; i < CNY_QUEUE_FIELDS; i++) {
        char text[CNY_VALUE_TEXT];
        cny_describe_value(&fields[i].value, text);
        for (size_t k = 0; k < sizeof kinds_of_fields / sizeof *kinds_of_fields; k++) {
            bool is_fine =
                kind == CONEY_QUEUE_DEFAULT ? !kinds_of_fields[k].needs_kind : kinds_of_fields[k].kinds & (1 << kind);
            if (!is_fine && fields[i].value.type != CONEY_VOID &&
                strcmp(fields[i].field, kinds_of_fields[k].field) == 0)
                return cny_fail(CONEY_E_INVALID, "queue '%s' is %s: %s is %s, which is for %s", queue->name,
                                kind_names[kind], fields[i].field, text, name_kinds(kinds_of_fields[k].kinds));
        }
    }
    return CONEY_OK;
}

/* Quorum queues and streams are durable, are shared, and stay. */
static coney_status check_flags(const coney_queue *queue)
{
    const char *flag = queue->exclusive     ? "exclusive"
                       : queue->auto_delete ? "auto_delete"
                       : queue->transient   ? "transient"
                                            : NULL;
    coney_queue_kind kind = cny_queue_kind(queue);
    if (!flag || (kind != CONEY_QUORUM && kind != CONEY_STREAM))
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID,
                    "queue '%s' is %s: %s is set, which no such queue can be; leave %s out, or set kind to "
                    "CONEY_CLASSIC",
                    queue->name, kind_names[kind], flag, flag);
}

/* ---- numbers and words ---- */

/* 49 days. RabbitMQ refuses a longer time to live or expiry, and longer times of other kinds can make its queues
 * crash. */
#define MOST_MS UINT32_MAX

static coney_status check_numbers(const coney_queue *queue)
{
    const struct {
        const char *field;
        int64_t number, least, most;
    } numbers[] = {
        {"message_ttl_ms", queue->message_ttl_ms, 0, MOST_MS},
        {"expires_ms", queue->expires_ms, 0, MOST_MS},
        {"max_length", queue->max_length, 0, INT64_MAX},
        {"max_length_bytes", queue->max_length_bytes, 0, INT64_MAX},
        {"max_priority", queue->max_priority, 0, 255},
        {"delivery_limit", queue->delivery_limit, -1, INT64_MAX},
        {"initial_group_size", queue->initial_group_size, 0, INT32_MAX},
        {"max_segment_size_bytes", queue->max_segment_size_bytes, 0, 3000000000},
        {"filter_size_bytes", queue->filter_size_bytes, queue->filter_size_bytes ? 16 : 0, 255},
        {"delayed_retry_min_ms", queue->delayed_retry_min_ms, 0, MOST_MS},
        {"delayed_retry_max_ms", queue->delayed_retry_max_ms, 0, MOST_MS},
        {"consumer_timeout_ms", queue->consumer_timeout_ms, 0, MOST_MS},
        {"consumer_disconnected_timeout_ms", queue->consumer_disconnected_timeout_ms, 0, MOST_MS},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].number < numbers[i].least)
            return cny_fail(CONEY_E_INVALID, "queue '%s': %s is %lld, which is below %lld", queue->name,
                            numbers[i].field, (long long)numbers[i].number, (long long)numbers[i].least);
        if (numbers[i].number > numbers[i].most)
            return cny_fail(CONEY_E_INVALID, "queue '%s': %s is %lld, which is above %lld", queue->name,
                            numbers[i].field, (long long)numbers[i].number, (long long)numbers[i].most);
    }
    return CONEY_OK;
}

static coney_status check_enumerations(const coney_queue *queue)
{
    const struct {
        const char *type;
        int value, most;
    } all[] = {
        {"coney_queue_kind", (int)queue->kind, CONEY_STREAM},
        {"coney_overflow", (int)queue->overflow, CONEY_REJECT_PUBLISH_DLX},
        {"coney_dead_letter_strategy", (int)queue->dead_letter_strategy, CONEY_DEAD_LETTER_AT_LEAST_ONCE},
        {"coney_leader_locator", (int)queue->leader_locator, CONEY_LEADER_MIN_MASTERS},
        {"coney_delayed_retry", (int)queue->delayed_retry, CONEY_DELAYED_RETRY_RETURNED},
        {"coney_on_refusal", (int)queue->on_refusal, CONEY_REFUSAL_IGNORE},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].value < 0 || all[i].value > all[i].most)
            return cny_fail(CONEY_E_INVALID, "queue '%s': %d is no %s", queue->name, all[i].value, all[i].type);
    }
    return CONEY_OK;
}

/* A number and a unit. The broker refuses anything else, and ends the connection over some of it. */
static coney_status check_max_age(const coney_queue *queue)
{
    const char *age = queue->max_age;
    size_t digits = age ? strspn(age, "0123456789") : 0;
    if (!age || (digits > 0 && digits < 10 && age[digits] && strchr("YMDhms", age[digits]) && !age[digits + 1]))
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID,
                    "queue '%s': max_age is '%.64s'; write a number and one of Y, M, D, h, m, s, such as \"7D\"",
                    queue->name, age);
}

static coney_status check_dead_letters(const coney_queue *queue)
{
    coney_status status = cny_check_name("dead_letter_exchange", queue->dead_letter_exchange);
    if (status == CONEY_OK)
        status = cny_check_name("dead_letter_routing_key", queue->dead_letter_routing_key);
    if (status != CONEY_OK)
        return cny_fail_in("queue '%s'", queue->name);
    if (queue->dead_letter_routing_key && !queue->dead_letter_exchange)
        return cny_fail(CONEY_E_INVALID, "queue '%s': dead_letter_routing_key needs a dead_letter_exchange",
                        queue->name);
    if (queue->dead_letter_strategy != CONEY_DEAD_LETTER_AT_LEAST_ONCE)
        return CONEY_OK;
    if (!queue->dead_letter_exchange)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': dead_letter_strategy is at-least-once, which needs a dead_letter_exchange",
                        queue->name);
    if (queue->overflow != CONEY_REJECT_PUBLISH && !coney_table_get(queue->arguments, "x-overflow"))
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': dead_letter_strategy is at-least-once, which the broker treats as at-most-once "
                        "unless overflow is CONEY_REJECT_PUBLISH",
                        queue->name);
    return CONEY_OK;
}

/* RabbitMQ accepts settings that delay nothing. */
static coney_status check_delayed_retry(const coney_queue *queue)
{
    int64_t min_ms = queue->delayed_retry_min_ms, max_ms = queue->delayed_retry_max_ms;
    if (queue->delayed_retry > CONEY_DELAYED_RETRY_DISABLED && min_ms == 0)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': delayed_retry_min_ms is 0, so the broker would delay nothing; set it to the "
                        "shortest delay",
                        queue->name);
    if (queue->delayed_retry <= CONEY_DELAYED_RETRY_DISABLED && (min_ms > 0 || max_ms > 0))
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': %s is %lld, and delayed_retry is %s; take CONEY_DELAYED_RETRY_FAILED", queue->name,
                        min_ms > 0 ? "delayed_retry_min_ms" : "delayed_retry_max_ms",
                        (long long)(min_ms > 0 ? min_ms : max_ms),
                        queue->delayed_retry ? "CONEY_DELAYED_RETRY_DISABLED" : "not set");
    if (max_ms > 0 && max_ms < min_ms)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': delayed_retry_max_ms is %lld, which is below delayed_retry_min_ms, %lld",
                        queue->name, (long long)max_ms, (long long)min_ms);
    return CONEY_OK;
}

/* ---- all checks ---- */

static coney_status check_queue_name(const coney_queue *queue)
{
    if (!queue)
        return cny_fail(CONEY_E_INVALID, "queue: it is NULL");
    if (queue->anonymous)
        return cny_check_anonymous(queue);
    if (!queue->name)
        return cny_fail(CONEY_E_INVALID, "queue: the name is NULL; use \"\" to let the broker choose one, or set "
                                         "anonymous to let Coney make one up");
    if (queue->name_prefix)
        return cny_fail(CONEY_E_INVALID, "queue '%s': name_prefix is '%.64s', which is for anonymous queues only",
                        queue->name, queue->name_prefix);
    return cny_check_name("queue name", queue->name);
}

coney_status cny_queue_check(const coney_queue *queue)
{
    coney_status status = check_queue_name(queue);
    if (status != CONEY_OK)
        return status;
    coney_queue named = *queue; /* for the sentences */
    if (queue->anonymous) {
        named.name = "(anonymous)";
        named.exclusive = true;
    }
    cny_typed_field fields[CNY_QUEUE_FIELDS];
    status = check_numbers(&named);
    if (status == CONEY_OK)
        status = check_enumerations(&named);
    if (status == CONEY_OK)
        status = check_max_age(&named);
    if (status == CONEY_OK)
        status = check_dead_letters(&named);
    if (status == CONEY_OK)
        status = check_flags(&named);
    if (status == CONEY_OK)
        status = check_field_kinds(&named);
    if (status == CONEY_OK)
        status = check_delayed_retry(&named);
    if (status != CONEY_OK)
        return status;
    cny_read_queue_fields(fields, &named);
    return cny_check_arguments("queue", named.name, queue->arguments, fields, CNY_QUEUE_FIELDS);
}

/* ---- arguments ---- */

/* RabbitMQ chooses names for classic queues only, and refuses a declaration with neither name nor kind if the default
 * of the virtual host is another kind. */
static bool must_say_classic(const coney_queue *queue)
{
    return !*queue->name && queue->kind == CONEY_QUEUE_DEFAULT && !coney_table_get(queue->arguments, "x-queue-type");
}

coney_status cny_queue_arguments(coney_table **arguments, const coney_queue *queue)
{
    cny_typed_field fields[CNY_QUEUE_FIELDS];
    coney_queue copy = *queue;
    if (must_say_classic(queue))
        copy.kind = CONEY_CLASSIC;
    cny_read_queue_fields(fields, &copy);
    return cny_make_arguments(arguments, queue->arguments, fields, CNY_QUEUE_FIELDS);
}

/* ---- what a declaration says ---- */

static coney_queue_kind kind_by_argument(const coney_queue *queue)
{
    const char *type = coney_table_get_string(queue->arguments, "x-queue-type");
    return !type                         ? CONEY_QUEUE_DEFAULT
           : strcmp(type, "quorum") == 0 ? CONEY_QUORUM
           : strcmp(type, "stream") == 0 ? CONEY_STREAM
                                         : CONEY_CLASSIC;
}

/* A queue that is not durable, or is deleted with its connection or its consumers, is a classic queue in any virtual
 * host. */
coney_queue_kind cny_queue_kind(const coney_queue *queue)
{
    if (queue->kind != CONEY_QUEUE_DEFAULT)
        return queue->kind;
    coney_queue_kind kind = kind_by_argument(queue);
    bool is_classic = queue->transient || queue->exclusive || queue->auto_delete || queue->max_priority > 0;
    return kind == CONEY_QUEUE_DEFAULT && is_classic ? CONEY_CLASSIC : kind;
}

bool cny_queue_has_single_active_consumer(const coney_queue *queue)
{
    const coney_value *argument = coney_table_get(queue->arguments, "x-single-active-consumer");
    return queue->single_active_consumer || (argument && argument->type == CONEY_BOOL && argument->as.boolean);
}

int64_t cny_queue_delivery_limit(const coney_queue *queue, int64_t otherwise)
{
    return queue->delivery_limit != 0 ? queue->delivery_limit
                                      : coney_table_get_int64(queue->arguments, "x-delivery-limit", otherwise);
}

/* Arguments are not checked here. Without a shortest delay the broker treats any type as "disabled". */
bool cny_queue_delays_failures(const coney_queue *queue)
{
    const char *argument = coney_table_get_string(queue->arguments, "x-delayed-retry-type");
    bool is_argument = argument && (strcmp(argument, "all") == 0 || strcmp(argument, "failed") == 0);
    bool has_delay = coney_table_get_int64(queue->arguments, "x-delayed-retry-min", 0) > 0;
    return (is_argument && has_delay) || queue->delayed_retry == CONEY_DELAYED_RETRY_ALL ||
           queue->delayed_retry == CONEY_DELAYED_RETRY_FAILED;
}
