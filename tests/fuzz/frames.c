/* SPDX-License-Identifier: MIT */
/* The input is what a broker says after the login, in frames of all kinds, cut into pieces as a socket would. However
 * it is cut, the same methods and messages must come out. The first two bytes choose the size of the pieces and which
 * messages are admitted. */
#include "support/fuzz.h"
#include "support/wire_input.h"

#include <string.h>

enum { MAX_MESSAGE = 1 << 16 };

/* What came out: a hash of it, and how it ended. */
typedef struct result {
    uint32_t hash;
    coney_status status;
} result;

static cny_admission admit(void *self, const cny_announcement *announcement)
{
    const uint8_t *choices = self;
    unsigned choice = *choices >> (2 * (announcement->channel & 3));
    if (announcement->method == CNY_BASIC_RETURN && announcement->body_bytes > MAX_MESSAGE)
        return CNY_REFUSED; /* returns are as large as what was sent */
    return (choice & 3) == 1 ? CNY_REFUSED : (choice & 3) == 2 ? CNY_ADMITTED_WITHOUT_BODY : CNY_ADMITTED;
}

static void add(result *to, const void *bytes, size_t size)
{
    uint32_t both[2] = {to->hash, cny_hash(bytes, size)};
    to->hash = cny_hash(both, sizeof both);
}

static void add_text(result *to, const char *text)
{
    if (text)
        add(to, text, strlen(text) + 1);
}

static void add_message(result *to, const coney_message *message)
{
    fuzz_read_message(message);
    size_t sizes[] = {coney_message_size(message), coney_table_size(message->properties.headers),
                      (size_t)message->delivery_tag, message->redelivered};
    add(to, sizes, sizeof sizes);
    add(to, coney_message_body(message), coney_message_size(message));
    add_text(to, coney_message_exchange(message));
    add_text(to, coney_message_routing_key(message));
    add_text(to, message->properties.content_type);
    add_text(to, message->defect);
}

static void add_incoming(result *to, const cny_incoming *incoming)
{
    uint64_t numbers[] = {incoming->method, incoming->channel,  incoming->code,          incoming->cause,
                          incoming->tag,    incoming->multiple, incoming->message_count, incoming->consumer_count};
    add(to, numbers, sizeof numbers);
    add_text(to, incoming->text);
    if (incoming->message)
        add_message(to, incoming->message);
    coney_message_unref(incoming->message);
}

static void take_all(cny_wire *wire, result *to)
{
    bool complete = true;
    while (complete && to->status == CONEY_OK) {
        cny_incoming incoming = {0}; /* each method sets what it has */
        to->status = cny_wire_next(wire, &incoming, &complete);
        if (to->status == CONEY_OK && complete)
            add_incoming(to, &incoming);
    }
}

static result read_in(size_t piece, uint8_t choices, const uint8_t *data, size_t size)
{
    result read = {.status = CONEY_OK};
    cny_wire *wire = fuzz_wire(MAX_MESSAGE, (cny_wire_owner){.self = &choices, .admits = admit});
    if (!wire)
        return (result){.status = CONEY_E_NO_MEMORY};
    while (size > 0 && read.status == CONEY_OK) {
        size_t taken = fuzz_wire_put(wire, data, size < piece ? size : piece);
        fuzz_require(taken > 0); /* or the connection would stand still */
        data += taken;
        size -= taken;
        take_all(wire, &read);
    }
    cny_assemblies_free(wire);
    return read;
}

void fuzz_target(const uint8_t *data, size_t size)
{
    size_t piece = 1 + (size_t)fuzz_take(&data, &size);
    uint8_t choices = fuzz_take(&data, &size);
    result whole = read_in(SIZE_MAX, choices, data, size), pieces = read_in(piece, choices, data, size);
    if (whole.status == CONEY_E_NO_MEMORY || pieces.status == CONEY_E_NO_MEMORY)
        return;
    fuzz_require(whole.status == pieces.status);
    fuzz_require(whole.hash == pieces.hash);
}
