/* SPDX-License-Identifier: MIT */
/* Topologies as JSON: the round trip, what is refused and where, RabbitMQ's definitions, files. */
#include "base/base.h"
#include "support/test_support.h"
#include "topology/file_fields.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static coney_topology *parsed(const char *json)
{
    coney_topology *topology;
    assert_ok(coney_topology_parse(&topology, json, strlen(json), NULL));
    return topology;
}

static char *written(const coney_topology *topology)
{
    char *json;
    assert_ok(coney_topology_to_json(&json, topology));
    return json;
}

static void refuse(const char *json, const char *words)
{
    coney_topology *topology;
    assert_fails(coney_topology_parse(&topology, json, strlen(json), NULL), CONEY_E_INVALID, words);
    assert_null(topology);
}

/* ---- the round trip ---- */

static const char everything[] =
    "{\"exchanges\": ["
    "{\"name\":\"plain\"},"
    "{\"name\":\"topic\",\"type\":\"topic\",\"alternate_exchange\":\"plain\",\"on_refusal\":\"fail\"},"
    "{\"name\":\"waits\",\"type\":\"fanout\",\"delayed\":true,\"transient\":true,\"auto_delete\":true,"
    "\"internal\":true},"
    "{\"name\":\"own\",\"custom_type\":\"x-random\",\"arguments\":{\"a\":{\"$timestamp\":7},\"b\":[1,null,1.5]}},"
    "{\"name\":\"hash\",\"type\":\"x-consistent-hash\",\"hash_header\":\"h\"},"
    "{\"name\":\"hash2\",\"type\":\"x-consistent-hash\",\"hash_property\":\"timestamp\"},"
    "{\"name\":\"heads\",\"type\":\"headers\",\"external\":true}],"
    "\"queues\": ["
    "{\"name\":\"classic \\u00fc\",\"kind\":\"classic\",\"transient\":true,\"exclusive\":true,\"auto_delete\":true,"
    "\"on_refusal\":\"ignore\",\"message_ttl_ms\":4294967295,\"expires_ms\":2,\"max_length\":9223372036854775807,"
    "\"max_length_bytes\":4,\"overflow\":\"reject-publish-dlx\",\"dead_letter_exchange\":\"\","
    "\"dead_letter_routing_key\":\"k\",\"max_priority\":5,\"single_active_consumer\":true,\"lazy\":true,"
    "\"leader_locator\":\"balanced\",\"arguments\":{\"x\":{\"$bytes\":\"AAE=\"},\"t\":{\"u\":{\"v\":\"w\"}}}},"
    "{\"name\":\"quorum\",\"kind\":\"quorum\",\"overflow\":\"reject-publish\",\"dead_letter_exchange\":\"plain\","
    "\"dead_letter_strategy\":\"at-least-once\",\"delivery_limit\":-1,\"initial_group_size\":3,"
    "\"delayed_retry\":\"failed\",\"delayed_retry_min_ms\":5,\"delayed_retry_max_ms\":6,"
    "\"consumer_timeout_ms\":7,\"consumer_disconnected_timeout_ms\":8},"
    "{\"name\":\"stream\",\"kind\":\"stream\",\"max_age\":\"7D\",\"max_segment_size_bytes\":3000000000,"
    "\"filter_size_bytes\":16},"
    "{\"name\":\"theirs\",\"external\":true},"
    "{\"anonymous\":true,\"name_prefix\":\"mine-\",\"ref\":\"replies\"},"
    "{\"anonymous\":true,\"ref\":\"others\",\"max_length\":3}],"
    "\"bindings\": ["
    "{\"exchange\":\"topic\",\"destination\":\"quorum\",\"routing_key\":\"a.#\",\"on_refusal\":\"fail\"},"
    "{\"exchange\":\"topic\",\"destination\":\"plain\",\"to_exchange\":true},"
    "{\"exchange\":\"heads\",\"destination\":\"stream\",\"arguments\":{\"x-match\":\"any\",\"h\":1}},"
    "{\"exchange\":\"topic\",\"destination_ref\":\"others\",\"routing_key\":\"b\"},"
    "{\"exchange\":\"topic\",\"destination_ref\":\"replies\",\"routing_key\":\"c\"}]}";

static void test_a_topology_is_the_same_after_writing_and_reading(void **state)
{
    (void)state;
    coney_topology *topology = parsed(everything), *again;
    char *first = written(topology), *second;
    json_t *given = json_loads(everything, 0, NULL), *got = json_loads(first, 0, NULL);
    assert_true(json_equal(given, got));
    again = parsed(first);
    second = written(again);
    assert_string_equal(first, second);
    json_decref(given);
    json_decref(got);
    coney_text_free(first);
    coney_text_free(second);
    coney_topology_free(topology);
    coney_topology_free(again);
}

/* So that the round trip above leaves no member out. */
static void test_the_round_trip_has_every_member(void **state)
{
    (void)state;
    const cny_file_fields *const lists[] = {&cny_file_exchanges, &cny_file_queues, &cny_file_bindings};
    for (size_t l = 0; l < COUNT_OF(lists); l++) {
        for (size_t i = 0; i < lists[l]->count; i++) {
            char name[64];
            snprintf(name, sizeof name, "\"%s\":", lists[l]->fields[i].name);
            if (!strstr(everything, name))
                fail_msg("%s of %s is in no test", name, lists[l]->list);
        }
    }
}

