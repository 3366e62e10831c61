/* SPDX-License-Identifier: MIT */
/* Pictures of topologies: what they show, and that no name can break them. */
#include "base/base.h"
#include "support/test_support.h"

#include <coney/amqp/topology_picture.h>
#include <coney/amqp/type.h>
#include <string.h>

static coney_topology *topology;

static int set_up(void **state)
{
    (void)state;
    topology = coney_topology_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    coney_topology_free(topology);
    return 0;
}

static const coney_picture_listener listener = {
    .id = "reader", .queue = "orders", .concurrency = 2, .max_concurrency = 8};
static const coney_picture_options options = {.listeners = &listener, .listener_count = 1};

static void fill(void)
{
    assert_ok(coney_topology_add_exchange(
        topology, &(coney_exchange){.name = "shop", .type = CONEY_TOPIC, .alternate_exchange = "rest"}));
    assert_ok(coney_topology_add_queue_with_dead_letters(
        topology, &(coney_queue){.name = "orders", .kind = CONEY_QUORUM, .max_length = 5}, NULL));
    assert_ok(coney_topology_bind(topology, "shop", "orders", "order.paid"));
    assert_ok(coney_topology_bind(topology, "shop", "orders", "order.sent"));
    assert_ok(coney_topology_bind(topology, "amq.topic", "elsewhere", "x"));
    assert_ok(coney_topology_add_queue(topology, &(coney_queue){.name = "wait",
                                                                .dead_letter_exchange = "",
                                                                .dead_letter_routing_key = "orders",
                                                                .message_ttl_ms = 9}));
}

static void test_picture_shows_each_thing_and_each_path(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "label=\"shop\\ntopic\"",
        "label=\"orders\\nquorum, max_length 5\"",
        "e0 -> q0 [label=\"order.paid\\norder.sent\"]",
        "q0 -> e1 [style=dashed, color=\"#b3443c\", fontcolor=\"#b3443c\", label=\"dead letters\\norders\"]",
        "q2 -> q0 [style=dashed",
        "e0 -> oe1 [style=dotted, label=\"alternate\"]",
        "oe0 -> oq0 [label=\"x\"]",
        "label=\"reader\\n2 to 8 consumers\"",
        "q0 -> l0",
    };
    char *dot;
    fill();
    assert_ok(coney_topology_dot(&dot, topology, &options));
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        if (!strstr(dot, lines[i])) {
            print_error("no %s in\n%s", lines[i], dot);
            fail();
        }
    }
    coney_text_free(dot);
}

static void test_table_shows_the_same(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "shop        rest         topic\n",
        "wait        (default exchange)  orders    message_ttl_ms 9\n",
        "orders      orders.dlx          orders    quorum, max_length 5\n",
        "shop           orders      order.paid\n",
        "reader    orders  2 to 8\n",
    };
    char *text;
    fill();
    assert_ok(coney_topology_table(&text, topology, &options));
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        if (!strstr(text, lines[i])) {
            print_error("no %s in\n%s", lines[i], text);
            fail();
        }
    }
    coney_text_free(text);
}

/* Outside of quoted strings there is nothing but what Coney has written. */
static void expect_sound(const char *dot)
{
    bool is_quoted = false;
    for (const char *at = dot; *at; at++) {
        assert_true((unsigned char)*at >= ' ' || (*at == '\n' && !is_quoted));
        if (is_quoted && *at == '\\')
            at++;
        else if (*at == '"')
            is_quoted = !is_quoted;
        else if (!is_quoted)
            assert_null(strchr("<>\\'&|", *at) && strncmp(at - 1, "->", 2) != 0 ? at : NULL);
    }
    assert_false(is_quoted);
}

static void test_no_name_breaks_the_picture(void **state)
{
    (void)state;
    static const char *const names[] = {
        "\"",       "\\",           "a\\",  "\\\"", "x\"]; } digraph {", "<b>&amp;</b>", "tab\tline\nend",
        "\x01\x7f", "\u00fc\u2603", "%s%n", "->",   "\\n\\N\\G",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_ok(coney_topology_add_exchange(
            topology, &(coney_exchange){.name = names[i], .alternate_exchange = names[COUNT_OF(names) - 1 - i]}));
        assert_ok(coney_topology_add_queue(
            topology,
            &(coney_queue){.name = names[i], .dead_letter_exchange = names[i], .dead_letter_routing_key = names[i]}));
        assert_ok(coney_topology_bind(topology, names[i], names[i], names[i]));
        const coney_picture_listener hostile = {.id = names[i], .queue = names[i]};
        char *text;
        assert_ok(coney_topology_dot(
            &text, topology, &(coney_picture_options){.title = names[i], .listeners = &hostile, .listener_count = 1}));
        expect_sound(text);
        coney_text_free(text);
        assert_ok(coney_topology_table(&text, topology,
                                       &(coney_picture_options){.listeners = &hostile, .listener_count = 1}));
        coney_text_free(text);
    }
}

static void test_topology_with_a_failure_is_refused(void **state)
{
    (void)state;
    char *text;
    coney_topology_add_queue(topology, &(coney_queue){.name = "q", .expires_ms = -1});
    assert_fails(coney_topology_dot(&text, topology, NULL), CONEY_E_INVALID, "expires_ms is -1");
    assert_fails(coney_topology_table(&text, topology, NULL), CONEY_E_INVALID, "expires_ms is -1");
}

static void test_without_memory_there_is_no_half_picture(void **state)
{
    (void)state;
    fill();
    for (int after = 0; after < 100; after++) {
        char *text = NULL, *table = NULL;
        cny_alloc_fail_after(after);
        coney_status drawn = coney_topology_dot(&text, topology, &options);
        coney_status listed = drawn == CONEY_OK ? coney_topology_table(&table, topology, &options) : drawn;
        cny_alloc_fail_after(-1);
        assert_true(drawn == CONEY_OK ? text != NULL : drawn == CONEY_E_NO_MEMORY && !text);
        assert_true(listed == CONEY_OK || listed == CONEY_E_NO_MEMORY);
        coney_text_free(text);
        coney_text_free(table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_picture_shows_each_thing_and_each_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_table_shows_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_name_breaks_the_picture, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_topology_with_a_failure_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_memory_there_is_no_half_picture, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
