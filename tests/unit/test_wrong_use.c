/* SPDX-License-Identifier: MIT */
/* Every public function with NULL for each argument that is a pointer: getters answer with nothing, functions that
 * return a status refuse what they need with a sentence that names the argument, and all others do nothing. The last
 * test compares the calls here with the headers, so a function that is added has to appear here. */
#include "support/orders.h"
#include "support/refusal.h"

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

static const char *calls[1024];
static size_t call_count;
static int failures;

static void note(const char *call)
{
    assert_true(call_count < COUNT_OF(calls));
    calls[call_count++] = call;
}

static void expect_refusal(const char *call, coney_status got, const char *argument)
{
    note(call);
    if (got == CONEY_E_INVALID && test_said(got) && strstr(coney_last_error(), argument))
        return;
    print_error("%s: %s, '%s'; expected INVALID with '%s'\n", call, coney_status_name(got), coney_last_error(),
                argument);
    failures++;
}

static void expect(const char *call, bool held)
{
    note(call);
    if (held)
        return;
    print_error("%s: does not answer with nothing\n", call);
    failures++;
}

#define REFUSES(argument, call) (test_spoil_last_error(), expect_refusal(#call, (call), argument))
#define NOTHING(call) expect(#call, !(call))
#define IS(expected, call) expect(#call, (call) == (expected))
#define BEARS(call) ((call), note(#call))
#define MAKES(made, call) ((made) = (call), note(#call))

static int none_failed(void **state)
{
    (void)state;
    int failed = failures;
    failures = 0;
    return failed ? -1 : 0;
}

/* ---- what knows no broker ---- */

static coney_message *message;
static coney_table *table;

static coney_status take(coney_message *fragment, size_t index, size_t count, void *user)
{
    (void)fragment, (void)index, (void)count, (void)user;
    return CONEY_OK;
}

static void test_values(void **state)
{
    (void)state;
    const coney_value value = coney_value_int64(1);
    IS((size_t)0, coney_value_string(NULL).as.bytes.size);
    BEARS(coney_value_int64(0));
    REFUSES("table", coney_table_set(NULL, "n", &value));
    REFUSES("name", coney_table_set(table, NULL, &value));
    REFUSES("value", coney_table_set(table, "n", NULL));
    REFUSES("table", coney_table_set_string(NULL, "n", "t"));
    REFUSES("name", coney_table_set_string(table, NULL, "t"));
    REFUSES("string", coney_table_set_string(table, "n", NULL));
    REFUSES("name", coney_table_set_string(table, NULL, NULL));
    REFUSES("table", coney_table_set_int64(NULL, "n", 1));
    REFUSES("name", coney_table_set_int64(table, NULL, 1));
    REFUSES("table", coney_table_set_bool(NULL, "n", true));
    REFUSES("name", coney_table_set_bool(table, NULL, true));
    REFUSES("table", coney_table_set_double(NULL, "n", 1));
    REFUSES("name", coney_table_set_double(table, NULL, 1));
    REFUSES("table", coney_table_set_table(NULL, "n", table));
    REFUSES("name", coney_table_set_table(table, NULL, table));
    REFUSES("value", coney_table_set_table(table, "n", NULL));
    REFUSES("table", coney_table_set_array(NULL, "n", NULL));
    REFUSES("value", coney_table_set_array(table, "n", NULL));
    REFUSES("array", coney_array_append(NULL, &value));
    coney_array *array;
    MAKES(array, coney_array_new());
    REFUSES("value", coney_array_append(array, NULL));
    BEARS(coney_array_free(array));
    NOTHING(coney_table_get(NULL, "n"));
    NOTHING(coney_table_get(table, NULL));
    NOTHING(coney_table_get_string(NULL, "n"));
    NOTHING(coney_table_get_string(table, NULL));
    IS(5, coney_table_get_int64(NULL, "n", 5));
    IS(5, coney_table_get_int64(table, NULL, 5));
    NOTHING(coney_table_size(NULL));
    NOTHING(coney_table_name_at(NULL, 0));
    NOTHING(coney_table_value_at(NULL, 0));
    NOTHING(coney_array_size(NULL));
    NOTHING(coney_array_at(NULL, 0));
    BEARS(coney_table_free(NULL));
    BEARS(coney_array_free(NULL));
}

static void test_name_that_is_null_is_not_found_in_a_table_with_an_index(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_ok(coney_table_set_int64(table, name, i));
    }
    NOTHING(coney_table_get(table, NULL));
    IS(5, coney_table_get_int64(table, NULL, 5));
}