static void test_fields_of_a_file_are_those_of_the_structs(void **state)
{
    (void)state;
    coney_topology *topology = parsed(everything);
    const coney_queue *queue = cny_topology_find_queue(topology, "quorum");
    assert_int_equal(queue->kind, CONEY_QUORUM);
    assert_int_equal(queue->overflow, CONEY_REJECT_PUBLISH);
    assert_int_equal(queue->delivery_limit, -1);
    assert_int_equal(queue->delayed_retry, CONEY_DELAYED_RETRY_FAILED);
    assert_int_equal(queue->consumer_disconnected_timeout_ms, 8);
    queue = cny_topology_find_queue(topology, "classic ü");
    assert_true(queue->transient && queue->exclusive && queue->auto_delete && queue->lazy);
    assert_string_equal(queue->dead_letter_exchange, "");
    assert_int_equal(coney_table_get(queue->arguments, "x")->type, CONEY_BYTES);
    const coney_exchange *exchange = cny_topology_find_exchange(topology, "own");
    assert_string_equal(exchange->custom_type, "x-random");
    assert_int_equal(coney_table_get(exchange->arguments, "a")->type, CONEY_TIMESTAMP);
    coney_topology_free(topology);
}

/* ---- anonymous queues ---- */

static void test_an_anonymous_queue_has_a_new_name_in_each_reading(void **state)
{
    (void)state;
    coney_topology *one = parsed(everything), *other = parsed(everything);
    const char *name = coney_topology_name_of_ref(one, "replies");
    assert_memory_equal(name, "mine-", 5);
    assert_string_not_equal(name, coney_topology_name_of_ref(other, "replies"));
    assert_true(
        cny_topology_has_binding(one, &(coney_binding){.exchange = "topic", .destination = name, .routing_key = "c"}));
    const coney_queue *queue = cny_topology_find_queue(one, name);
    assert_true(queue->exclusive && queue->auto_delete && queue->transient);
    assert_null(coney_topology_name_of_ref(one, "nobody"));
    coney_topology_free(one);
    coney_topology_free(other);
}

static void test_an_anonymous_queue_of_the_code_is_saved_as_anonymous(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new(), *all = coney_topology_new(), *again;
    assert_ok(coney_topology_add_queue(topology, &(coney_queue){.anonymous = true, .name_prefix = "p-"}));
    assert_ok(coney_topology_bind(topology, "amq.topic", coney_topology_queue_name(topology), "k"));
    assert_ok(coney_topology_add_all(all, topology));
    char *json = written(all);
    assert_non_null(strstr(json, "\"anonymous\": true"));
    assert_non_null(strstr(json, "\"name_prefix\": \"p-\""));
    assert_null(strstr(json, coney_topology_queue_name(topology)));
    assert_null(strstr(json, "exclusive"));
    again = parsed(json);
    const char *name = coney_topology_queue_name(again);
    assert_string_equal(name, coney_topology_name_of_ref(again, "anonymous-1"));
    assert_true(cny_topology_has_binding(
        again, &(coney_binding){.exchange = "amq.topic", .destination = name, .routing_key = "k"}));
    coney_text_free(json);
    coney_topology_free(topology);
    coney_topology_free(all);
    coney_topology_free(again);
}

static void test_refs_that_are_made_up_are_nobody_elses(void **state)
{
    (void)state;
    coney_topology *one = parsed("{\"queues\":[{\"anonymous\":true,\"ref\":\"anonymous-2\"}]}"), *again;
    assert_ok(coney_topology_add_queue(one, &(coney_queue){.anonymous = true}));
    assert_ok(coney_topology_add_queue(one, &(coney_queue){.anonymous = true}));
    char *json = written(one);
    again = parsed(json);
    assert_non_null(coney_topology_name_of_ref(again, "anonymous-2"));
    assert_non_null(coney_topology_name_of_ref(again, "anonymous-5"));
    assert_non_null(coney_topology_name_of_ref(again, "anonymous-3"));
    coney_text_free(json);
    coney_topology_free(one);
    coney_topology_free(again);
}

static void test_a_ref_of_two_topologies_is_that_of_the_first(void **state)
{
    (void)state;
    coney_topology *one = parsed(everything), *other = parsed(everything);
    char name[CONEY_NAME_SIZE];
    snprintf(name, sizeof name, "%s", coney_topology_name_of_ref(one, "replies"));
    assert_ok(coney_topology_add_all(one, other));
    assert_string_equal(coney_topology_name_of_ref(one, "replies"), name);
    char *json = written(one);
    coney_topology *again = parsed(json);
    size_t count;
    cny_topology_queues(again, &count);
    assert_int_equal(count, 8);
    coney_text_free(json);
    coney_topology_free(again);
    assert_true(cny_topology_remove_queue(one, name));
    assert_null(coney_topology_name_of_ref(one, "replies"));
    assert_non_null(coney_topology_name_of_ref(one, "others"));
    coney_topology_free(one);
    coney_topology_free(other);
}

