/* SPDX-License-Identifier: MIT */
/* The address of a reply, and its correlation with a request. Any thread. (Spring: Address, correlation in
 * MessageListenerAdapter.) */
#include "amqp/amqp.h"

#include <string.h>

#define DIRECT_REPLY_TO "amq.rabbitmq.reply-to"

void cny_address_parse(cny_address *to, const char *text)
{
    to->exchange = "";
    to->routing_key = text;
    to->is_requesters = false;
    to->is_direct = strncmp(text, DIRECT_REPLY_TO, strlen(DIRECT_REPLY_TO)) == 0;
    if (to->is_direct || !strchr(text, '/'))
        return;
    for (const char *scheme; (scheme = strstr(text, "://"));)
        text = scheme + 3;
    const char *slash = strchr(text, '/'); /* NULL: the whole text is the exchange, as in Spring */
    size_t size = slash ? (size_t)(slash - text) : strlen(text);
    if (size > CNY_MAX_SHORT_STRING)
        size = CNY_MAX_SHORT_STRING;
    memcpy(to->exchange_room, text, size);
    to->exchange_room[size] = '\0';
    to->exchange = to->exchange_room;
    to->routing_key = slash ? slash + 1 : "";
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
