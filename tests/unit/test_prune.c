/* SPDX-License-Identifier: MIT */
/* What Coney takes out of encoded properties before rabbitmq-c decodes them: it is no more than has to go, the rest can
 * be decoded by every version of rabbitmq-c, and nothing is read beyond the end. */
#include "support/test_support.h"
#include "wire/rabbitmq_c.h"

#include <stdlib.h>

enum { ROOM = 8192, DEEP = 300 };

static amqp_pool_t pool;

static int start(void **state)
{
    (void)state;
    init_amqp_pool(&pool, 4096);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    empty_amqp_pool(&pool);
    return 0;
}

static size_t encode(const amqp_basic_properties_t *properties, void *room)
{
    amqp_bytes_t to = {.len = ROOM, .bytes = room};
    int size = amqp_encode_properties(AMQP_BASIC_CLASS, (void *)(uintptr_t)properties, to);
    assert_true(size > 0);
    return (size_t)size;
}

/* In memory that ends with the properties, so that AddressSanitizer sees what is read beyond. */
static bool prune(uint8_t *encoded, size_t *size, const char **defect)
{
    uint8_t *exact = malloc(*size ? *size : 1);
    assert_non_null(exact);
    memcpy(exact, encoded, *size);
    cny_pruned pruned = {0};
    bool done = cny_prune_headers(exact, size, &pruned);
    *defect = pruned.defect;
    memcpy(encoded, exact, *size);
    free(exact);
    return done;
}

static bool is_prunable(const uint8_t *encoded, size_t size)
{
    uint8_t room[ROOM];
    const char *defect;
    memcpy(room, encoded, size);
    return prune(room, &size, &defect);
}

/* What rabbitmq-c decodes then; *defect is why something is missing. */
static const amqp_basic_properties_t *read_pruned(const amqp_basic_properties_t *properties, const char **defect)
{
    static uint8_t room[ROOM]; /* what is decoded points to it */
    size_t size = encode(properties, room);
    void *decoded;
    assert_true(prune(room, &size, defect));
    const amqp_bytes_t rest = {.len = size, .bytes = room};
    assert_true(amqp_decode_properties(AMQP_BASIC_CLASS, &pool, rest, &decoded) >= 0);
    return decoded;
}

static const amqp_basic_properties_t *read_headers(amqp_table_entry_t *entries, int count, const char **defect)
{
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_HEADERS_FLAG |
                  AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_EXPIRATION_FLAG |
                  AMQP_BASIC_MESSAGE_ID_FLAG,
        .content_type = amqp_cstring_bytes("text/plain"),
        .content_encoding = amqp_cstring_bytes("utf-8"),
        .headers = {.num_entries = count, .entries = entries},
        .priority = 7,
        .reply_to = amqp_cstring_bytes("answers"),
        .expiration = amqp_cstring_bytes("1000"),
        .message_id = amqp_cstring_bytes("m-1"),
    };
    return read_pruned(&properties, defect);
}

static amqp_table_entry_t entry(const char *name, uint8_t kind)
{
    return (amqp_table_entry_t){.key = amqp_cstring_bytes(name), .value = {.kind = kind}};
}

static void expect_text(amqp_bytes_t bytes, const char *text)
{
    assert_int_equal(bytes.len, strlen(text));
    assert_memory_equal(bytes.bytes, text, bytes.len);
}

/* ---- nests of one entry each, the last of which is void ---- */

static amqp_field_value_t deep_tables(int levels)
{
    static amqp_table_entry_t nested[DEEP];
    for (int i = 0; i < levels; i++) {
        nested[i] = entry("k", i + 1 < levels ? AMQP_FIELD_KIND_TABLE : AMQP_FIELD_KIND_VOID);
        nested[i].value.value.table = (amqp_table_t){.num_entries = 1, .entries = &nested[i + 1]};
    }
    return nested[0].value;
}

static amqp_field_value_t deep_arrays(int levels)
{
    static amqp_field_value_t nested[DEEP];
    for (int i = 0; i < levels; i++) {
        nested[i].kind = i + 1 < levels ? AMQP_FIELD_KIND_ARRAY : AMQP_FIELD_KIND_VOID;
        nested[i].value.array = (amqp_array_t){.num_entries = 1, .entries = &nested[i + 1]};
    }
    return nested[0];
}

