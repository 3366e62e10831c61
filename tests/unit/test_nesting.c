/* SPDX-License-Identifier: MIT */
/* The look at encoded headers before rabbitmq-c decodes them: it agrees with rabbitmq-c, knows every type, and reads
 * nothing beyond the end. */
#include "support/test_support.h"
#include "wire/rabbitmq_c.h"

#include <stdlib.h>

enum { ROOM = 8192 };

static size_t encode(const amqp_basic_properties_t *properties, void *room)
{
    amqp_bytes_t to = {.len = ROOM, .bytes = room};
    int size = amqp_encode_properties(AMQP_BASIC_CLASS, (void *)(uintptr_t)properties, to);
    assert_true(size > 0);
    return (size_t)size;
}

/* From memory that ends with the properties, so that AddressSanitizer sees what is read beyond. */
static bool is_shallow(const uint8_t *encoded, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, encoded, size);
    bool shallow = cny_is_shallow(exact, size);
    free(exact);
    return shallow;
}

static bool are_shallow(amqp_table_entry_t *entries, int count)
{
    uint8_t room[ROOM];
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_HEADERS_FLAG |
                  AMQP_BASIC_PRIORITY_FLAG,
        .content_type = amqp_cstring_bytes("text/plain"),
        .content_encoding = amqp_cstring_bytes("utf-8"),
        .headers = {.num_entries = count, .entries = entries},
    };
    return is_shallow(room, encode(&properties, room));
}

static amqp_table_entry_t entry(uint8_t kind)
{
    return (amqp_table_entry_t){.key = amqp_cstring_bytes("k"), .value = {.kind = kind}};
}

/* ---- what is shallow ---- */

static void test_properties_without_headers_are_shallow(void **state)
{
    (void)state;
    uint8_t room[ROOM];
    const amqp_basic_properties_t none = {0};
    const amqp_basic_properties_t id = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG, .message_id = amqp_cstring_bytes("m-1")};
    assert_true(is_shallow(room, encode(&none, room)));
    assert_true(is_shallow(room, encode(&id, room)));
    assert_true(are_shallow(NULL, 0));
}

static void test_all_types_of_values_are_known(void **state)
{
    (void)state;
    static const char kinds[] = "tbBsuIilLfdDSTVx";
    amqp_table_entry_t entries[sizeof kinds];
    for (size_t i = 0; i < sizeof kinds - 1; i++) {
        entries[i] = entry((uint8_t)kinds[i]);
        if (kinds[i] == 'S' || kinds[i] == 'x')
            entries[i].value.value.bytes = amqp_cstring_bytes("AFAFAF");
    }
    entries[sizeof kinds - 1] = entry('t'); /* is found only if all before it have their true sizes */
    assert_true(are_shallow(entries, sizeof kinds));
}

/* ---- depth ---- */

static amqp_table_entry_t entries[CONEY_MAX_NESTING + 1];
static amqp_field_value_t values[CONEY_MAX_NESTING + 1];

static bool are_tables_shallow(int levels)
{
    for (int i = 0; i < levels; i++) {
        entries[i] = entry(i + 1 < levels ? AMQP_FIELD_KIND_TABLE : AMQP_FIELD_KIND_VOID);
        entries[i].value.value.table = (amqp_table_t){.num_entries = 1, .entries = &entries[i + 1]};
    }
    return are_shallow(entries, 1);
}

static bool are_arrays_shallow(int levels)
{
    amqp_table_entry_t outer = entry(AMQP_FIELD_KIND_ARRAY);
    for (int i = 0; i < levels; i++) {
        values[i].kind = i + 1 < levels ? AMQP_FIELD_KIND_ARRAY : AMQP_FIELD_KIND_VOID;
        values[i].value.array = (amqp_array_t){.num_entries = 1, .entries = &values[i + 1]};
    }
    outer.value = values[0];
    return are_shallow(&outer, 1);
}

static void test_tables_are_shallow_up_to_the_most_levels(void **state)
{
    (void)state;
    assert_true(are_tables_shallow(CONEY_MAX_NESTING));
    assert_false(are_tables_shallow(CONEY_MAX_NESTING + 1));
}

/* The table around them is a level. */
static void test_arrays_are_shallow_up_to_the_most_levels(void **state)
{
    (void)state;
    assert_true(are_arrays_shallow(CONEY_MAX_NESTING));
    assert_false(are_arrays_shallow(CONEY_MAX_NESTING + 1));
}

static void test_many_nests_beside_each_other_are_shallow(void **state)
{
    (void)state;
    amqp_table_entry_t many[200];
    for (size_t i = 0; i < COUNT_OF(many); i++) {
        many[i] = entry(i % 2 ? AMQP_FIELD_KIND_TABLE : AMQP_FIELD_KIND_ARRAY);
        many[i].value.value.table = (amqp_table_t){0};
    }
    assert_true(are_shallow(many, COUNT_OF(many)));
}

/* ---- what is wrong ---- */

static void test_properties_cut_off_anywhere_are_not_read_beyond_their_end(void **state)
{
    (void)state;
    uint8_t room[ROOM];
    amqp_table_entry_t nested[] = {entry('I'), entry('S')};
    nested[1].value.value.bytes = amqp_cstring_bytes("text");
    amqp_table_entry_t outer[] = {entry('d'), entry('F')};
    outer[1].value.value.table = (amqp_table_t){.num_entries = 2, .entries = nested};
    const amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG,
                                                .content_type = amqp_cstring_bytes("text/plain"),
                                                .headers = {.num_entries = 2, .entries = outer}};
    size_t size = encode(&properties, room);
    assert_true(is_shallow(room, size));
    for (size_t cut = 0; cut < size; cut++)
        assert_false(is_shallow(room, cut));
}

static void test_sizes_that_are_lies_are_refused(void **state)
{
    (void)state;
    static const uint8_t table[] = {0x20, 0, 0xff, 0xff, 0xff, 0xff, 1, 'k', 'V'};
    static const uint8_t text[] = {0x20, 0, 0, 0, 0, 7, 1, 'k', 'S', 0xff, 0xff, 0xff, 0xff};
    static const uint8_t inner[] = {0x20, 0, 0, 0, 0, 7, 1, 'k', 'A', 0, 0, 0, 9};
    static const uint8_t unknown[] = {0x20, 0, 0, 0, 0, 3, 1, 'k', '?'};
    static const uint8_t flags[] = {0, 1, 0, 1, 0, 1};
    assert_false(is_shallow(table, sizeof table));
    assert_false(is_shallow(text, sizeof text));
    assert_false(is_shallow(inner, sizeof inner));
    assert_false(is_shallow(unknown, sizeof unknown));
    assert_false(is_shallow(flags, sizeof flags));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties_without_headers_are_shallow),
        cmocka_unit_test(test_all_types_of_values_are_known),
        cmocka_unit_test(test_tables_are_shallow_up_to_the_most_levels),
        cmocka_unit_test(test_arrays_are_shallow_up_to_the_most_levels),
        cmocka_unit_test(test_many_nests_beside_each_other_are_shallow),
        cmocka_unit_test(test_properties_cut_off_anywhere_are_not_read_beyond_their_end),
        cmocka_unit_test(test_sizes_that_are_lies_are_refused),
    };
    return cmocka_run_group_tests_name("nesting", tests, NULL, NULL);
}
