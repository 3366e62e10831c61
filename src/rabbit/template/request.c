/* SPDX-License-Identifier: MIT */
/* Requests of a template: makes the message, has it sent, and waits for the reply or leaves that to a handle or
 * callback. On the caller's thread. What waits and what is outstanding is the business of src/rabbit/rpc. (Spring:
 * RabbitTemplate.sendAndReceive, AsyncRabbitTemplate.) */
#include "rabbit/template/processors.h"
#include "rabbit/template/send.h"

#include <coney/amqp/json.h>
#include <coney/rabbit/request.h>
#include <coney/rabbit/typed.h>

#include <assert.h>

#define DEFAULT_RETRY_DELAY_MS 100
#define LONGEST_RETRY_DELAY_MS 10000

/* ---- one request of the program ---- */

typedef struct asking {
    coney_template *sender;
    coney_request_options options; /* with every default filled in */
    cny_call_request request;
    coney_message *prepared; /* as processors have changed it; NULL: they have not */
    int64_t deadline;
} asking;

static coney_status check_options(const coney_request_options *options, bool is_synchronous)
{
    const struct {
        const char *name;
        int value;
    } numbers[] = {{"timeout_ms", options->timeout_ms},
                   {"attempts", options->attempts},
                   {"attempt_timeout_ms", options->attempt_timeout_ms},
                   {"retry_delay_ms", options->retry_delay_ms}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].value < 0)
            return cny_fail(CONEY_E_INVALID, "%s is %d, which is below 0", numbers[i].name, numbers[i].value);
    }
    if (options->attempts > 1 && !is_synchronous)
        return cny_fail(CONEY_E_INVALID, "attempts is %d, but an asynchronous request is sent once", options->attempts);
    return CONEY_OK;
}

static coney_status fill_in(asking *one, const coney_request_options *options, bool is_synchronous)
{
    if (options)
        one->options = *options;
    coney_status status = check_options(&one->options, is_synchronous);
    if (status != CONEY_OK)
        return status;
    coney_request_options *own = &one->options;
    own->timeout_ms = own->timeout_ms ? own->timeout_ms : cny_rpc_timeout_ms(one->sender->rpc);
    own->attempts = own->attempts ? own->attempts : 1;
    own->retry_delay_ms = own->retry_delay_ms ? own->retry_delay_ms : DEFAULT_RETRY_DELAY_MS;
    one->deadline = cny_deadline(own->timeout_ms);
    return CONEY_OK;
}

/* Ends with finish(), whatever the status. */
static coney_status prepare(asking *one, coney_template *sender, const char *routing_key, coney_message *message,
                            const coney_request_options *options, bool is_synchronous)
{
    *one = (asking){.sender = sender};
    if (!sender || !message)
        return cny_fail(CONEY_E_INVALID, "request: the template or the message is NULL");
    if (options && options->properties)
        return cny_fail(CONEY_E_INVALID, "request: properties belong to the message; give them to coney_message_new()");
    if (fill_in(one, options, is_synchronous) != CONEY_OK)
        return cny_fail_in("request");
    const coney_send_options send = {.exchange = one->options.exchange, .return_unroutable = true};
    one->request = (cny_call_request){.original = message, .deadline = one->deadline, .synchronous = is_synchronous};
    return cny_template_prepare(sender, routing_key, message, &send, &one->request.publish, &one->prepared);
}

static coney_status fail(const asking *one)
{
    const cny_publish *publish = &one->request.publish;
    return cny_fail_in("request to exchange '%.255s' with routing key '%.255s'", publish->exchange,
                       publish->routing_key);
}

static void finish(asking *one)
{
    coney_message_unref(one->prepared);
}

/* ---- and wait ---- */

static coney_status attempt(const asking *one, coney_message **reply)
{
    cny_call *call;
    coney_status status = cny_rpc_send(one->sender->rpc, &one->request, &call);
    if (status != CONEY_OK)
        return fail(one);
    status = cny_call_wait(call, reply);
    cny_call_unref(call);
    return status;
}