static int levels_of(const amqp_table_entry_t *header)
{
    int levels = 1;
    const amqp_field_value_t *value = &header->value;
    while (value) {
        bool is_table = value->kind == AMQP_FIELD_KIND_TABLE, is_array = value->kind == AMQP_FIELD_KIND_ARRAY;
        const amqp_table_t *table = &value->value.table;
        const amqp_array_t *array = &value->value.array;
        levels += is_table || is_array;
        value = is_table && table->num_entries   ? &table->entries[0].value
                : is_array && array->num_entries ? &array->entries[0]
                                                 : NULL;
    }
    return levels;
}

/* ---- what stays as it is ---- */

static void expect_unchanged(const amqp_basic_properties_t *properties)
{
    uint8_t before[ROOM], after[ROOM];
    size_t size = encode(properties, before), left = size;
    const char *defect;
    memcpy(after, before, size);
    assert_true(prune(after, &left, &defect));
    assert_null(defect);
    assert_int_equal(left, size);
    assert_memory_equal(after, before, size);
}

static void expect_headers_unchanged(amqp_table_entry_t *entries, int count)
{
    expect_unchanged(&(amqp_basic_properties_t){._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG |
                                                          AMQP_BASIC_APP_ID_FLAG,
                                                .content_type = amqp_cstring_bytes("text/plain"),
                                                .headers = {.num_entries = count, .entries = entries},
                                                .app_id = amqp_cstring_bytes("app")});
}

static void test_properties_without_headers_stay(void **state)
{
    (void)state;
    expect_unchanged(&(amqp_basic_properties_t){0});
    expect_unchanged(
        &(amqp_basic_properties_t){._flags = AMQP_BASIC_MESSAGE_ID_FLAG, .message_id = amqp_cstring_bytes("m-1")});
    expect_headers_unchanged(NULL, 0);
}

static void test_all_types_of_values_are_known(void **state)
{
    (void)state;
    static const char kinds[] = "tbBsuIilLfdDSTVx";
    amqp_table_entry_t entries[sizeof kinds];
    for (size_t i = 0; i < sizeof kinds - 1; i++) {
        entries[i] = entry("k", (uint8_t)kinds[i]);
        if (kinds[i] == 'S' || kinds[i] == 'x')
            entries[i].value.value.bytes = amqp_cstring_bytes("AFAFAF");
    }
    entries[sizeof kinds - 1] = entry("k", 't'); /* is found only if all before it have their true sizes */
    expect_headers_unchanged(entries, sizeof kinds);
}

static void test_many_nests_beside_each_other_stay(void **state)
{
    (void)state;
    amqp_table_entry_t many[200];
    for (size_t i = 0; i < COUNT_OF(many); i++) {
        many[i] = entry("k", i % 2 ? AMQP_FIELD_KIND_TABLE : AMQP_FIELD_KIND_ARRAY);
        many[i].value.value.table = (amqp_table_t){0};
    }
    expect_headers_unchanged(many, COUNT_OF(many));
}

static void test_nests_of_as_many_levels_as_may_be_stay(void **state)
{
    (void)state;
    amqp_table_entry_t tables = {.key = amqp_cstring_bytes("t"), .value = deep_tables(CONEY_MAX_NESTING)};
    amqp_table_entry_t arrays = {.key = amqp_cstring_bytes("a"), .value = deep_arrays(CONEY_MAX_NESTING)};
    expect_headers_unchanged(&tables, 1);
    expect_headers_unchanged(&arrays, 1);
}

/* ---- what is nested too deep ---- */

static void expect_cut(amqp_field_value_t deep)
{
    const char *defect;
    amqp_table_entry_t header = {.key = amqp_cstring_bytes("deep"), .value = deep};
    const amqp_basic_properties_t *read = read_headers(&header, 1, &defect);
    assert_non_null(defect);
    assert_string_equal(defect, "its headers are nested too deep");
    assert_int_equal(read->headers.num_entries, 1);
    assert_int_equal(levels_of(&read->headers.entries[0]), CONEY_MAX_NESTING);
}

