/* SPDX-License-Identifier: MIT */
#include "raw_json.h"

#include "json_by_hand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* rabbitmq-c needs no more than bytes. */
static bool give(encoded *made, char *text)
{
    if (!text)
        fprintf(stderr, "raw: cannot write JSON\n");
    *made = (encoded){text, text, text ? strlen(text) : 0};
    return text;
}

static bool receive(encoded *made, const char *text, size_t size)
{
    return give(made, strndup(text, size));
}

static void free_encoded(encoded *freed)
{
    free(freed->message);
}

static void *tell(void *object, const char *problem)
{
    if (!object)
        fprintf(stderr, "raw: %s\n", problem);
    return object;
}

static void *decode_parcel(const encoded *from)
{
    json_problem problem;
    return tell(parcel_from_json(from->body, from->size, problem), problem);
}

static bool encode_parcel(encoded *made, const void *object)
{
    return give(made, parcel_to_json(object));
}

static void free_parcel(void *object)
{
    parcel_free(object);
}

static void *decode_order(const encoded *from)
{
    json_problem problem;
    return tell(order_from_json(from->body, from->size, problem), problem);
}

static bool encode_order(encoded *made, const void *object)
{
    return give(made, order_to_json(object));
}

static void free_order(void *object)
{
    order_free(object);
}

const codec *raw_json_codec(const bench_case *one)
{
    static const codec parcels = {receive, decode_parcel, encode_parcel, free_parcel, free_encoded};
    static const codec orders = {receive, decode_order, encode_order, free_order, free_encoded};
    return one->lines > 0 ? &orders : &parcels;
}