/* The time that is left, or a fair part of it. */
static int64_t deadline_of_attempt(const asking *one, int attempts_left)
{
    assert(attempts_left > 0);
    int64_t left_ms = one->deadline - cny_now_ms();
    int64_t own_ms = one->options.attempt_timeout_ms ? one->options.attempt_timeout_ms : left_ms / attempts_left;
    return attempts_left == 1 && !one->options.attempt_timeout_ms ? one->deadline
                                                                  : cny_sooner(one->deadline, cny_now_ms() + own_ms);
}

/* The last error may pass, and the request may have been handled or not. */
static bool may_try_again(const coney_error *error)
{
    switch (error->status) {
    case CONEY_E_TIMEOUT:
    case CONEY_E_LOST:
    case CONEY_E_NACKED: return true;
    case CONEY_E_REMOTE_ERROR: return error->retriable;
    default: return false;
    }
}

/* False: there is no time for another attempt, or the factory closes. The last error stays. */
static bool wait_to_retry(const asking *one, int delay_ms)
{
    int64_t until = cny_deadline(cny_jitter(delay_ms));
    if (until >= one->deadline)
        return false;
    cny_error *error = cny_error_capture();
    bool goes_on = cny_factory_sleep(one->sender->factory, until) == CONEY_OK;
    cny_error_raise(error);
    cny_error_unref(error);
    return goes_on;
}

static coney_status ask(asking *one, coney_message **reply)
{
    const coney_request_options *options = &one->options;
    int delay_ms = 0;
    for (int left = options->attempts;; left--) {
        one->request.deadline = deadline_of_attempt(one, left);
        coney_status status = attempt(one, reply);
        if (status == CONEY_OK || left == 1 || !may_try_again(coney_last_error_details()))
            return status;
        delay_ms = cny_backoff(delay_ms, options->retry_delay_ms, 2, LONGEST_RETRY_DELAY_MS);
        if (!wait_to_retry(one, delay_ms))
            return status;
        coney_message_unref(*reply); /* an error reply */
        *reply = NULL;
        cny_rpc_count_retry(one->sender->rpc);
    }
}

coney_status coney_template_send_and_receive(coney_template *sender, coney_message **reply, const char *routing_key,
                                             coney_message *request, const coney_request_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!reply)
        return cny_fail(CONEY_E_INVALID, "request: the place for the reply is NULL");
    *reply = NULL;
    asking one;
    coney_status status = prepare(&one, sender, routing_key, request, options, true);
    if (status == CONEY_OK)
        status = ask(&one, reply);
    finish(&one);
    return status;
}

/* ---- with conversion ---- */

static const coney_properties *properties_of(const coney_request_options *options)
{
    return options ? options->properties : NULL;
}

/* Sends the message that a conversion has given, and gives it back. */
static coney_status ask_made(coney_template *sender, coney_message **reply, const char *routing_key, coney_status made,
                             coney_message *message, const coney_request_options *options)
{
    if (made != CONEY_OK)
        return cny_fail_in("request");
    coney_request_options rest = options ? *options : (coney_request_options){0};
    rest.properties = NULL; /* the message has them */
    coney_status status = coney_template_send_and_receive(sender, reply, routing_key, message, &rest);
    coney_message_unref(message);
    return status;
}

static coney_status fail_reply(void)
{
    return cny_fail_in("convert the reply");
}

static coney_status ask_by(coney_template *sender, void **result, const char *routing_key,
                           const coney_converter *converter, const void *object, const coney_request_options *options)
{
    coney_message *message = NULL, *reply = NULL;
    coney_status status = cny_to_message(converter, &message, object, properties_of(options));
    status = ask_made(sender, &reply, routing_key, status, message, options);
    if (status == CONEY_OK && cny_from_message(converter, result, reply) != CONEY_OK)
        status = fail_reply();
    coney_message_unref(reply);
    return status;
}