/* ---- mistakes ---- */

static void test_a_mistake_is_told_with_line_and_place(void **state)
{
    (void)state;
    refuse("{\"queues\": [\n {\"name\": \"a\"},\n {\"name\": \"b\",\n  \"message_ttl_ms\": \"1s\"}]}",
           "line 4: queues[1].message_ttl_ms: expected an integer, got \"1s\"");
    refuse("{\n\"queues\":[{\"name\":\"a\",\n\"kind\":\"quorumm\"}]}",
           "line 3: queues[0].kind: expected one of \"classic\" \"quorum\" and \"stream\", got \"quorumm\"");
    refuse("{\"queues\":[{\"name\":\"a\",\"kind\":3}]}", "queues[0].kind: expected a string, one of");
    refuse("{\"queues\":[{\"name\":\"a\",\n\"lazy\":1}]}", "line 2: queues[0].lazy: expected true or false, got 1");
    refuse("{\"queues\":[{\"name\":5}]}", "queues[0].name: expected a string, got 5");
    refuse("{\"queues\":[{\"name\":null}]}", "queues[0].name: expected a string, got null");
    refuse("{\"queues\":[{\"name\":\"a\",\"max_length\":1.5}]}", "queues[0].max_length: expected an integer from");
    refuse("{\"queues\":[{\"name\":\"a\",\"max_priority\":2147483648}]}", "-2147483648 to 2147483647, got 2147483648");
    refuse("{\"queues\":[{\"name\":\"a\",\"max_length\":9223372036854775808}]}", "got 9223372036854775808");
    refuse("{\"queues\":[{\"name\":\"a\\u0000b\"}]}", "queues[0].name: the string has a NUL in it");
    refuse("{\"queues\":[\n5]}", "line 2: queues[0]: expected an object, got 5");
    refuse("{\n\"queues\":{}}", "line 2: queues: expected an array");
    refuse("[]", "line 1: expected an object with queues");
    refuse("", "line 1: expected an object with queues");
}

static void test_a_member_that_is_unknown_or_there_twice_is_refused(void **state)
{
    (void)state;
    refuse("{\"queues\":[{\"name\":\"a\",\n\"maxlength\":5}]}", "line 2: queues[0].maxlength: there is no such member");
    refuse("{\"queues\":[{\"name\":\"a\",\n\"n\\u0061me\":\"b\"}]}",
           "line 2: queues[0].name: the member is there twice, first in line 1");
    refuse("{\n\"queus\":[]}", "line 2: \"queus\": there is no such member; a topology has");
    refuse("{\"queues\":[],\n\"queues\":[]}", "line 2: queues: the member is there twice");
    refuse("{\"bindings\":[{\"exchange\":\"a\",\"kind\":\"quorum\"}]}", "bindings[0].kind: there is no such member");
}

static void test_the_checks_of_the_code_are_told_with_line_and_place(void **state)
{
    (void)state;
    refuse("{\"queues\":[{\"name\":\"a\",\n\"message_ttl_ms\":-5}]}",
           "line 2: queues[0].message_ttl_ms: queue 'a': message_ttl_ms is -5, which is below 0");
    refuse("{\"queues\":[{\"name\":\"kind\",\"kind\":\"quorum\",\n\"exclusive\":true}]}",
           "line 2: queues[0].exclusive: queue 'kind' is a quorum queue");
    refuse("{\"queues\":[\n{\"anonymous\":true,\"name\":\"a\"}]}",
           "line 2: queues[0].anonymous: queue 'a' is anonymous");
    refuse("{\"queues\":[\n{\"kind\":\"quorum\"}]}", "line 2: queues[0]: the name is missing");
    refuse("{\"exchanges\":[\n{}]}", "line 2: exchanges[0]: exchange: it needs a name");
    refuse("{\"exchanges\":[{\"name\":\"a\"},{\"name\":\"a\",\n\"type\":\"topic\"}]}",
           "line 2: exchanges[1].type: exchange 'a' is in the topology already");
    refuse("{\"bindings\":[{\"exchange\":\"a\"}]}", "bindings[0]: the destination is missing");
    refuse("{\"bindings\":[{\"destination\":\"a\"}]}", "bindings[0]: the exchange is missing");
    refuse("{\"bindings\":[{\"exchange\":\"\",\"destination\":\"a\"}]}", "bindings[0]");
}

static void test_refs_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    refuse("{\"queues\":[{\"name\":\"a\",\n\"ref\":\"r\"}]}", "line 2: queues[0].ref: the queue is not anonymous");
    refuse("{\"queues\":[{\"anonymous\":true,\"ref\":\"r\"},{\"anonymous\":true,\n\"ref\":\"r\"}]}",
           "line 2: queues[1].ref: another queue has the ref 'r'");
    refuse("{\"bindings\":[{\"exchange\":\"x\",\"destination_ref\":\"r\"}]}", "no queue of the file has the ref 'r'");
    refuse("{\"bindings\":[{\"exchange\":\"x\",\"destination_ref\":\"r\",\"destination\":\"q\"}]}", "are both there");
    refuse("{\"bindings\":[{\"exchange\":\"x\",\"destination_ref\":\"r\",\"to_exchange\":true}]}", "that of a queue");
}

