/* SPDX-License-Identifier: MIT */
/* Addresses: where a reply goes, and its correlation with a request. Any thread. (Spring: Address, correlation in
 * MessageListenerAdapter.) */
#include <coney/amqp/address.h>

#include "amqp/amqp.h"

#include <stdio.h>
#include <string.h>

#define DIRECT_REPLY_TO "amq.rabbitmq.reply-to"

static bool is_direct(const char *text)
{
    return strncmp(text, DIRECT_REPLY_TO, strlen(DIRECT_REPLY_TO)) == 0;
}

/* Gives the exchange, which need not end with a NUL, and the routing key: views of the text. */
static const char *split(const char *text, const char **exchange, size_t *exchange_size)
{
    *exchange = "";
    *exchange_size = 0;
    if (text[strspn(text, " \t\n\v\f\r")] == '\0')
        return "";
    const char *last_slash = strrchr(text, '/');
    if (is_direct(text) || !last_slash)
        return text;
    if (last_slash == text)
        return text + 1;
    for (const char *scheme; (scheme = strstr(text, "://"));)
        text = scheme + 3;
    const char *slash = strchr(text, '/'); /* NULL: the whole text is the exchange, as in Spring */
    *exchange = text;
    *exchange_size = slash ? (size_t)(slash - text) : strlen(text);
    return slash ? slash + 1 : "";
}

static coney_status check_length(const char *text, const char *what, size_t size)
{
    if (size <= CNY_MAX_SHORT_STRING)
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID, "address '%.60s...': the %s has %zu bytes; AMQP allows %d", text, what, size,
                    CNY_MAX_SHORT_STRING);
}

coney_status coney_address_parse(coney_address *address, const char *text)
{
    if (address)
        address->exchange[0] = address->routing_key[0] = '\0';
    if (!address || !text)
        return cny_fail(CONEY_E_INVALID, "address or text is NULL");
    const char *exchange;
    size_t exchange_size;
    const char *routing_key = split(text, &exchange, &exchange_size);
    coney_status status = check_length(text, "exchange", exchange_size);
    if (status == CONEY_OK)
        status = check_length(text, "routing key", strlen(routing_key));
    if (status != CONEY_OK)
        return status;
    memcpy(address->exchange, exchange, exchange_size);
    address->exchange[exchange_size] = '\0';
    memcpy(address->routing_key, routing_key, strlen(routing_key) + 1);
    return CONEY_OK;
}

size_t coney_address_format(const coney_address *address, char *buffer, size_t size)
{
    if (!address && buffer && size > 0)
        *buffer = '\0';
    return address
               ? (size_t)snprintf(buffer, buffer ? size : 0, "%.255s/%.255s", address->exchange, address->routing_key)
               : 0;
}

/* ---- replies ---- */

void cny_address_parse(cny_address *to, const char *text)
{
    coney_address_parse(&to->parsed, text);
    to->exchange = to->parsed.exchange;
    to->routing_key = to->parsed.routing_key;
    to->is_direct = is_direct(text);
    to->is_requesters = false;
}

bool cny_address_of_requester(cny_address *to, const coney_message *request)
{
    const char *reply_to = request->properties.reply_to;
    if (!reply_to || !*reply_to)
        return false;
    cny_address_parse(to, reply_to);
    to->is_requesters = true;
    return true;
}

coney_status cny_correlate(coney_message **correlated, const coney_message *request, coney_message *reply)
{
    coney_properties properties = reply->properties;
    const char *id = request->properties.correlation_id;
    if (!id || !*id)
        id = request->properties.message_id;
    if (!id || !*id) {
        *correlated = coney_message_ref(reply);
        return CONEY_OK;
    }
    properties.correlation_id = id;
    return cny_message_with(correlated, reply, &properties);
}

/* ---- deadlines ---- */

static bool is_integer(const coney_value *value)
{
    switch (value->type) {
    case CONEY_INT8:
    case CONEY_UINT8:
    case CONEY_INT16:
    case CONEY_UINT16:
    case CONEY_INT32:
    case CONEY_UINT32:
    case CONEY_INT64: return true;
    default: return false;
    }
}

/* What is no time is ignored: the sender waits as long as somebody else says. */
int64_t cny_request_time_left(const coney_message *request)
{
    const coney_value *timeout = request->arrived_ms > 0 && request->properties.reply_to
                                     ? coney_message_header(request, CONEY_HEADER_TIMEOUT)
                                     : NULL;
    if (!timeout || !is_integer(timeout) || timeout->as.integer < 0)
        return -1;
    int64_t waited_ms = cny_now_ms() - request->arrived_ms;
    return timeout->as.integer > waited_ms ? timeout->as.integer - waited_ms : 0;
}
