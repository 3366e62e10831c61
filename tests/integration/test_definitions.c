/* SPDX-License-Identifier: MIT */
/* What RabbitMQ exports becomes a topology, and the topology becomes the same broker: definitions are imported into a
 * virtual host, exported, loaded, declared in another virtual host, exported from there, and compared. */
#include "support/container_fixture.h"
#include "support/test_support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char from[64], to[64]; /* virtual hosts */
static char path[256];

static const char *const queues[] = {
    "\"name\":\"plain\",\"durable\":true,\"auto_delete\":false,\"arguments\":{}",
    "\"name\":\"classic \\u00fc\",\"durable\":true,\"auto_delete\":true,\"arguments\":{\"x-queue-type\":\"classic\","
    "\"x-message-ttl\":60000,\"x-expires\":3600000,\"x-max-length\":5,\"x-max-length-bytes\":5000000000,"
    "\"x-overflow\":\"reject-publish-dlx\",\"x-dead-letter-exchange\":\"\",\"x-dead-letter-routing-key\":\"plain\","
    "\"x-max-priority\":9,\"x-queue-mode\":\"lazy\",\"x-single-active-consumer\":true}",
    "\"name\":\"zero\",\"durable\":true,\"auto_delete\":false,\"arguments\":{\"x-message-ttl\":0,\"x-max-length\":0,"
    "\"x-queue-mode\":\"default\",\"x-single-active-consumer\":false,\"mine\":{\"a\":[1,\"b\",true,1.5]},"
    "\"x-mine\":\"\\u20ac\"}",
    "\"name\":\"quorum\",\"durable\":true,\"auto_delete\":false,\"arguments\":{\"x-queue-type\":\"quorum\","
    "\"x-delivery-limit\":7,\"x-quorum-initial-group-size\":1,\"x-dead-letter-exchange\":\"chained\","
    "\"x-dead-letter-strategy\":\"at-least-once\",\"x-overflow\":\"reject-publish\"}",
    "\"name\":\"ignored\",\"durable\":true,\"auto_delete\":false,\"arguments\":{\"x-queue-type\":\"quorum\","
    "\"x-dead-letter-exchange\":\"chained\",\"x-dead-letter-strategy\":\"at-least-once\"}",
    "\"name\":\"stream\",\"durable\":true,\"auto_delete\":false,\"arguments\":{\"x-queue-type\":\"stream\","
    "\"x-max-age\":\"7D\",\"x-stream-max-segment-size-bytes\":1000000,\"x-queue-leader-locator\":\"client-local\"}",
};

static const char *const exchanges[] = {
    "\"name\":\"chained\",\"type\":\"fanout\",\"durable\":true,\"auto_delete\":false,\"internal\":false,\"arguments\":{"
    "}",
    "\"name\":\"events\",\"type\":\"topic\",\"durable\":true,\"auto_delete\":false,\"internal\":false,"
    "\"arguments\":{\"alternate-exchange\":\"chained\",\"mine\":[1]}",
    "\"name\":\"gone\",\"type\":\"headers\",\"durable\":false,\"auto_delete\":true,\"internal\":false,"
    "\"arguments\":{}",
};

static const char *const bindings[] = {
    "\"source\":\"events\",\"destination\":\"quorum\",\"destination_type\":\"queue\",\"routing_key\":\"a.#\","
    "\"arguments\":{}",
    "\"source\":\"events\",\"destination\":\"chained\",\"destination_type\":\"exchange\",\"routing_key\":\"\","
    "\"arguments\":{}",
    "\"source\":\"gone\",\"destination\":\"plain\",\"destination_type\":\"queue\",\"routing_key\":\"\","
    "\"arguments\":{\"x-match\":\"any\",\"h\":1,\"i\":\"j\"}",
    "\"source\":\"amq.topic\",\"destination\":\"stream\",\"destination_type\":\"queue\",\"routing_key\":\"b\","
    "\"arguments\":{}",
};

/* ---- rabbitmqctl ---- */

static void write_list(FILE *file, const char *name, const char *const *things, size_t count)
{
    fprintf(file, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s{\"vhost\":\"%s\",%s}", i > 0 ? "," : "", from, things[i]);
    fprintf(file, "]");
}

static void import(void)
{
    char command[300];
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "{\"vhosts\":[{\"name\":\"%s\"},{\"name\":\"%s\"}],\"permissions\":[", from, to);
    fprintf(file, "{\"user\":\"guest\",\"vhost\":\"%s\",\"configure\":\".*\",\"write\":\".*\",\"read\":\".*\"},", from);
    fprintf(file, "{\"user\":\"guest\",\"vhost\":\"%s\",\"configure\":\".*\",\"write\":\".*\",\"read\":\".*\"}]", to);
    fprintf(file,
            ",\"policies\":[{\"vhost\":\"%s\",\"name\":\"p\",\"pattern\":\".*\",\"apply-to\":\"queues\","
            "\"priority\":0,\"definition\":{\"max-length\":1000}}]",
            from);
    write_list(file, "queues", queues, COUNT_OF(queues));
    write_list(file, "exchanges", exchanges, COUNT_OF(exchanges));
    write_list(file, "bindings", bindings, COUNT_OF(bindings));
    fprintf(file, "}");
    fclose(file);
    /* A container has the folder under another name. NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes it */
    bool is_container = getenv("CONEY_BROKER_IMAGE") != NULL;
    snprintf(command, sizeof command, "import_definitions %s", is_container ? "/coney/definitions.json" : path);
    test_rabbitmqctl(command);
}