static void test_wrong_arguments_are_told_with_line_and_place(void **state)
{
    (void)state;
    refuse("{\"queues\":[{\"name\":\"a\",\"arguments\":{\n\"x\":1,\n\"y\":{\"z\":[0,{\"$decimal\":\"1,5\"}]}}}]}",
           "line 3: queues[0].arguments.y.z[1].$decimal: expected a decimal");
    refuse("{\"queues\":[{\"name\":\"a\",\"arguments\":{\"x\":1,\n\"x\":2}}]}",
           "line 2: queues[0].arguments: duplicate");
    refuse("{\"queues\":[{\"name\":\"a\",\"arguments\":{\"x\":1e999}}]}", "queues[0].arguments: real number overflow");
    refuse("{\"queues\":[{\"name\":\"a\",\"arguments\":[]}]}", "queues[0].arguments: expected an object, got an array");
    refuse("{\"queues\":[{\"name\":\"a\",\"kind\":\"quorum\",\n\"arguments\":{\"x-queue-type\":\"classic\"}}]}",
           "queues[0].kind: queue 'a': kind is 'quorum', but its argument 'x-queue-type' is 'classic'");
}

static void test_text_that_is_not_json_is_refused_with_its_line(void **state)
{
    (void)state;
    refuse("{\"queues\":[\n{\"name\":\"a\",}]}", "line 2: invalid JSON at line 2");
    refuse("{\"queues\":[]", "line 1: invalid JSON");
    refuse("{\"queues\":[]} x", "line 1: invalid JSON");
    refuse("{\"queues\":[{\"name\":\"\n\"}]}", "a control character in a string");
    refuse("{\n\"queues\":[{\"name\":\"\xff\"}]}", "line 2: the text is not UTF-8 here");
}

static void test_a_text_beyond_the_limits_is_refused(void **state)
{
    (void)state;
    coney_topology *topology;
    size_t size = 200000;
    char *deep = malloc(size);
    memset(deep, '[', size);
    memcpy(deep, "{\"queues\":", 10); /* NOLINT(bugprone-not-null-terminated-result) */
    assert_fails(coney_topology_parse(&topology, deep, size, NULL), CONEY_E_INVALID, "256 levels deep");
    int used = snprintf(deep, size, "{\"queues\":[{\"name\":\"a\",\"arguments\":{\"x\":[0");
    for (int i = 0; i < 2001; i++, used += 2)
        memcpy(deep + used, ",0", 2); /* NOLINT(bugprone-not-null-terminated-result) */
    memcpy(deep + used, "]}}]}", 6);
    refuse(deep, "queues[0].arguments: there are more than 1,000 entries");
    free(deep);
    assert_fails(coney_topology_parse(&topology, "", (size_t)65 << 20, NULL), CONEY_E_INVALID, "at most 64 MiB");
}

static void test_more_arguments_than_a_file_may_have_are_not_written(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    coney_table *table = coney_table_new();
    char name[32], *json;
    for (int i = 0; i < 1001; i++) {
        snprintf(name, sizeof name, "a%d", i);
        assert_ok(coney_table_set_int64(table, name, i));
    }
    assert_ok(coney_topology_add_exchange(topology, &(coney_exchange){.name = "x", .arguments = table}));
    assert_fails(coney_topology_to_json(&json, topology), CONEY_E_INVALID, "exchange 'x': arguments: there are more");
    assert_null(json);
    coney_table_free(table);
    coney_topology_free(topology);
}

static void test_an_argument_that_json_cannot_say_is_not_written(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    coney_table *table = coney_table_new();
    char *json;
    assert_ok(coney_table_set_int64(table, "\xff", 1));
    assert_ok(coney_topology_add_queue(topology, &(coney_queue){.name = "q", .arguments = table}));
    assert_fails(coney_topology_to_json(&json, topology), CONEY_E_CONVERSION, "queue 'q': arguments: ");
    coney_table_free(table);
    coney_topology_free(topology);
}

static void test_a_topology_that_has_failed_is_not_written(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    char *json;
    assert_fails(coney_topology_add_exchange(topology, &(coney_exchange){0}), CONEY_E_INVALID, "needs a name");
    assert_fails(coney_topology_to_json(&json, topology), CONEY_E_INVALID, "needs a name");
    coney_topology_free(topology);
}

/* ---- RabbitMQ's definitions ---- */