static void test_messages(void **state)
{
    (void)state;
    coney_message *copy = NULL;
    REFUSES("message", coney_message_new(NULL, "", 0, NULL));
    REFUSES("body", coney_message_new(&copy, NULL, 1, NULL));
    REFUSES("copy", coney_message_with(NULL, message, NULL, NULL, 0));
    REFUSES("message", coney_message_with(&copy, NULL, NULL, NULL, 0));
    REFUSES("body", coney_message_with(&copy, message, NULL, NULL, 1));
    REFUSES("copy", coney_message_with_header(NULL, message, "n", NULL));
    REFUSES("message", coney_message_with_header(&copy, NULL, "n", NULL));
    REFUSES("name", coney_message_with_header(&copy, message, NULL, NULL));
    NOTHING(coney_message_ref(NULL));
    BEARS(coney_message_unref(NULL));
    NOTHING(coney_message_body(NULL));
    NOTHING(coney_message_size(NULL));
    NOTHING(coney_message_properties(NULL));
    NOTHING(coney_message_header(NULL, "n"));
    NOTHING(coney_message_header(message, NULL));
    NOTHING(coney_message_exchange(NULL));
    NOTHING(coney_message_routing_key(NULL));
    NOTHING(coney_message_redelivered(NULL));
    NOTHING(coney_message_received_user_id(NULL));
    NOTHING(coney_message_received_delivery_mode(NULL));
    NOTHING(coney_message_delivery_tag(NULL));
    IS(-1, coney_message_count(NULL));
    NOTHING(coney_message_received_delay_ms(NULL));
    NOTHING(coney_message_retry_count(NULL));
    REFUSES("copy", coney_message_with_retry_count(NULL, message, 1));
    REFUSES("message", coney_message_with_retry_count(&copy, NULL, 1));
    coney_address address;
    char text[8] = "old";
    REFUSES("address", coney_address_parse(NULL, "x"));
    REFUSES("text", coney_address_parse(&address, NULL));
    NOTHING(coney_address_format(NULL, text, sizeof text));
    assert_string_equal(text, "");
    text[0] = 'o';
    NOTHING(coney_message_describe(NULL, text, sizeof text));
    assert_string_equal(text, "");
    assert_true(coney_message_describe(message, NULL, 8) > 0);
    coney_death death;
    size_t position = 0;
    NOTHING(coney_message_next_death(NULL, &position, &death));
    NOTHING(coney_message_next_death(message, NULL, &death));
    NOTHING(coney_message_next_death(message, &position, NULL));
    NOTHING(coney_message_is_batch(NULL));
    REFUSES("batch", coney_message_batch(NULL, &message, 1));
    REFUSES("messages", coney_message_batch(&copy, NULL, 1));
    coney_message *const holes[] = {message, NULL};
    REFUSES("message 1", coney_message_batch(&copy, holes, 2));
    REFUSES("batch", coney_message_debatch(NULL, take, NULL));
    REFUSES("handler", coney_message_debatch(message, NULL, NULL));
}

static void test_converters_and_processors(void **state)
{
    (void)state;
    coney_message *made = NULL;
    json_t *json = NULL;
    void *object = NULL;
    REFUSES("processor", coney_compress_processor(NULL, NULL));
    REFUSES("processor", coney_decompress_processor(NULL, NULL));
    BEARS(coney_processor_free(NULL));
    BEARS(coney_message_id_processor());
    BEARS(coney_timestamp_processor());
    coney_table *read = NULL;
    REFUSES("json", coney_table_to_json(NULL, table));
    IS(CONEY_OK, coney_table_to_json(&json, NULL));
    REFUSES("table", coney_table_from_json(NULL, json));
    json_decref(json);
    json = NULL;
    REFUSES("json", coney_table_from_json(&read, NULL));
    REFUSES("json", coney_message_json(NULL, message));
    REFUSES("type", coney_type_decode(NULL, &object, "{}", 2));
    REFUSES("result", coney_type_decode(&customer_type, NULL, "{}", 2));
    REFUSES("json", coney_type_decode(&customer_type, &object, NULL, 0));
    char *text;
    REFUSES("type", coney_type_encode(NULL, &text, &text, NULL));
    REFUSES("object", coney_type_encode(&customer_type, NULL, &text, NULL));
    REFUSES("result", coney_type_encode(&customer_type, &text, NULL, NULL));
    REFUSES("type", coney_message_new_object(&made, NULL, &text, NULL));
    REFUSES("object", coney_message_new_object(&made, &customer_type, NULL, NULL));
    REFUSES("result", coney_message_new_object(NULL, &customer_type, &text, NULL));
    REFUSES("result", coney_message_object(NULL, message, &customer_type));
    REFUSES("message", coney_message_object(&object, NULL, &customer_type));
    REFUSES("type", coney_message_object(&object, message, NULL));
    REFUSES("type", coney_type_check(NULL));
    REFUSES("type", coney_type_schema(NULL, &json));
    REFUSES("result", coney_type_schema(&customer_type, NULL));
    NOTHING(coney_map_string(NULL, "key"));
    NOTHING(coney_map_string(&(coney_map){0}, NULL));
    const coney_type *type;
    REFUSES("types", coney_types_find(NULL, message, &type));
    REFUSES("message", coney_types_find(&(coney_types){0}, NULL, &type));
    REFUSES("type", coney_types_find(&(coney_types){0}, message, NULL));
    coney_content *content;
    REFUSES("content", coney_message_content(NULL, message, NULL));
    REFUSES("message", coney_message_content(&content, NULL, NULL));
    BEARS(coney_content_free(NULL));
    BEARS(coney_object_free(NULL));
    BEARS(coney_text_free(NULL));
    REFUSES("message", coney_message_json(&json, NULL));
    REFUSES("json", coney_message_json_within(NULL, message, NULL));
    REFUSES("message", coney_message_json_within(&json, NULL, NULL));
    IS(CONEY_OK, coney_json_set_limits(NULL));
    REFUSES("json", coney_message_new_json(&made, NULL, NULL));
    json_t *value = json_null();
    REFUSES("message", coney_message_new_json(NULL, value, NULL));
    IS(CONEY_E_CONVERSION, coney_conversion_failed(NULL));
    assert_string_not_equal(coney_last_error(), "");
    const coney_bytes bytes = {.data = "b", .size = 1};
    const struct {
        const coney_converter *converter;
        const void *object;
    } all[] = {{coney_bytes_converter(), &bytes}, {coney_text_converter(), "text"}, {coney_json_converter(), value}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        REFUSES("message", all[i].converter->from_message(&object, NULL));
        REFUSES("object", all[i].converter->from_message(NULL, message));
        REFUSES("message", all[i].converter->to_message(NULL, all[i].object, NULL));
        all[i].converter->free_object(NULL);
    }
    BEARS(coney_bytes_converter());
    BEARS(coney_text_converter());
    BEARS(coney_json_converter());
}

