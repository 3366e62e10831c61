/* SPDX-License-Identifier: MIT */
/* The input is an address. Names that look like nothing else are read again as they were written. */
#include "support/fuzz.h"

#include <coney/amqp/address.h>

#include <stdlib.h>
#include <string.h>

#define DIRECT_REPLY_TO "amq.rabbitmq.reply-to"

static void write_and_read(const coney_address *address)
{
    char text[sizeof *address + 1];
    coney_address again;
    size_t size = coney_address_format(address, text, sizeof text);
    fuzz_require(size == strlen(text) && size == coney_address_format(address, NULL, 0));
    bool is_direct = strncmp(address->exchange, DIRECT_REPLY_TO, strlen(DIRECT_REPLY_TO)) == 0;
    bool is_plain = *address->exchange && !is_direct && !strchr(address->routing_key, '/');
    if (coney_address_parse(&again, text) == CONEY_OK && is_plain)
        fuzz_require(strcmp(address->exchange, again.exchange) == 0 &&
                     strcmp(address->routing_key, again.routing_key) == 0);
}

static void read_address(const char *text)
{
    coney_address address;
    coney_status status = coney_address_parse(&address, text);
    fuzz_require(status == CONEY_OK || status == CONEY_E_INVALID);
    fuzz_require(status == CONEY_OK || strlen(text) > CNY_MAX_SHORT_STRING);
    fuzz_require(status == CONEY_OK || (!*address.exchange && !*address.routing_key));
    fuzz_require(!strchr(address.exchange, '/'));
    if (status == CONEY_OK)
        write_and_read(&address);
}

static void read_reply_to(const char *text)
{
    coney_message *request;
    cny_address address;
    coney_status status = coney_message_new(&request, NULL, 0, &(coney_properties){.reply_to = text});
    fuzz_require(status == CONEY_OK || status == CONEY_E_NO_MEMORY || strlen(text) > CNY_MAX_SHORT_STRING);
    if (status != CONEY_OK)
        return;
    bool has_address = cny_address_of_requester(&address, request);
    fuzz_require(!has_address || (address.is_requesters && *text));
    coney_message_unref(request);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    read_address(text);
    read_reply_to(text);
    free(text);
}