static const char definitions[] =
    "{\"rabbit_version\":\"3.10.8\",\"users\":[{\"name\":\"guest\"}],\"vhosts\":[{\"name\":\"/\"},{\"name\":\"v\"}],"
    "\"permissions\":[],\"topic_permissions\":[],\"parameters\":[],\"policies\":[{\"vhost\":\"/\",\"name\":\"p\"}],"
    "\"queues\":["
    "{\"name\":\"q\",\"vhost\":\"/\",\"durable\":true,\"auto_delete\":false,\"arguments\":{\"x-queue-type\":\"quorum\","
    "\"x-quorum-initial-group-size\":3,\"x-max-length\":0,\"x-delivery-limit\":5,\"mine\":{\"a\":[1]}}},"
    "{\"name\":\"old\",\"vhost\":\"/\",\"durable\":false,\"auto_delete\":true,\"type\":\"classic\",\"arguments\":{"
    "\"x-queue-mode\":\"lazy\",\"x-single-active-consumer\":false}},"
    "{\"name\":\"typed\",\"vhost\":\"/\",\"durable\":true,\"auto_delete\":false,\"type\":\"stream\",\"arguments\":{}},"
    "{\"name\":\"odd\",\"vhost\":\"/"
    "\",\"durable\":true,\"auto_delete\":false,\"arguments\":{\"x-queue-type\":\"quorum\","
    "\"x-dead-letter-strategy\":\"at-least-once\"},\"future\":1},"
    "{\"name\":\"amq.gen-1\",\"vhost\":\"/\",\"durable\":true,\"auto_delete\":false,\"arguments\":{}},"
    "{\"name\":\"q\",\"vhost\":\"v\",\"durable\":false,\"auto_delete\":false,\"arguments\":{}}],"
    "\"exchanges\":["
    "{\"name\":\"amq.topic\",\"vhost\":\"/\",\"type\":\"topic\",\"durable\":true},"
    "{\"name\":\"x\",\"vhost\":\"/\",\"type\":\"topic\",\"durable\":true,\"auto_delete\":false,\"internal\":true,"
    "\"arguments\":{\"alternate-exchange\":\"y\"}},"
    "{\"name\":\"late\",\"vhost\":\"/\",\"type\":\"x-delayed-message\",\"durable\":true,\"auto_delete\":false,"
    "\"internal\":false,\"arguments\":{\"x-delayed-type\":\"topic\"}},"
    "{\"name\":\"y\",\"vhost\":\"/\",\"type\":\"x-random\",\"durable\":false,\"auto_delete\":true,\"internal\":false,"
    "\"arguments\":{\"x-delayed-type\":\"x-random\"}}],"
    "\"bindings\":["
    "{\"source\":\"\",\"vhost\":\"/\",\"destination\":\"q\",\"destination_type\":\"queue\",\"routing_key\":\"q\","
    "\"arguments\":{}},"
    "{\"source\":\"amq.topic\",\"vhost\":\"/\",\"destination\":\"q\",\"destination_type\":\"queue\","
    "\"routing_key\":\"a.#\",\"arguments\":{\"k\":1}},"
    "{\"source\":\"x\",\"vhost\":\"/\",\"destination\":\"y\",\"destination_type\":\"exchange\",\"routing_key\":\"\","
    "\"arguments\":{}}]}";

static void test_definitions_become_a_topology(void **state)
{
    (void)state;
    coney_topology *topology = parsed(definitions);
    char *json = written(topology);
    json_t *got = json_loads(json, 0, NULL);
    json_t *expected = json_loads(
        "{\"queues\":["
        "{\"name\":\"q\",\"kind\":\"quorum\",\"initial_group_size\":3,\"delivery_limit\":5,"
        "\"arguments\":{\"x-max-length\":0,\"mine\":{\"a\":[1]}}},"
        "{\"name\":\"old\",\"transient\":true,\"auto_delete\":true,\"lazy\":true,"
        "\"arguments\":{\"x-single-active-consumer\":false}},"
        "{\"name\":\"typed\",\"kind\":\"stream\"},"
        "{\"name\":\"odd\",\"arguments\":{\"x-queue-type\":\"quorum\",\"x-dead-letter-strategy\":\"at-least-once\"}},"
        "{\"name\":\"amq.gen-1\",\"external\":true}],"
        "\"exchanges\":["
        "{\"name\":\"x\",\"type\":\"topic\",\"internal\":true,\"alternate_exchange\":\"y\"},"
        "{\"name\":\"late\",\"type\":\"topic\",\"delayed\":true},"
        "{\"name\":\"y\",\"custom_type\":\"x-random\",\"transient\":true,\"auto_delete\":true,"
        "\"arguments\":{\"x-delayed-type\":\"x-random\"}}],"
        "\"bindings\":["
        "{\"exchange\":\"amq.topic\",\"destination\":\"q\",\"routing_key\":\"a.#\",\"arguments\":{\"k\":1}},"
        "{\"exchange\":\"x\",\"destination\":\"y\",\"to_exchange\":true,\"routing_key\":\"\"}]}",
        0, NULL);
    if (!json_equal(got, expected))
        fail_msg("%s", json);
    json_decref(got);
    json_decref(expected);
    coney_text_free(json);
    coney_topology_free(topology);
}