static void test_topologies(void **state)
{
    (void)state;
    coney_topology *topology;
    MAKES(topology, coney_topology_new());
    REFUSES("topology", coney_topology_add_exchange(NULL, &(coney_exchange){.name = "x"}));
    REFUSES("exchange", coney_topology_add_exchange(topology, NULL));
    REFUSES("name", coney_topology_add_exchange(topology, &(coney_exchange){0}));
    REFUSES("topology", coney_topology_add_queue(NULL, &(coney_queue){.name = "q"}));
    REFUSES("queue", coney_topology_add_queue(topology, NULL));
    REFUSES("name", coney_topology_add_queue(topology, &(coney_queue){0}));
    REFUSES("topology", coney_topology_add_binding(NULL, &(coney_binding){.exchange = "x", .destination = "q"}));
    REFUSES("binding", coney_topology_add_binding(topology, NULL));
    REFUSES("topology", coney_topology_bind(NULL, "x", "q", NULL));
    REFUSES("exchange", coney_topology_bind(topology, NULL, "q", NULL));
    REFUSES("destination", coney_topology_bind(topology, "x", NULL, NULL));
    const coney_queue queue = {.name = "q"};
    const coney_super_stream stream = {.name = "s", .partitions = 1};
    char name[CONEY_NAME_SIZE];
    coney_table *arguments;
    REFUSES("topology", coney_topology_add_all(NULL, topology));
    REFUSES("other", coney_topology_add_all(topology, NULL));
    REFUSES("topology", coney_topology_add_queue_with_dead_letters(NULL, &queue, NULL));
    REFUSES("queue", coney_topology_add_queue_with_dead_letters(topology, NULL, NULL));
    REFUSES("topology", coney_topology_add_super_stream(NULL, &stream));
    REFUSES("name", coney_topology_add_super_stream(topology, NULL));
    NOTHING(coney_topology_queue_name(NULL));
    REFUSES("name", coney_queue_make_name(NULL, NULL));
    assert_ok(coney_queue_make_name(name, NULL));
    REFUSES("arguments", coney_match_headers(NULL, CONEY_MATCH_ALL, NULL, NULL));
    REFUSES("topology", coney_topology_add_queue_binding(NULL, &(coney_queue_binding){0}));
    REFUSES("binding", coney_topology_add_queue_binding(topology, NULL));
    REFUSES("match", coney_match_headers(&arguments, CONEY_MATCH_ALL, NULL, NULL));
    coney_topology *read;
    char *json;
    REFUSES("topology", coney_topology_load(NULL, "file", NULL));
    REFUSES("path", coney_topology_load(&read, NULL, NULL));
    REFUSES("topology", coney_topology_parse(NULL, "{}", 2, NULL));
    REFUSES("json", coney_topology_parse(&read, NULL, 0, NULL));
    REFUSES("topology", coney_topology_save(NULL, "file"));
    REFUSES("path", coney_topology_save(topology, NULL));
    REFUSES("json", coney_topology_to_json(NULL, topology));
    REFUSES("topology", coney_topology_to_json(&json, NULL));
    NOTHING(coney_topology_name_of_ref(NULL, "ref"));
    NOTHING(coney_topology_name_of_ref(topology, NULL));
    char *picture;
    coney_topology *empty;
    MAKES(empty, coney_topology_new());
    REFUSES("topology", coney_topology_dot(&picture, NULL, NULL));
    REFUSES("dot", coney_topology_dot(NULL, empty, NULL));
    REFUSES("topology", coney_topology_table(&picture, NULL, NULL));
    REFUSES("text", coney_topology_table(NULL, empty, NULL));
    coney_topology_free(empty);
    BEARS(coney_topology_free(topology));
    BEARS(coney_topology_free(NULL));
}