static coney_status fail_null(void)
{
    return cny_fail(CONEY_E_INVALID, "request: the template or the place for the result is NULL");
}

coney_status coney_template_convert_send_and_receive(coney_template *sender, void **result, const char *routing_key,
                                                     const void *object, const coney_request_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !result)
        return fail_null();
    *result = NULL;
    return ask_by(sender, result, routing_key, sender->options.converter, object, options);
}

coney_status coney_template_request_json(coney_template *sender, json_t **result, const char *routing_key,
                                         const json_t *json, const coney_request_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !result)
        return fail_null();
    void *made = NULL;
    coney_status status = ask_by(sender, &made, routing_key, coney_json_converter(), json, options);
    *result = made;
    return status;
}

coney_status coney_template_request_object(coney_template *sender, const char *routing_key, const coney_type *type,
                                           const void *object, const coney_type *result_type, void **result,
                                           const coney_request_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !result)
        return fail_null();
    *result = NULL;
    coney_message *message = NULL, *reply = NULL;
    coney_status status = coney_type_check(result_type);
    if (status == CONEY_OK)
        status = coney_message_new_object(&message, type, object, properties_of(options));
    status = ask_made(sender, &reply, routing_key, status, message, options);
    if (status == CONEY_OK && coney_message_object(result, reply, result_type) != CONEY_OK)
        status = fail_reply();
    coney_message_unref(reply);
    return status;
}

/* ---- without waiting ---- */

static coney_status begin(coney_template *sender, const char *routing_key, coney_message *message,
                          const coney_request_options *options, coney_request_callback *on_end, void *user,
                          coney_request **request)
{
    asking one;
    coney_status status = prepare(&one, sender, routing_key, message, options, false);
    one.request.callback = on_end;
    one.request.user = user;
    if (status == CONEY_OK && cny_rpc_send(sender->rpc, &one.request, request) != CONEY_OK)
        status = fail(&one);
    finish(&one);
    return status;
}

coney_status coney_template_request_async(coney_template *sender, const char *routing_key, coney_message *request,
                                          const coney_request_options *options, coney_request_callback *on_end,
                                          void *user)
{
    CNY_DISABLE_CANCEL();
    if (!on_end)
        return cny_fail(CONEY_E_INVALID, "request: there is no callback, so nobody would hear of the reply; use "
                                         "coney_template_begin_request() or coney_template_send()");
    return begin(sender, routing_key, request, options, on_end, user, NULL);
}

coney_status coney_template_begin_request(coney_template *sender, coney_request **request, const char *routing_key,
                                          coney_message *message, const coney_request_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!request)
        return cny_fail(CONEY_E_INVALID, "request: the place for the handle is NULL");
    *request = NULL;
    return begin(sender, routing_key, message, options, NULL, NULL, request);
}

/* ---- what is going on ---- */

coney_status coney_template_rpc_statistics(coney_template *sender, coney_rpc_statistics *statistics)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !statistics)
        return cny_fail(CONEY_E_INVALID, "statistics of requests: the template or the place for them is NULL");
    coney_status status = cny_factory_check_process(sender->factory);
    if (status == CONEY_OK)
        cny_rpc_statistics(sender->rpc, statistics);
    return status;
}

coney_status coney_template_circuit(coney_template *sender, const char *exchange, const char *routing_key,
                                    coney_circuit_state *state)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !state)
        return cny_fail(CONEY_E_INVALID, "circuit: the template or the place for the state is NULL");
    coney_status status = cny_factory_check_process(sender->factory);
    if (status == CONEY_OK)
        *state = cny_rpc_circuit(sender->rpc, exchange ? exchange : sender->options.exchange,
                                 routing_key ? routing_key : sender->options.routing_key);
    return status;
}