static void test_code_may_add_what_definitions_have(void **state)
{
    (void)state;
    coney_topology *topology = parsed("{\"queues\":[{\"name\":\"q\",\"durable\":true,\"auto_delete\":false,"
                                      "\"arguments\":{\"x-queue-type\":\"quorum\",\"x-message-ttl\":5}}]}");
    assert_ok(
        coney_topology_add_queue(topology, &(coney_queue){.name = "q", .kind = CONEY_QUORUM, .message_ttl_ms = 5}));
    coney_topology_free(topology);
}

static void test_a_virtual_host_is_chosen(void **state)
{
    (void)state;
    coney_topology *topology;
    size_t count;
    coney_topology_file_options options = {.vhost = "v"};
    assert_ok(coney_topology_parse(&topology, definitions, strlen(definitions), &options));
    const coney_queue *queues = cny_topology_queues(topology, &count);
    assert_int_equal(count, 1);
    assert_true(queues[0].transient);
    coney_topology_free(topology);
    options.vhost = "w";
    assert_fails(coney_topology_parse(&topology, definitions, strlen(definitions), &options), CONEY_E_INVALID,
                 "there is no virtual host 'w'; set vhost to one of");
    refuse("{\"vhosts\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", "set vhost to one of 'a', 'b'");
    coney_topology_free(parsed("{\"vhosts\":[{\"name\":\"a\"}]}"));
}

static void test_the_only_virtual_host_needs_no_choice(void **state)
{
    (void)state;
    coney_topology *topology = parsed("{\"queues\":[{\"name\":\"q\",\"vhost\":\"only\",\"durable\":true}]}");
    assert_non_null(cny_topology_find_queue(topology, "q"));
    coney_topology_free(topology);
}

static void test_definitions_that_say_too_little_or_are_mixed_are_refused(void **state)
{
    (void)state;
    refuse("{\"queues\":[\n{\"name\":\"q\",\"vhost\":\"/\"}]}", "line 2: queues[0]: the member \"durable\" is missing");
    refuse("{\"exchanges\":[{\"name\":\"q\",\"durable\":true}]}", "the member \"type\" is missing");
    refuse("{\"bindings\":[{\"source\":\"q\",\"destination\":\"d\"}]}", "\"destination_type\" is missing");
    refuse("{\"bindings\":[{\"source\":\"q\",\"destination\":\"d\",\"destination_type\":\"topic\"}]}",
           "bindings[0].destination_type: expected one of \"queue\" and \"exchange\", got \"topic\"");
    refuse("{\"queues\":[{\"name\":\"q\",\"durable\":true,\n\"kind\":\"quorum\"}]}",
           "line 2: queues[0].kind: the member is of Coney's own format");
    refuse("{\"queues\":[{\"name\":\"q\",\"durable\":\"yes\"}]}", "queues[0].durable: expected true or false");
}

static void test_a_thing_with_a_decimal_may_be_there_twice(void **state)
{
    (void)state;
    coney_topology_free(parsed("{\"exchanges\":[{\"name\":\"a\",\"arguments\":{\"d\":{\"$decimal\":\"1.5\"}}},"
                               "{\"name\":\"a\",\"arguments\":{\"d\":{\"$decimal\":\"1.5\"}}}]}"));
    refuse("{\"exchanges\":[{\"name\":\"a\",\"arguments\":{\"d\":{\"$decimal\":\"1.5\"}}},"
           "{\"name\":\"a\",\"arguments\":{\"d\":{\"$decimal\":\"2.5\"}}}]}",
           "exchange 'a' is in the topology already");
}

/* A search among all that have the same ends takes 20 s here. */
static void test_many_bindings_that_differ_in_arguments_are_read_at_once(void **state)
{
    (void)state;
    enum { COUNT = 20000, EACH = 80 };
    char *json = malloc((size_t)COUNT * EACH);
    int used = snprintf(json, EACH, "{\"bindings\":[");
    for (int i = 0; i < COUNT; i++)
        used += snprintf(json + used, EACH,
                         "%s{\"exchange\":\"x\",\"destination\":\"q\",\"arguments\":{\"h\":[{\"a\":%d}]}}",
                         i > 0 ? "," : "", i);
    memcpy(json + used, "]}", 3);
    int64_t before = cny_now_ms();
    coney_topology *topology = parsed(json);
    assert_true(cny_now_ms() - before < 5000);
    size_t count;
    cny_topology_bindings(topology, &count);
    assert_int_equal(count, COUNT);
    coney_topology_free(topology);
    free(json);
}

static void test_bindings_are_the_same_whatever_the_order_of_arguments(void **state)
{
    (void)state;
    coney_topology *topology = parsed("{\"bindings\":["
                                      "{\"exchange\":\"x\",\"destination\":\"q\",\"arguments\":{\"a\":1,\"b\":-0.0}},"
                                      "{\"exchange\":\"x\",\"destination\":\"q\",\"arguments\":{\"b\":0.0,\"a\":1}},"
                                      "{\"exchange\":\"x\",\"destination\":\"q\",\"arguments\":{\"a\":0,\"b\":1}}]}");
    size_t count;
    cny_topology_bindings(topology, &count);
    assert_int_equal(count, 2);
    coney_topology_free(topology);
}

/* ---- memory ---- */

