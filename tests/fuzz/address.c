/* SPDX-License-Identifier: MIT */
/* The input is the address of a reply, as a request names it. */
#include "support/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void check_address(const cny_address *address)
{
    fuzz_require(strlen(address->exchange) <= CNY_MAX_SHORT_STRING);
    fuzz_require(!address->is_direct || !*address->exchange);
    fuzz_require(!strchr(address->exchange, '/') && !strstr(address->routing_key, "://"));
}

void fuzz_target(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    cny_address address;
    cny_address_parse(&address, text);
    if (!strstr(text, "://"))
        check_address(&address);
    coney_message *request;
    coney_status status = coney_message_new(&request, data, size, &(coney_properties){.reply_to = text});
    fuzz_require(status == CONEY_OK || status == CONEY_E_NO_MEMORY || strlen(text) > CNY_MAX_SHORT_STRING);
    if (status == CONEY_OK) {
        bool has_address = cny_address_of_requester(&address, request);
        fuzz_require(has_address == (*text != '\0'));
        fuzz_require(!has_address || address.is_requesters);
        coney_message_unref(request);
    }
    free(text);
}
