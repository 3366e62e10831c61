/* SPDX-License-Identifier: MIT */
/* A service whose topology changes with its next release: the plan says what differs, and the queue gets its new
 * arguments while orders come in.
 *
 *   topology [URI [MANAGEMENT_URL]]
 *
 * Exits with 0 if no order was lost, and not more came twice than the report allows. */
#include <coney/coney.h>
#ifdef WITH_MANAGEMENT
#include <coney/management/management.h>
#endif

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAITING = 10000, MOST = 50000 };

#define EXCHANGE "sample.topology.orders"
#define OLD_QUEUE "sample.topology.payments"
#define NEW_QUEUE "sample.topology.payments.v2"

static coney_connection_factory *factory;
static coney_template *sender;
static atomic_int received[MOST];
static atomic_int sent;
static atomic_bool is_over;

static void must(coney_status status, const char *what)
{
    if (status == CONEY_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, coney_last_error());
    exit(EXIT_FAILURE);
}

/* ---- the topology of two releases ---- */

/* Only the queue changes: in the second release it is a quorum queue with a limit, and its dead letters are kept. */
static coney_topology *topology_of(int release)
{
    static const char *const keys[] = {"order.paid", "order.refunded", NULL};
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = EXCHANGE, .type = CONEY_TOPIC});
    if (release == 1) {
        coney_topology_add_queue(topology, &(coney_queue){.name = OLD_QUEUE, .kind = CONEY_CLASSIC});
    } else {
        const coney_queue queue = {
            .name = OLD_QUEUE, .kind = CONEY_QUORUM, .max_length = 1000000, .overflow = CONEY_REJECT_PUBLISH};
        coney_topology_add_queue_with_dead_letters(topology, &queue, NULL);
    }
    for (const char *const *key = keys; *key; key++)
        coney_topology_bind(topology, EXCHANGE, OLD_QUEUE, *key);
    return topology;
}

/* An admin that declares nothing until it is told to. */
static coney_admin *admin_of(int release)
{
    coney_admin *admin;
    coney_topology *topology = topology_of(release);
    must(coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology, .no_auto_declare = true}),
         "admin");
    coney_topology_free(topology);
    return admin;
}

/* ---- orders ---- */

static void send_orders(int count)
{
    const coney_properties text_plain = {.content_type = "text/plain"};
    for (int i = 0; i < count; i++) {
        char text[16];
        coney_message *message;
        int size = snprintf(text, sizeof text, "%d", atomic_fetch_add(&sent, 1));
        must(coney_message_new(&message, text, (size_t)size, &text_plain), "message");
        must(coney_template_send_async(sender, i % 10 ? "order.paid" : "order.refunded", message, NULL, NULL, NULL),
             "send");
        coney_message_unref(message);
    }
    must(coney_template_wait_for_confirms(sender, 60000), "confirms");
}

static void *keep_sending(void *unused)
{
    while (!atomic_load(&is_over) && atomic_load(&sent) + 10 < MOST)
        send_orders(10);
    return unused;
}

static coney_outcome receive(coney_delivery *delivery, void *user)
{
    (void)user;
    const char *text = coney_delivery_text(delivery);
    int number = text ? atoi(text) : -1;
    if (number < 0 || number >= MOST)
        return CONEY_REJECT;
    atomic_fetch_add(&received[number], 1);
    return CONEY_ACK;
}

/* Reads what is in the new queue, and says what came of all orders. */
static int account(coney_admin *admin, const coney_apply_report *report)
{
    coney_container *container;
    coney_queue_info info = {.message_count = 1};
    int lost = 0, twice = 0;
    must(coney_container_new(&container, factory, NULL), "container");
    must(coney_container_listen(container, &(coney_listener){.queue = NEW_QUEUE, .on_message = receive}), "listen");
    must(coney_container_start(container), "start");
    while (info.message_count > 0)
        must(coney_admin_queue_info(admin, NEW_QUEUE, &info), "queue info");
    must(coney_container_stop(container), "stop");
    coney_container_free(container);
    for (int i = 0; i < atomic_load(&sent); i++) {
        lost += atomic_load(&received[i]) == 0;
        twice += atomic_load(&received[i]) > 1;
    }
    printf("%d orders sent, %llu moved, %d lost, %d came twice (the report allows %llu)\n", atomic_load(&sent),
           (unsigned long long)report->moved, lost, twice, (unsigned long long)report->may_come_twice);
    return lost == 0 && (uint64_t)twice <= report->may_come_twice ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- plan and apply ---- */

/* NULL without the management API: then a plan tells only what is there. */
static coney_inventory *read_inventory(const char *url)
{
    coney_inventory *inventory = NULL;
#ifdef WITH_MANAGEMENT
    if (*url)
        must(coney_management_read(&inventory, &(coney_management_options){.url = url}), "inventory");
#endif
    (void)url;
    return inventory;
}

static coney_plan *plan_of(coney_admin *admin, const coney_inventory *inventory)
{
    coney_plan *plan;
    char *text;
    must(coney_admin_plan(&plan, admin, inventory), "plan");
    must(coney_plan_text(plan, &text), "text");
    /* Other things of this broker are no business of the sample. */
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (strstr(line, "sample.topology") || *line == ' ')
            printf("  %s\n", line);
    }
    coney_text_free(text);
    return plan;
}

static void tell(const char *step, void *user)
{
    (void)user;
    printf("  %s\n", step);
}

static int change(coney_admin *admin, const coney_plan *plan)
{
    pthread_t thread;
    coney_apply_report report;
    const coney_queue_change one = {.queue = OLD_QUEUE, .new_name = NEW_QUEUE};
    const coney_apply_options options = {.changes = &one, .change_count = 1, .on_step = tell};
    pthread_create(&thread, NULL, keep_sending, NULL);
    coney_status status = coney_admin_apply(admin, plan, &options, &report);
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    must(status, "apply");
    return account(admin, &report);
}

static void clean_up(coney_admin *admin)
{
    static const char *const queues[] = {OLD_QUEUE, NEW_QUEUE, OLD_QUEUE ".dlq"};
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++)
        must(coney_admin_delete_queue(admin, queues[i], NULL), "delete");
    must(coney_admin_delete_exchange(admin, EXCHANGE), "delete");
    must(coney_admin_delete_exchange(admin, OLD_QUEUE ".dlx"), "delete");
}

int main(int argc, char **argv)
{
    const char *management = argc > 2 ? argv[2] : "";
    must(coney_connection_factory_new(&factory, argc > 1 ? argv[1] : "amqp://guest:guest@localhost",
                                      &(coney_connection_factory_options){.trusted_network = true}),
         "factory");
    must(coney_template_new(&sender, factory, &(coney_template_options){.exchange = EXCHANGE}), "template");

    printf("release 1 declares its topology, and %d orders wait for a consumer\n", WAITING);
    coney_admin *first = admin_of(1), *second = admin_of(2);
    clean_up(first);
    must(coney_admin_declare(first), "declare");
    coney_admin_free(first);
    send_orders(WAITING);

    printf("what release 2 would have to do:\n");
    coney_inventory *inventory = read_inventory(management);
    coney_plan *plan = plan_of(second, inventory);
    int status = EXIT_SUCCESS;
    if (inventory) {
        printf("the queue gets its arguments while orders come in:\n");
        status = change(second, plan);
    } else {
        printf("without the management API nobody can tell more, so nothing is changed\n");
    }
    clean_up(second);
    coney_plan_free(plan);
    coney_inventory_free(inventory);
    coney_admin_free(second);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    return status;
}