static void test_levels_below_the_last_that_may_be_are_left_out(void **state)
{
    (void)state;
    expect_cut(deep_tables(CONEY_MAX_NESTING + 1));
    expect_cut(deep_tables(DEEP));
    expect_cut(deep_arrays(CONEY_MAX_NESTING + 1));
    expect_cut(deep_arrays(DEEP));
}

static void test_all_other_properties_of_a_message_with_headers_too_deep_stay(void **state)
{
    (void)state;
    const char *defect;
    amqp_table_entry_t headers[] = {entry("before", 'I'), entry("deep", 'V'), entry("after", 'I')};
    headers[0].value.value.i32 = 1;
    headers[1].value = deep_tables(DEEP);
    headers[2].value.value.i32 = 2;
    const amqp_basic_properties_t *read = read_headers(headers, COUNT_OF(headers), &defect);
    assert_non_null(defect);
    expect_text(read->content_type, "text/plain");
    expect_text(read->content_encoding, "utf-8");
    expect_text(read->reply_to, "answers");
    expect_text(read->expiration, "1000");
    expect_text(read->message_id, "m-1");
    assert_int_equal(read->priority, 7);
    assert_int_equal(read->headers.num_entries, 3);
    expect_text(read->headers.entries[0].key, "before");
    assert_int_equal(read->headers.entries[0].value.value.i32, 1);
    expect_text(read->headers.entries[2].key, "after");
    assert_int_equal(read->headers.entries[2].value.value.i32, 2);
}

/* A publisher may write one before the broker's. */
static void test_deaths_beside_one_too_deep_stay(void **state)
{
    (void)state;
    const char *defect;
    amqp_table_entry_t count = entry("count", 'l');
    count.value.value.i64 = 5;
    amqp_field_value_t deaths[] = {deep_tables(DEEP), {.kind = AMQP_FIELD_KIND_TABLE}};
    deaths[1].value.table = (amqp_table_t){.num_entries = 1, .entries = &count};
    amqp_table_entry_t header = entry("x-death", AMQP_FIELD_KIND_ARRAY);
    header.value.value.array = (amqp_array_t){.num_entries = COUNT_OF(deaths), .entries = deaths};
    const amqp_basic_properties_t *read = read_headers(&header, 1, &defect);
    assert_non_null(defect);
    const amqp_array_t *array = &read->headers.entries[0].value.value.array;
    assert_int_equal(array->num_entries, 2);
    assert_int_equal(array->entries[1].value.table.entries[0].value.value.i64, 5);
}

/* ---- x-death that no broker has written ---- */

static bool read_forged(amqp_table_entry_t death, const amqp_basic_properties_t **read)
{
    static uint8_t room[ROOM];
    amqp_table_entry_t entries[] = {entry("before", AMQP_FIELD_KIND_I32), death, entry("after", AMQP_FIELD_KIND_I32)};
    const amqp_basic_properties_t properties = {._flags = AMQP_BASIC_HEADERS_FLAG,
                                                .headers = {.num_entries = COUNT_OF(entries), .entries = entries}};
    size_t size = encode(&properties, room);
    cny_pruned pruned;
    void *decoded;
    assert_true(cny_prune_headers(room, &size, &pruned));
    assert_null(pruned.defect);
    assert_true(amqp_decode_properties(AMQP_BASIC_CLASS, &pool, (amqp_bytes_t){size, room}, &decoded) >= 0);
    *read = decoded;
    return pruned.has_forged_death;
}

static void expect_forged(amqp_table_entry_t death)
{
    const amqp_basic_properties_t *read;
    assert_true(read_forged(death, &read));
    assert_int_equal(read->headers.num_entries, 2);
    expect_text(read->headers.entries[0].key, "before");
    expect_text(read->headers.entries[1].key, "after");
}

static amqp_table_entry_t death_of(amqp_field_value_t *items, int count)
{
    amqp_table_entry_t death = entry("x-death", AMQP_FIELD_KIND_ARRAY);
    death.value.value.array = (amqp_array_t){.num_entries = count, .entries = items};
    return death;
}

