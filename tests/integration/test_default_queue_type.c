/* SPDX-License-Identifier: MIT */
/* A virtual host in which a queue without a kind is a quorum queue. */
#include "support/container_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static char vhost[64];
static coney_connection_factory *factory;
static coney_admin *admin;

static void use_vhost(void)
{
    char text[256];
    snprintf(vhost, sizeof vhost, "%s", test_name("quorum"));
    snprintf(text, sizeof text, "add_vhost %s --default-queue-type quorum", vhost);
    test_rabbitmqctl(text);
    snprintf(text, sizeof text, "set_permissions -p %s guest '.*' '.*' '.*'", vhost);
    test_rabbitmqctl(text);
    snprintf(text, sizeof text, "%s/%s", test_uri(), vhost);
    assert_ok(coney_connection_factory_new(&factory, text, NULL));
    assert_ok(coney_admin_new(&admin, factory, NULL));
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    if (!factory)
        return 0;
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    admin = NULL;
    factory = NULL;
    snprintf(command, sizeof command, "delete_vhost %s", vhost);
    test_rabbitmqctl(command);
    return 0;
}

static void test_queue_without_a_name_is_classic(void **state)
{
    (void)state;
    static const coney_queue queues[] = {{.name = ""},
                                         {.name = "", .max_priority = 5},
                                         {.name = "", .exclusive = true},
                                         {.name = "", .auto_delete = true}};
    coney_queue_info info;
    use_vhost();
    for (size_t i = 0; i < COUNT_OF(queues); i++) {
        assert_ok(coney_admin_declare_queue(admin, &queues[i], &info));
        assert_int_equal(strncmp(info.name, "amq.gen", 7), 0);
        assert_ok(coney_admin_delete_queue(admin, info.name, NULL));
    }
}

static void test_queue_without_a_name_is_what_the_program_says(void **state)
{
    (void)state;
    use_vhost();
    coney_status status = coney_admin_declare_queue(admin, &(coney_queue){.name = "", .kind = CONEY_QUORUM}, NULL);
    assert_fails(status, CONEY_E_PRECONDITION_FAILED, "server-named queue");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_queue_without_a_name_is_classic, tear_down),
        cmocka_unit_test_teardown(test_queue_without_a_name_is_what_the_program_says, tear_down),
    };
    if (!getenv("CONEY_TEST_RABBITMQCTL")) /* NOLINT(concurrency-mt-unsafe): nobody changes it */
        return test_leave_out_all(COUNT_OF(tests), BROKER_IS_NOT_OURS);
    return cmocka_run_group_tests_name("default_queue_type", tests, NULL, NULL);
}