static void test_inventories(void **state)
{
    (void)state;
    coney_inventory *inventory;
    const coney_found_queue queue = {.name = "q"};
    const coney_found_exchange exchange = {.name = "x", .type = "direct"};
    const coney_found_consumer consumer = {.queue = "q"};
    const coney_binding binding = {.exchange = "x", .destination = "q"};
    MAKES(inventory, coney_inventory_new());
    REFUSES("inventory", coney_inventory_add_queue(NULL, &queue));
    REFUSES("queue", coney_inventory_add_queue(inventory, NULL));
    REFUSES("inventory", coney_inventory_add_exchange(NULL, &exchange));
    REFUSES("exchange", coney_inventory_add_exchange(inventory, NULL));
    REFUSES("inventory", coney_inventory_add_binding(NULL, &binding));
    REFUSES("binding", coney_inventory_add_binding(inventory, NULL));
    REFUSES("inventory", coney_inventory_add_consumer(NULL, &consumer));
    REFUSES("consumer", coney_inventory_add_consumer(inventory, NULL));
    BEARS(coney_inventory_free(inventory));
    BEARS(coney_inventory_free(NULL));
}

static void test_log_and_statuses(void **state)
{
    (void)state;
    BEARS(coney_log_set_sink(NULL, NULL));
    BEARS(coney_log_set_level(CONEY_LOG_WARN));
    BEARS(coney_log_level_name((coney_log_level)99));
    BEARS(coney_status_name((coney_status)99));
    BEARS(coney_container_event_name((coney_container_event_kind)99));
    BEARS(coney_last_error());
    BEARS(coney_last_error_details());
    IS(CONEY_E_INVALID, coney_fail(CONEY_OK, NULL));
    BEARS(coney_version());
    BEARS(coney_version_number());
}

/* ---- what belongs to a factory, which connects nowhere here ---- */

static coney_connection_factory *factory;
static coney_template *sender;
static coney_admin *admin;
static coney_container *container;
static coney_batching_template *batching;

static void on_declaration(const coney_declaration *declaration, void *user)
{
    (void)declaration, (void)user;
}

static void test_connection_factories(void **state)
{
    (void)state;
    coney_connection_factory *made = NULL;
    REFUSES("factory", coney_connection_factory_new(NULL, "amqp://localhost", NULL));
    REFUSES("URI", coney_connection_factory_new(&made, NULL, NULL));
    REFUSES("factory", coney_connection_factory_connect(NULL));
    coney_connection_info info;
    REFUSES("factory", coney_connection_factory_info(NULL, CONEY_CONSUMING, &info));
    REFUSES("info", coney_connection_factory_info(factory, CONEY_CONSUMING, NULL));
    coney_topology *all;
    REFUSES("factory", coney_connection_factory_topology(NULL, &all));
    REFUSES("topology", coney_connection_factory_topology(factory, NULL));
    REFUSES("factory", coney_connection_factory_list_declarations(NULL, on_declaration, NULL));
    REFUSES("visit", coney_connection_factory_list_declarations(factory, NULL, NULL));
    REFUSES("factory", coney_connection_factory_close(NULL));
    BEARS(coney_connection_factory_free(NULL));
}

static void test_admins(void **state)
{
    (void)state;
    coney_admin *made = NULL;
    coney_queue_info info;
    REFUSES("admin", coney_admin_new(NULL, factory, NULL));
    REFUSES("factory", coney_admin_new(&made, NULL, NULL));
    REFUSES("admin", coney_admin_declare(NULL));
    REFUSES("admin", coney_admin_declare_queue(NULL, &(coney_queue){.name = "q"}, NULL));
    REFUSES("queue", coney_admin_declare_queue(admin, NULL, NULL));
    REFUSES("admin", coney_admin_declare_exchange(NULL, &(coney_exchange){.name = "x"}));
    REFUSES("exchange", coney_admin_declare_exchange(admin, NULL));
    const coney_binding binding = {.exchange = "x", .destination = "q"};
    REFUSES("admin", coney_admin_declare_binding(NULL, &binding));
    REFUSES("binding", coney_admin_declare_binding(admin, NULL));
    REFUSES("admin", coney_admin_remove_binding(NULL, &binding));
    REFUSES("binding", coney_admin_remove_binding(admin, NULL));
    REFUSES("admin", coney_admin_queue_info(NULL, "q", &info));
    REFUSES("queue", coney_admin_queue_info(admin, NULL, &info));
    REFUSES("admin", coney_admin_delete_queue(NULL, "q", NULL));
    REFUSES("queue", coney_admin_delete_queue(admin, NULL, NULL));
    REFUSES("admin", coney_admin_delete_exchange(NULL, "x"));
    REFUSES("exchange", coney_admin_delete_exchange(admin, NULL));
    REFUSES("admin", coney_admin_purge_queue(NULL, "q", NULL));
    REFUSES("queue", coney_admin_purge_queue(admin, NULL, NULL));
    bool exists;
    coney_topology *topology = coney_topology_new();
    REFUSES("admin", coney_admin_add(NULL, topology));
    coney_topology_free(topology);
    REFUSES("topology", coney_admin_add(admin, NULL));
    REFUSES("admin", coney_admin_forget_queue(NULL, "q"));
    REFUSES("name", coney_admin_forget_queue(admin, NULL));
    REFUSES("admin", coney_admin_forget_exchange(NULL, "x"));
    REFUSES("name", coney_admin_forget_exchange(admin, NULL));
    REFUSES("admin", coney_admin_forget_binding(NULL, &binding));
    REFUSES("binding", coney_admin_forget_binding(admin, NULL));
    REFUSES("admin", coney_admin_forget_remembered(NULL));
    REFUSES("admin", coney_admin_queue_exists(NULL, "q", &exists));
    REFUSES("queue", coney_admin_queue_exists(admin, NULL, &exists));
    REFUSES("result", coney_admin_queue_exists(admin, "q", NULL));
    REFUSES("admin", coney_admin_exchange_exists(NULL, "x", &exists));
    REFUSES("exchange", coney_admin_exchange_exists(admin, NULL, &exists));
    REFUSES("result", coney_admin_exchange_exists(admin, "x", NULL));
    REFUSES("admin", coney_admin_delete_queue_if(NULL, "q", NULL, NULL));
    REFUSES("queue", coney_admin_delete_queue_if(admin, NULL, NULL, NULL));
    REFUSES("admin", coney_admin_delete_exchange_if_unused(NULL, "x"));
    REFUSES("exchange", coney_admin_delete_exchange_if_unused(admin, NULL));
    REFUSES("admin", coney_admin_purge_queue_async(NULL, "q", NULL, NULL));
    REFUSES("queue", coney_admin_purge_queue_async(admin, NULL, NULL, NULL));
    coney_plan *plan = NULL;
    char *plan_text;
    REFUSES("plan", coney_admin_plan(NULL, admin, NULL));
    REFUSES("admin", coney_admin_plan(&plan, NULL, NULL));
    REFUSES("plan", coney_admin_apply(admin, NULL, NULL, NULL));
    REFUSES("admin", coney_admin_apply(NULL, plan, NULL, NULL));
    REFUSES("plan", coney_plan_text(NULL, &plan_text));
    NOTHING(coney_plan_at(NULL, 0));
    BEARS(coney_plan_size(NULL));
    BEARS(coney_plan_state_name((coney_plan_state)99));
    BEARS(coney_plan_free(NULL));
    BEARS(coney_admin_free(NULL));
}