static void sweep(const char *text)
{
    coney_status status = CONEY_E_NO_MEMORY;
    for (int successes = 0; status != CONEY_OK; successes++) {
        coney_topology *topology;
        char *json = NULL;
        cny_alloc_fail_after(successes);
        status = coney_topology_parse(&topology, text, strlen(text), NULL);
        if (status == CONEY_OK)
            status = coney_topology_to_json(&json, topology);
        cny_alloc_fail_after(-1);
        if (status != CONEY_OK)
            assert_int_equal(status, CONEY_E_NO_MEMORY);
        coney_text_free(json);
        coney_topology_free(topology);
    }
}

static void test_memory_that_runs_out_is_reported(void **state)
{
    (void)state;
    sweep(everything);
    sweep(definitions);
}

/* ---- files ---- */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/coney-file-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
}

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static int next;
    char *made = path[next++ % 4];
    snprintf(made, sizeof path[0], "%s/%s", folder, name);
    return made;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_a_saved_file_can_be_loaded(void **state)
{
    (void)state;
    coney_topology *topology = parsed(everything), *again;
    assert_ok(coney_topology_save(topology, in_folder("a.json")));
    assert_ok(coney_topology_load(&again, in_folder("a.json"), NULL));
    char *first = written(topology), *second = written(again);
    assert_string_equal(first, second);
    coney_text_free(first);
    coney_text_free(second);
    coney_topology_free(topology);
    coney_topology_free(again);
}

static void test_saving_keeps_permissions_and_follows_links(void **state)
{
    (void)state;
    struct stat found;
    coney_topology *topology = parsed("{}"), *again;
    write_file(in_folder("real.json"), "old");
    assert_int_equal(chmod(in_folder("real.json"), 0640), 0);
    assert_int_equal(symlink("real.json", in_folder("link.json")), 0);
    assert_ok(coney_topology_save(topology, in_folder("link.json")));
    assert_int_equal(stat(in_folder("real.json"), &found), 0);
    assert_int_equal(found.st_mode & 07777, 0640);
    assert_int_equal(lstat(in_folder("link.json"), &found), 0);
    assert_true(S_ISLNK(found.st_mode));
    assert_ok(coney_topology_load(&again, in_folder("real.json"), NULL));
    coney_topology_free(again);
    coney_topology_free(topology);
}

static void test_files_that_cannot_be_read_or_written_are_named(void **state)
{
    (void)state;
    coney_topology *topology = parsed("{}"), *again;
    assert_fails(coney_topology_load(&again, in_folder("none.json"), NULL), CONEY_E_SYSTEM, "none.json: No such file");
    assert_fails(coney_topology_load(&again, folder, NULL), CONEY_E_SYSTEM, "Is a directory");
    assert_fails(coney_topology_save(topology, folder), CONEY_E_SYSTEM, "it is no regular file");
    assert_fails(coney_topology_save(topology, in_folder("no/a.json")), CONEY_E_SYSTEM, "No such file");
    write_file(in_folder("bad.json"), "{\n\"queues\":[{\"name\":5}]}");
    assert_fails(coney_topology_load(&again, in_folder("bad.json"), NULL), CONEY_E_INVALID,
                 "bad.json:2: queues[0].name: expected a string, got 5");
    coney_topology_free(topology);
}

static void test_a_failed_save_leaves_the_old_file(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new(), *again;
    write_file(in_folder("old.json"), "{}");
    assert_fails(coney_topology_add_exchange(topology, &(coney_exchange){0}), CONEY_E_INVALID, "needs a name");
    assert_fails(coney_topology_save(topology, in_folder("old.json")), CONEY_E_INVALID, "needs a name");
    assert_ok(coney_topology_load(&again, in_folder("old.json"), NULL));
    coney_topology_free(topology);
    coney_topology_free(again);
}

/* ---- schema, structs and members ---- */

static bool is_member_of(const cny_file_fields *fields, const char *name, size_t size)
{
    return cny_file_field_named(fields, name, size) != NULL;
}

/* Each declarator of the struct in the header: the last word before a semicolon, outside comments. */
static size_t check_struct(const char *header, const char *begin, const char *end, const cny_file_fields *fields)
{
    char path[512], line[512];
    bool is_in = false, is_comment = false;
    size_t count = 0;
    snprintf(path, sizeof path, "%s/coney/amqp/%s", CONEY_TEST_HEADERS, header);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, end, strlen(end)) == 0)
            break;
        char *semicolon = is_comment ? NULL : strchr(line, ';'), *comment = is_comment ? line : strstr(line, "/*");
        if (is_in && semicolon && (!comment || semicolon < comment)) {
            char *name = semicolon;
            while (name[-1] != ' ' && name[-1] != '*')
                name--;
            if (!is_member_of(fields, name, (size_t)(semicolon - name)))
                fail_msg("%s: a file cannot say %.*s", header, (int)(semicolon - name), name);
            count++;
        }
        if (comment)
            is_comment = !strstr(comment, "*/");
        is_in = is_in || strncmp(line, begin, strlen(begin)) == 0;
    }
    fclose(file);
    return count;
}