static void test_x_death_that_no_broker_has_written_is_taken_out_and_is_no_defect(void **state)
{
    (void)state;
    amqp_field_value_t items[] = {{.kind = AMQP_FIELD_KIND_VOID}, {.kind = AMQP_FIELD_KIND_TABLE}};
    amqp_table_entry_t text = entry("x-death", AMQP_FIELD_KIND_UTF8);
    text.value.value.bytes = amqp_cstring_bytes("rejected");
    expect_forged(entry("x-death", AMQP_FIELD_KIND_VOID));
    expect_forged(entry("x-death", AMQP_FIELD_KIND_TABLE));
    expect_forged(text);
    expect_forged(death_of(items, 0));
    expect_forged(death_of(items, 2));
}

static void test_x_death_that_begins_with_a_table_stays(void **state)
{
    (void)state;
    amqp_field_value_t items[] = {{.kind = AMQP_FIELD_KIND_TABLE}, {.kind = AMQP_FIELD_KIND_VOID}};
    const amqp_basic_properties_t *read;
    assert_false(read_forged(death_of(items, 2), &read));
    assert_int_equal(read->headers.num_entries, 3);
    assert_int_equal(read->headers.entries[1].value.value.array.num_entries, 2);
}

/* ---- what is wrong ---- */

static void test_properties_cut_off_anywhere_are_not_read_beyond_their_end(void **state)
{
    (void)state;
    uint8_t room[ROOM];
    amqp_table_entry_t nested[] = {entry("k", 'I'), entry("k", 'S')};
    nested[1].value.value.bytes = amqp_cstring_bytes("text");
    amqp_table_entry_t outer[] = {entry("k", 'd'), entry("k", 'F')};
    outer[1].value.value.table = (amqp_table_t){.num_entries = 2, .entries = nested};
    const amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG,
                                                .content_type = amqp_cstring_bytes("text/plain"),
                                                .headers = {.num_entries = 2, .entries = outer}};
    size_t size = encode(&properties, room);
    assert_true(is_prunable(room, size));
    for (size_t cut = 0; cut < size; cut++)
        assert_false(is_prunable(room, cut));
}

static void test_sizes_that_are_lies_are_refused(void **state)
{
    (void)state;
    static const uint8_t table[] = {0x20, 0, 0xff, 0xff, 0xff, 0xff, 1, 'k', 'V'};
    static const uint8_t text[] = {0x20, 0, 0, 0, 0, 7, 1, 'k', 'S', 0xff, 0xff, 0xff, 0xff};
    static const uint8_t inner[] = {0x20, 0, 0, 0, 0, 7, 1, 'k', 'A', 0, 0, 0, 9};
    static const uint8_t beyond_its_table[] = {0x20, 0, 0, 0, 0, 4, 1, 'k', 'I', 0, 0, 0, 9};
    static const uint8_t unknown[] = {0x20, 0, 0, 0, 0, 3, 1, 'k', '?'};
    static const uint8_t flags[] = {0, 1, 0, 1, 0, 1};
    assert_false(is_prunable(table, sizeof table));
    assert_false(is_prunable(text, sizeof text));
    assert_false(is_prunable(inner, sizeof inner));
    assert_false(is_prunable(beyond_its_table, sizeof beyond_its_table));
    assert_false(is_prunable(unknown, sizeof unknown));
    assert_false(is_prunable(flags, sizeof flags));
}

int main(void)
{
#define with_pool(test) cmocka_unit_test_setup_teardown(test, start, finish)
    const struct CMUnitTest tests[] = {
        with_pool(test_properties_without_headers_stay),
        with_pool(test_all_types_of_values_are_known),
        with_pool(test_many_nests_beside_each_other_stay),
        with_pool(test_nests_of_as_many_levels_as_may_be_stay),
        with_pool(test_levels_below_the_last_that_may_be_are_left_out),
        with_pool(test_all_other_properties_of_a_message_with_headers_too_deep_stay),
        with_pool(test_deaths_beside_one_too_deep_stay),
        with_pool(test_x_death_that_no_broker_has_written_is_taken_out_and_is_no_defect),
        with_pool(test_x_death_that_begins_with_a_table_stays),
        with_pool(test_properties_cut_off_anywhere_are_not_read_beyond_their_end),
        with_pool(test_sizes_that_are_lies_are_refused),
    };
    return cmocka_run_group_tests_name("prune", tests, NULL, NULL);
}