static void visit_unconfirmed(const coney_unconfirmed *unconfirmed, void *user)
{
    (void)unconfirmed, (void)user;
}

static void test_templates(void **state)
{
    (void)state;
    coney_template *made = NULL;
    coney_send_statistics statistics;
    const coney_processor processor = coney_timestamp_processor();
    const order none = {0};
    json_t *json = json_null(); /* needs no reference */
    REFUSES("sender", coney_template_new(NULL, factory, NULL));
    REFUSES("factory", coney_template_new(&made, NULL, NULL));
    REFUSES("template", coney_template_send(NULL, "", message, NULL));
    REFUSES("message", coney_template_send(sender, "", NULL, NULL));
    REFUSES("template", coney_template_send_async(NULL, "", message, NULL, NULL, NULL));
    REFUSES("message", coney_template_send_async(sender, "", NULL, NULL, NULL, NULL));
    REFUSES("template", coney_template_send_and_forget(NULL, "", message, NULL));
    REFUSES("message", coney_template_send_and_forget(sender, "", NULL, NULL));
    REFUSES("template", coney_template_convert_and_send(NULL, "", "", NULL));
    REFUSES("object", coney_template_convert_and_send(sender, "", NULL, NULL));
    REFUSES("template", coney_template_send_object(NULL, "", &order_type, &none, NULL));
    REFUSES("type", coney_template_send_object(sender, "", NULL, &none, NULL));
    REFUSES("object", coney_template_send_object(sender, "", &order_type, NULL, NULL));
    REFUSES("template", coney_template_send_json(NULL, "", json, NULL));
    REFUSES("json", coney_template_send_json(sender, "", NULL, NULL));
    REFUSES("template", coney_template_send_text(NULL, "", "text", NULL));
    REFUSES("text", coney_template_send_text(sender, "", NULL, NULL));
    REFUSES("template", coney_template_send_bytes(NULL, "", "bytes", 5, NULL));
    REFUSES("body", coney_template_send_bytes(sender, "", NULL, 5, NULL));
    REFUSES("template", coney_template_wait_for_confirms(NULL, 0));
    REFUSES("sender", coney_template_add_before_publish(NULL, &processor));
    REFUSES("processor", coney_template_add_before_publish(sender, NULL));
    REFUSES("sender", coney_template_add_after_receive(NULL, &processor));
    REFUSES("processor", coney_template_add_after_receive(sender, NULL));
    REFUSES("sender", coney_template_remove_before_publish(NULL, "n"));
    REFUSES("name", coney_template_remove_before_publish(sender, NULL));
    REFUSES("sender", coney_template_remove_after_receive(NULL, "n"));
    REFUSES("name", coney_template_remove_after_receive(sender, NULL));
    REFUSES("template", coney_template_statistics(NULL, &statistics));
    REFUSES("statistics", coney_template_statistics(sender, NULL));
    NOTHING(coney_template_unconfirmed_count(NULL));
    REFUSES("template", coney_template_list_unconfirmed(NULL, 0, visit_unconfirmed, NULL));
    REFUSES("visitor", coney_template_list_unconfirmed(sender, 0, NULL, NULL));
    BEARS(coney_template_free(NULL));
}