static void test_a_file_can_say_what_the_structs_can(void **state)
{
    (void)state;
    assert_int_equal(check_struct("queue.h", "typedef struct coney_queue {", "} coney_queue;", &cny_file_queues),
                     cny_file_queues.count - 1); /* ref */
    assert_int_equal(
        check_struct("exchange.h", "typedef struct coney_exchange {", "} coney_exchange;", &cny_file_exchanges),
        cny_file_exchanges.count);
    assert_int_equal(
        check_struct("exchange.h", "typedef struct coney_binding {", "} coney_binding;", &cny_file_bindings),
        cny_file_bindings.count - 1); /* destination_ref */
}

static void check_words(const cny_file_field *field, json_t *described)
{
    json_t *words = json_object_get(described, "enum");
    size_t count = 0;
    assert_non_null(words);
    for (size_t i = 0; i < field->word_count; i++) {
        if (field->words[i])
            assert_string_equal(json_string_value(json_array_get(words, count++)), field->words[i]);
    }
    assert_int_equal(json_array_size(words), count);
}

static void check_schema(json_t *schema, const cny_file_fields *fields)
{
    json_t *properties =
        json_object_get(json_object_get(json_object_get(schema, "$defs"), fields->thing), "properties");
    assert_int_equal(json_object_size(properties), fields->count);
    for (size_t i = 0; i < fields->count; i++) {
        json_t *described = json_object_get(properties, fields->fields[i].name);
        const char *type = json_string_value(json_object_get(described, "type"));
        if (!described)
            fail_msg("the schema lacks %s of a %s", fields->fields[i].name, fields->thing);
        switch (fields->fields[i].kind) {
        case CNY_FILE_TEXT: assert_true(json_object_get(described, "enum") || strcmp(type, "string") == 0); break;
        case CNY_FILE_FLAG: assert_string_equal(type, "boolean"); break;
        case CNY_FILE_INT:
        case CNY_FILE_INT64: assert_string_equal(type, "integer"); break;
        case CNY_FILE_WORD: check_words(&fields->fields[i], described); break;
        case CNY_FILE_TABLE: assert_non_null(json_object_get(described, "$ref")); break;
        }
    }
}

static void test_the_schema_names_the_members_and_words(void **state)
{
    (void)state;
    json_t *schema = json_load_file(CONEY_TEST_SCHEMA, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(schema);
    check_schema(schema, &cny_file_queues);
    check_schema(schema, &cny_file_exchanges);
    check_schema(schema, &cny_file_bindings);
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_topology_is_the_same_after_writing_and_reading),
        cmocka_unit_test(test_the_round_trip_has_every_member),
        cmocka_unit_test(test_fields_of_a_file_are_those_of_the_structs),
        cmocka_unit_test(test_an_anonymous_queue_has_a_new_name_in_each_reading),
        cmocka_unit_test(test_an_anonymous_queue_of_the_code_is_saved_as_anonymous),
        cmocka_unit_test(test_refs_that_are_made_up_are_nobody_elses),
        cmocka_unit_test(test_a_ref_of_two_topologies_is_that_of_the_first),
        cmocka_unit_test(test_a_mistake_is_told_with_line_and_place),
        cmocka_unit_test(test_a_member_that_is_unknown_or_there_twice_is_refused),
        cmocka_unit_test(test_the_checks_of_the_code_are_told_with_line_and_place),
        cmocka_unit_test(test_refs_that_do_not_fit_are_refused),
        cmocka_unit_test(test_wrong_arguments_are_told_with_line_and_place),
        cmocka_unit_test(test_text_that_is_not_json_is_refused_with_its_line),
        cmocka_unit_test(test_a_text_beyond_the_limits_is_refused),
        cmocka_unit_test(test_more_arguments_than_a_file_may_have_are_not_written),
        cmocka_unit_test(test_an_argument_that_json_cannot_say_is_not_written),
        cmocka_unit_test(test_a_topology_that_has_failed_is_not_written),
        cmocka_unit_test(test_definitions_become_a_topology),
        cmocka_unit_test(test_code_may_add_what_definitions_have),
        cmocka_unit_test(test_a_virtual_host_is_chosen),
        cmocka_unit_test(test_the_only_virtual_host_needs_no_choice),
        cmocka_unit_test(test_definitions_that_say_too_little_or_are_mixed_are_refused),
        cmocka_unit_test(test_a_thing_with_a_decimal_may_be_there_twice),
        cmocka_unit_test(test_many_bindings_that_differ_in_arguments_are_read_at_once),
        cmocka_unit_test(test_bindings_are_the_same_whatever_the_order_of_arguments),
        cmocka_unit_test(test_memory_that_runs_out_is_reported),
        cmocka_unit_test(test_a_saved_file_can_be_loaded),
        cmocka_unit_test(test_saving_keeps_permissions_and_follows_links),
        cmocka_unit_test(test_files_that_cannot_be_read_or_written_are_named),
        cmocka_unit_test(test_a_failed_save_leaves_the_old_file),
        cmocka_unit_test(test_a_file_can_say_what_the_structs_can),
        cmocka_unit_test(test_the_schema_names_the_members_and_words),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
