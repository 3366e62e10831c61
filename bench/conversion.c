/* SPDX-License-Identifier: MIT */
#include "conversion.h"

#include "documents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conversion {
    const codec *by;
    bool encodes;
    encoded received;
    void *object;
};

static bool decode(const conversion *by)
{
    void *object = by->by->decode(&by->received);
    by->by->free_object(object);
    return object;
}

static bool encode(const conversion *by)
{
    encoded made;
    if (!by->by->encode(&made, by->object))
        return false;
    by->by->free_encoded(&made);
    return true;
}

/* Is the document, once read and written, the same again? */
static bool check(const conversion *checked)
{
    const encoded *before = &checked->received;
    encoded after;
    size_t same = 0;
    if (!checked->object || !checked->by->encode(&after, checked->object))
        return false;
    while (same < before->size && same < after.size && before->body[same] == after.body[same])
        same++;
    bool done = same == before->size && same == after.size;
    if (!done)
        fprintf(stderr, "conversion: byte %zu of the document changes\n", same);
    checked->by->free_encoded(&after);
    return done;
}

conversion *conversion_new(const bench_case *one, const codec *by)
{
    conversion *made = calloc(1, sizeof *made);
    char *text = bench_document(one->lines);
    *made = (conversion){.by = by, .encodes = one->mode == BENCH_ENCODE};
    if (by->receive(&made->received, text, strlen(text)))
        made->object = by->decode(&made->received);
    free(text);
    if (check(made))
        return made;
    conversion_free(made);
    return NULL;
}

bool conversion_repeat(const conversion *repeated, int times)
{
    for (int i = 0; i < times; i++) {
        if (repeated->encodes ? !encode(repeated) : !decode(repeated))
            return false;
    }
    return true;
}

void conversion_free(conversion *freed)
{
    if (!freed)
        return;
    freed->by->free_object(freed->object);
    freed->by->free_encoded(&freed->received);
    free(freed);
}