static coney_status make_reply(coney_message *request, coney_message **reply, void *user)
{
    (void)request, (void)reply, (void)user;
    return CONEY_OK;
}

static void test_receiving(void **state)
{
    (void)state;
    coney_message *received = NULL;
    coney_content *content = NULL;
    void *object = NULL;
    REFUSES("template", coney_template_receive(NULL, "q", &received, 0));
    REFUSES("queue", coney_template_receive(sender, NULL, &received, 0));
    REFUSES("message", coney_template_receive(sender, "q", NULL, 0));
    REFUSES("template", coney_template_receive_and_convert(NULL, "q", &object, 0));
    REFUSES("queue", coney_template_receive_and_convert(sender, NULL, &object, 0));
    REFUSES("object", coney_template_receive_and_convert(sender, "q", NULL, 0));
    REFUSES("template", coney_template_receive_object(NULL, "q", &order_type, &object, 0));
    REFUSES("queue", coney_template_receive_object(sender, NULL, &order_type, &object, 0));
    REFUSES("type", coney_template_receive_object(sender, "q", NULL, &object, 0));
    REFUSES("object", coney_template_receive_object(sender, "q", &order_type, NULL, 0));
    REFUSES("template", coney_template_receive_content(NULL, "q", &content, 0));
    REFUSES("queue", coney_template_receive_content(sender, NULL, &content, 0));
    REFUSES("content", coney_template_receive_content(sender, "q", NULL, 0));
    REFUSES("template", coney_template_receive_and_reply(NULL, "q", NULL, NULL, make_reply, NULL));
    REFUSES("queue", coney_template_receive_and_reply(sender, NULL, NULL, NULL, make_reply, NULL));
    REFUSES("callback", coney_template_receive_and_reply(sender, "q", NULL, NULL, NULL, NULL));
}

static void test_batching_templates(void **state)
{
    (void)state;
    coney_batching_template *made = NULL;
    REFUSES("batching", coney_batching_template_new(NULL, sender, NULL));
    REFUSES("sender", coney_batching_template_new(&made, NULL, NULL));
    REFUSES("template", coney_batching_template_send(NULL, "", message, NULL, NULL, NULL));
    REFUSES("message", coney_batching_template_send(batching, "", NULL, NULL, NULL, NULL));
    REFUSES("template", coney_batching_template_flush(NULL));
    BEARS(coney_batching_template_free(NULL));
}

static void test_confirmations_and_scopes(void **state)
{
    (void)state;
    coney_confirmation *confirmation = NULL;
    coney_confirmation *const none[] = {NULL};
    REFUSES("template", coney_template_begin_send(NULL, &confirmation, "", message, NULL));
    REFUSES("confirmation", coney_template_begin_send(sender, NULL, "", message, NULL));
    REFUSES("message", coney_template_begin_send(sender, &confirmation, "", NULL, NULL));
    REFUSES("confirmation", coney_confirmation_wait(NULL, 0));
    REFUSES("confirmations", coney_confirmation_wait_all(NULL, 1, 0));
    REFUSES("confirmation 0", coney_confirmation_wait_all(none, 1, 0));
    NOTHING(coney_confirmation_is_done(NULL));
    NOTHING(coney_confirmation_error(NULL));
    BEARS(coney_confirmation_free(NULL));

    coney_scope *scope = NULL;
    coney_message *received = NULL;
    REFUSES("scope", coney_scope_new(NULL, sender, NULL));
    REFUSES("sender", coney_scope_new(&scope, NULL, NULL));
    REFUSES("scope", coney_scope_send(NULL, "", message, NULL));
    REFUSES("scope", coney_scope_receive(NULL, "q", &received));
    REFUSES("scope", coney_scope_wait_for_confirms(NULL, 0));
    REFUSES("scope", coney_scope_commit(NULL));
    REFUSES("scope", coney_scope_rollback(NULL));
    BEARS(coney_scope_free(NULL));
}

static void hear_end(coney_message *reply, const coney_error *error, void *user)
{
    (void)reply, (void)error, (void)user;
}

