/* SPDX-License-Identifier: MIT */
/* The input is JSON for a struct, after a byte that chooses the type. What was read can be written, and then read and
 * written again, and is the same. A type that takes all members agrees with jansson about what is JSON. */
#include "support/fuzz.h"

#include "support/orders.h"

#include <string.h>

enum { MOST_FIELDS = 64 };

typedef struct anything {
    json_t *members;
} anything;

static const coney_field anything_fields[] = {CONEY_FIELD(anything, members, CONEY_UNKNOWN)};
static const coney_type anything_type = CONEY_TYPE(NULL, anything, anything_fields);

/* A type whose fields may all be missing, so that an input need not have all of them. */
static const coney_type *loosen(const coney_type *type)
{
    static coney_field fields[MOST_FIELDS];
    static coney_type loose;
    loose = *type;
    fuzz_require(type->field_count <= MOST_FIELDS);
    for (size_t i = 0; i < type->field_count; i++) {
        fields[i] = type->fields[i];
        fields[i].options.optional = true;
    }
    loose.fields = fields;
    return &loose;
}

static void write_and_read(const coney_type *type, const void *object, bool is_loose)
{
    char *json, *again;
    size_t size, size_again;
    void *second;
    coney_status status = coney_type_encode(type, object, &json, &size);
    if (is_loose && status == CONEY_E_CONVERSION) /* a missing enum, for example, has no name */
        return;
    if (!fuzz_succeeds(status))
        return;
    if (fuzz_succeeds(coney_type_decode(type, &second, json, size))) {
        if (fuzz_succeeds(coney_type_encode(type, second, &again, &size_again))) {
            fuzz_require(size == size_again && strcmp(json, again) == 0);
            coney_text_free(again);
        }
        coney_object_free(second);
    }
    coney_text_free(json);
}

/* Both refuse integers beyond 64 bits, and more levels than jansson reads. */
static void compare_with_jansson(const anything *read, const uint8_t *data, size_t size)
{
    static const uint8_t byte_order_mark[] = {0xef, 0xbb, 0xbf};
    size_t mark = size >= 3 && memcmp(data, byte_order_mark, 3) == 0 ? 3 : 0;
    json_t *tree = json_loadb((const char *)data + mark, size - mark, JSON_ALLOW_NUL, NULL);
    bool is_lax = size > 0 && memchr(data, '\0', size); /* jansson overlooks a NUL after a number */
    fuzz_require(read ? json_is_object(tree) : is_lax || !json_is_object(tree));
    fuzz_require(!read || (read->members ? json_equal(read->members, tree) : json_object_size(tree) == 0));
    json_decref(tree);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    const coney_type *types[] = {&everything_type, loosen(&everything_type), &order_type,
                                 &orders_type,     &orders_by_name_type,     &anything_type};
    const coney_type *type = types[fuzz_take(&data, &size) % (sizeof types / sizeof *types)];
    void *object;
    bool is_small = type != &anything_type;
    coney_json_set_limits(&(coney_json_limits){.max_values = is_small ? 2000 : 0, .max_depth = is_small ? 60 : 2047});
    coney_status status = coney_type_decode(type, &object, (const char *)data, size);
    fuzz_require(status == CONEY_OK || status == CONEY_E_CONVERSION || status == CONEY_E_NO_MEMORY);
    if (!is_small && status != CONEY_E_NO_MEMORY)
        compare_with_jansson(object, data, size);
    if (status == CONEY_OK)
        write_and_read(type, object, type == types[1]);
    if (status == CONEY_OK)
        coney_object_free(object);
}