/* Gives the export, and writes it to `path`. */
static json_t *export(void)
{
    char line[300];
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes it */
    snprintf(line, sizeof line, "%s --quiet export_definitions -", getenv("CONEY_TEST_RABBITMQCTL"));
    FILE *pipe = popen(line, "r"); /* NOLINT(bugprone-command-processor): a test's own */
    assert_non_null(pipe);
    json_t *json = json_loadf(pipe, JSON_DISABLE_EOF_CHECK, NULL);
    pclose(pipe);
    assert_non_null(json);
    assert_int_equal(json_dump_file(json, path, 0), 0);
    return json;
}

/* ---- comparing ---- */

/* The things of a virtual host, without its name. */
static json_t *things_of(json_t *definitions, const char *list, const char *vhost)
{
    size_t i;
    json_t *thing, *found = json_array();
    json_array_foreach(json_object_get(definitions, list), i, thing)
    {
        if (strcmp(json_string_value(json_object_get(thing, "vhost")), vhost) != 0)
            continue;
        json_t *copy = json_deep_copy(thing);
        json_object_del(copy, "vhost");
        json_array_append_new(found, copy);
    }
    return found;
}

static void assert_each_is_in(json_t *some, json_t *others)
{
    size_t i, k;
    json_t *thing, *other;
    json_array_foreach(some, i, thing)
    {
        bool is_there = false;
        json_array_foreach(others, k, other) is_there = is_there || json_equal(thing, other);
        if (!is_there)
            fail_msg("only one export has %s", json_dumps(thing, 0));
    }
}

static void assert_same_list(json_t *before, json_t *after, const char *list, size_t count)
{
    json_t *one = things_of(before, list, from), *other = things_of(after, list, to);
    assert_int_equal(json_array_size(one), count);
    assert_each_is_in(one, other);
    assert_each_is_in(other, one);
    json_decref(one);
    json_decref(other);
}

/* ---- declaring ---- */

static void declare_in(const char *vhost, const coney_topology *topology)
{
    char uri[160];
    coney_connection_factory *factory;
    coney_admin *admin;
    snprintf(uri, sizeof uri, "amqp://guest:guest@127.0.0.1:%d/%s", test_uri_port(), vhost);
    assert_ok(coney_connection_factory_new(&factory, uri, NULL));
    assert_ok(coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology}));
    assert_ok(coney_admin_declare(admin));
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
}

static void test_an_export_is_loaded_and_declared_without_a_difference(void **state)
{
    (void)state;
    coney_topology *topology;
    import();
    json_t *before = export();
    assert_ok(coney_topology_load(&topology, path, &(coney_topology_file_options){.vhost = from}));
    declare_in(to, topology);
    json_t *after = export();
    assert_same_list(before, after, "queues", COUNT_OF(queues));
    assert_same_list(before, after, "exchanges", COUNT_OF(exchanges));
    assert_same_list(before, after, "bindings", COUNT_OF(bindings));
    json_decref(before);
    json_decref(after);
    coney_topology_free(topology);
}

/* A difference would be a 406. */
static void test_a_saved_export_is_what_the_broker_has(void **state)
{
    (void)state;
    coney_topology *topology, *saved;
    import();
    json_decref(export());
    assert_ok(coney_topology_load(&topology, path, &(coney_topology_file_options){.vhost = from}));
    assert_ok(coney_topology_save(topology, path));
    assert_ok(coney_topology_load(&saved, path, NULL));
    declare_in(from, saved);
    coney_topology_free(topology);
    coney_topology_free(saved);
}

static int set_up(void **state)
{
    (void)state;
    static int runs;
    snprintf(from, sizeof from, "from-%d-%d", (int)getpid(), runs);
    snprintf(to, sizeof to, "to-%d-%d", (int)getpid(), runs++);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes it */
    snprintf(path, sizeof path, "%s/definitions.json", getenv("CONEY_TEST_BROKER_DIR"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "delete_vhost %s", from);
    test_rabbitmqctl(command);
    snprintf(command, sizeof command, "delete_vhost %s", to);
    test_rabbitmqctl(command);
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_export_is_loaded_and_declared_without_a_difference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_saved_export_is_what_the_broker_has, set_up, tear_down),
    };
    if (!getenv("CONEY_TEST_RABBITMQCTL") ||
        !getenv("CONEY_TEST_BROKER_DIR")) /* NOLINT(concurrency-mt-unsafe): nobody changes it */
        return test_leave_out_all(COUNT_OF(tests), BROKER_IS_NOT_OURS);
    return cmocka_run_group_tests_name("definitions", tests, NULL, NULL);
}