static void test_requests(void **state)
{
    (void)state;
    coney_message *reply = NULL;
    coney_request *request = NULL;
    coney_request *const none[] = {NULL};
    void *result = NULL;
    json_t *json = NULL;
    size_t index;
    coney_rpc_statistics statistics;
    coney_circuit_state circuit;
    REFUSES("template", coney_template_send_and_receive(NULL, &reply, "", message, NULL));
    REFUSES("place for the reply", coney_template_send_and_receive(sender, NULL, "", message, NULL));
    REFUSES("message", coney_template_send_and_receive(sender, &reply, "", NULL, NULL));
    REFUSES("template", coney_template_convert_send_and_receive(NULL, &result, "", message, NULL));
    REFUSES("result", coney_template_convert_send_and_receive(sender, NULL, "", message, NULL));
    REFUSES("template", coney_template_request_json(NULL, &json, "", NULL, NULL));
    REFUSES("json", coney_template_request_json(sender, &json, "", NULL, NULL));
    REFUSES("type", coney_template_request_object(sender, "", NULL, message, NULL, &result, NULL));
    REFUSES("result", coney_template_request_object(sender, "", NULL, message, NULL, NULL, NULL));
    REFUSES("callback", coney_template_request_async(sender, "", message, NULL, NULL, NULL));
    REFUSES("template", coney_template_request_async(NULL, "", message, NULL, hear_end, NULL));
    REFUSES("handle", coney_template_begin_request(sender, NULL, "", message, NULL));
    REFUSES("message", coney_template_begin_request(sender, &request, "", NULL, NULL));
    REFUSES("handle", coney_request_wait(NULL, 0));
    REFUSES("array", coney_request_wait_any(NULL, 1, &index, 0));
    REFUSES("index", coney_request_wait_any(none, 1, NULL, 0));
    REFUSES("no request", coney_request_wait_any(none, 1, &index, 0));
    REFUSES("array", coney_request_wait_all(NULL, 1, 0));
    REFUSES("element 0", coney_request_wait_all(none, 1, 0));
    NOTHING(coney_request_is_done(NULL));
    NOTHING(coney_request_is_confirmed(NULL));
    NOTHING(coney_request_reply(NULL));
    NOTHING(coney_request_error(NULL));
    BEARS(coney_request_cancel(NULL));
    BEARS(coney_request_free(NULL));
    REFUSES("template", coney_template_rpc_statistics(NULL, &statistics));
    REFUSES("place", coney_template_rpc_statistics(sender, NULL));
    REFUSES("template", coney_template_circuit(NULL, NULL, NULL, &circuit));
    REFUSES("state", coney_template_circuit(sender, NULL, NULL, NULL));
}

static void test_error_replies(void **state)
{
    (void)state;
    coney_message *made = NULL;
    coney_remote_error *error = NULL;
    REFUSES("error", coney_message_new_error(&made, NULL));
    REFUSES("message", coney_message_new_error(NULL, &(coney_remote_error){0}));
    REFUSES("message", coney_message_error(&error, NULL));
    REFUSES("place", coney_message_error(NULL, message));
    NOTHING(coney_message_is_error(NULL));
    BEARS(coney_remote_error_free(NULL));
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)delivery, (void)user;
    return CONEY_ACK;
}

static void visit_listener(const coney_listener_info *info, void *user)
{
    (void)info, (void)user;
}

static void test_containers(void **state)
{
    (void)state;
    coney_container *made = NULL;
    const coney_listener listener = {.queue = "q", .on_message = handle};
    const coney_processor processor = coney_timestamp_processor();
    REFUSES("container", coney_container_new(NULL, factory, NULL));
    REFUSES("factory", coney_container_new(&made, NULL, NULL));
    REFUSES("container", coney_container_listen(NULL, &listener));
    REFUSES("listener", coney_container_listen(container, NULL));
    REFUSES("container", coney_container_unlisten(NULL, "q"));
    REFUSES("id", coney_container_unlisten(container, NULL));
    REFUSES("container", coney_container_add_after_receive(NULL, &processor));
    REFUSES("processor", coney_container_add_after_receive(container, NULL));
    REFUSES("container", coney_container_remove_after_receive(NULL, "n"));
    REFUSES("name", coney_container_remove_after_receive(container, NULL));
    REFUSES("container", coney_container_start(NULL));
    REFUSES("container", coney_container_stop_with(NULL, CONEY_STOP_NOW, 0));
    REFUSES("container", coney_container_stop(NULL));
    REFUSES("container", coney_container_pause(NULL));
    REFUSES("container", coney_container_resume(NULL));
    REFUSES("container", coney_container_start_listener(NULL, "q"));
    REFUSES("id", coney_container_start_listener(container, NULL));
    REFUSES("container", coney_container_start_group(NULL, "g"));
    REFUSES("group", coney_container_start_group(container, NULL));
    REFUSES("container", coney_container_stop_listener(NULL, "q"));
    REFUSES("id", coney_container_stop_listener(container, NULL));
    REFUSES("container", coney_container_stop_group(NULL, "g"));
    REFUSES("group", coney_container_stop_group(container, NULL));
    REFUSES("container", coney_container_set_concurrency(NULL, "q", 1, 1));
    REFUSES("id", coney_container_set_concurrency(container, NULL, 1, 1));
    REFUSES("container", coney_container_check(NULL));
    coney_health health;
    REFUSES("container", coney_container_health(NULL, &health));
    REFUSES("health", coney_container_health(container, NULL));
    REFUSES("container", coney_container_list(NULL, visit_listener, NULL));
    REFUSES("visit", coney_container_list(container, NULL, NULL));
    coney_listener_statistics statistics;
    char queue_name[CONEY_NAME_SIZE];
    REFUSES("container", coney_container_queue_name(NULL, "id", queue_name));
    REFUSES("id", coney_container_queue_name(container, NULL, queue_name));
    REFUSES("name", coney_container_queue_name(container, "id", NULL));
    REFUSES("container", coney_container_statistics(NULL, "q", &statistics));
    REFUSES("id", coney_container_statistics(container, NULL, &statistics));
    REFUSES("statistics", coney_container_statistics(container, "q", NULL));
    BEARS(coney_container_free(NULL));
}

static void test_deliveries(void **state)
{
    (void)state;
    NOTHING(coney_delivery_message(NULL));
    NOTHING(coney_delivery_payload(NULL));
    NOTHING(coney_delivery_type(NULL));
    NOTHING(coney_delivery_content(NULL));
    NOTHING(coney_delivery_json(NULL));
    NOTHING(coney_delivery_text(NULL));
    NOTHING(coney_delivery_object(NULL, &customer_type));
    NOTHING(coney_delivery_queue(NULL));
    NOTHING(coney_delivery_listener_id(NULL));
    NOTHING(coney_delivery_consumer_tag(NULL));
    NOTHING(coney_delivery_attempt(NULL));
    NOTHING(coney_delivery_is_last_in_batch(NULL));
    IS(CONEY_RETRY, coney_delivery_fail(NULL, CONEY_RETRY, "no stock"));
    NOTHING(coney_delivery_ref(NULL));
    BEARS(coney_delivery_unref(NULL));
    REFUSES("delivery", coney_delivery_settle(NULL, CONEY_ACK));
    REFUSES("delivery", coney_delivery_reply(NULL, message));
    REFUSES("delivery", coney_delivery_convert_and_reply(NULL, "text"));
    REFUSES("delivery", coney_delivery_reply_object(NULL, &customer_type, "object"));
    BEARS(coney_delivery_set_reply(NULL, coney_message_ref(message))); /* taken: the last reference goes here */
    REFUSES("delivery", coney_delivery_set_reply_object(NULL, NULL, message));
    REFUSES("delivery", coney_delivery_set_reply_json(NULL, NULL));
    REFUSES("delivery", coney_delivery_set_reply_text(NULL, "text"));
    REFUSES("delivery", coney_delivery_set_reply_bytes(NULL, NULL, 0));
    REFUSES("delivery", coney_delivery_set_reply_error(NULL, "CODE", NULL));
    IS(-1, coney_delivery_time_left_ms(NULL));
    REFUSES("delivery", coney_delivery_send(NULL, "", "q", message));
}

/* ---- all of them ---- */

static bool is_called(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < call_count; i++) {
        if (strncmp(calls[i], name, length) == 0 && calls[i][length] == '(')
            return true;
    }
    return false;
}

/* The word before the parenthesis at that place. */
static void read_name(const char *text, const char *parenthesis, char name[128])
{
    const char *start = parenthesis;
    while (start > text && (isalnum((unsigned char)start[-1]) || start[-1] == '_'))
        start--;
    snprintf(name, 128, "%.*s", (int)(parenthesis - start), start);
}

static int compare_with_header(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    assert_true(feof(file));
    fclose(file);
    int declared = 0;
    char name[128];
    for (const char *at = text; (at = strstr(at, "\nCONEY_API ")); declared++) {
        at = strchr(at, '(');
        assert_non_null(at);
        read_name(text, at, name);
        if (!is_called(name)) {
            print_error("%s: %s is not called by any test here\n", path, name);
            failures++;
        }
    }
    return declared;
}

static void test_no_public_function_is_left_out(void **state)
{
    (void)state;
    glob_t headers;
    int declared = 0;
    assert_int_equal(glob(CONEY_TEST_HEADERS "/coney/[ar]*/*.h", 0, NULL, &headers), 0);
    for (size_t i = 0; i < headers.gl_pathc; i++)
        declared += compare_with_header(headers.gl_pathv[i]);
    globfree(&headers);
    assert_true(declared > 100);
}

static int setup(void **state)
{
    (void)state;
    MAKES(table, coney_table_new());
    bool made = coney_message_new(&message, "body", 4, NULL) == CONEY_OK &&
                coney_connection_factory_new(&factory, "amqp://localhost", NULL) == CONEY_OK &&
                coney_template_new(&sender, factory, NULL) == CONEY_OK &&
                coney_admin_new(&admin, factory, NULL) == CONEY_OK &&
                coney_container_new(&container, factory, NULL) == CONEY_OK &&
                coney_batching_template_new(&batching, sender, NULL) == CONEY_OK;
    return table && made ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    coney_batching_template_free(batching);
    coney_container_free(container);
    coney_admin_free(admin);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    coney_message_unref(message);
    coney_table_free(table);
    return 0;
}

#define wrong_use_test(function) cmocka_unit_test_teardown(function, none_failed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        wrong_use_test(test_values),
        wrong_use_test(test_name_that_is_null_is_not_found_in_a_table_with_an_index),
        wrong_use_test(test_messages),
        wrong_use_test(test_converters_and_processors),
        wrong_use_test(test_topologies),
        wrong_use_test(test_inventories),
        wrong_use_test(test_log_and_statuses),
        wrong_use_test(test_connection_factories),
        wrong_use_test(test_admins),
        wrong_use_test(test_templates),
        wrong_use_test(test_receiving),
        wrong_use_test(test_batching_templates),
        wrong_use_test(test_confirmations_and_scopes),
        wrong_use_test(test_requests),
        wrong_use_test(test_error_replies),
        wrong_use_test(test_containers),
        wrong_use_test(test_deliveries),
        wrong_use_test(test_no_public_function_is_left_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
