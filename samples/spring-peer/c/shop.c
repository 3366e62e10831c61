/* SPDX-License-Identifier: MIT */
/* The C side: sends orders to a Spring service, and reads the invoices that come back as events.
 *
 *   spring-peer [URI]
 *
 * Both sides know the same two classes: here as structs and tables, there as records. ./run starts both sides. */
#include <coney/coney.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ORDERS "sample.spring.orders"
#define INVOICES "sample.spring.invoices"
#define PATIENCE_S 60 /* a JVM may need some seconds to start */

/* ---- the two classes ---- */

typedef struct line {
    const char *sku;
    int32_t quantity;
    const char *price;
} line;

typedef struct order {
    int64_t id;
    const char *customer;
    line *lines;
    size_t line_count;
    int64_t placed_at;
} order;

typedef struct invoice {
    int64_t order_id;
    const char *customer;
    int32_t items;
    const char *total;
    int64_t placed_at;
    int64_t issued_at;
} invoice;

static const coney_field line_fields[] = {
    CONEY_FIELD(line, sku, CONEY_STRING),
    CONEY_FIELD(line, quantity, CONEY_INT32, CONEY_RANGE(1, 1000)),
    CONEY_FIELD(line, price, CONEY_DECIMAL),
};
static const coney_type line_type = CONEY_TYPE("sample.Line", line, line_fields);

static const coney_field order_fields[] = {
    CONEY_FIELD(order, id, CONEY_INT64),
    CONEY_FIELD(order, customer, CONEY_STRING, .max_size = 40),
    CONEY_LIST(order, lines, line_count, CONEY_STRUCT(line_type)),
    CONEY_FIELD(order, placed_at, CONEY_TIMESTAMP, .name = "placedAt"),
};
static const coney_type order_type = CONEY_TYPE("sample.Order", order, order_fields);

static const coney_field invoice_fields[] = {
    CONEY_FIELD(invoice, order_id, CONEY_INT64, .name = "orderId"),
    CONEY_FIELD(invoice, customer, CONEY_STRING),
    CONEY_FIELD(invoice, items, CONEY_INT32),
    CONEY_FIELD(invoice, total, CONEY_DECIMAL),
    CONEY_FIELD(invoice, placed_at, CONEY_TIMESTAMP, .name = "placedAt"),
    CONEY_FIELD(invoice, issued_at, CONEY_TIMESTAMP, .name = "issuedAt"),
};
static const coney_type invoice_type = CONEY_TYPE("sample.Invoice", invoice, invoice_fields);

CONEY_TYPED(order, order, order_type); /* order_send() takes nothing but an order */

/* ---- what is sent, and what is expected ---- */

static line robins[] = {{"carrot", 3, "0.50"}, {"lettuce", 1, "1.20"}};
static line zoes[] = {{"radish", 1000, "0.01"}};

static const struct sale {
    order order;
    int32_t items;
    const char *total;
} sales[] = {
    {{.id = 1, .customer = "Robin", .lines = robins, .line_count = 2, .placed_at = 1764558245}, 4, "2.70"},
    {{.id = INT64_C(9007199254740993), .customer = "Zo\xc3\xab", .lines = zoes, .line_count = 1}, 1000, "10.00"},
    {{.id = 3, .customer = "nobody"}, 0, "0"},
};
enum { SALES = sizeof sales / sizeof *sales };

/* ---- the invoices that came ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_right[SALES];
    int wrong;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool is_right(const invoice *got, const struct sale *sale)
{
    return strcmp(got->customer, sale->order.customer) == 0 && got->items == sale->items &&
           strcmp(got->total, sale->total) == 0 && got->placed_at == sale->order.placed_at && got->issued_at > 0;
}

static coney_outcome read_invoice(coney_delivery *delivery, void *user)
{
    const invoice *got = coney_delivery_object(delivery, &invoice_type);
    (void)user;
    if (!got)
        return coney_delivery_fail(delivery, CONEY_REJECT, "%s", coney_last_error());
    int i = 0;
    while (i < SALES && sales[i].order.id != got->order_id)
        i++;
    bool right = i < SALES && is_right(got, &sales[i]);
    printf("c:      invoice for order %" PRId64 " of %s: %" PRId32 " items, %s%s\n", got->order_id, got->customer,
           got->items, got->total, right ? "" : ", WHICH IS WRONG");
    pthread_mutex_lock(&seen.lock);
    if (right)
        seen.is_right[i] = true;
    else
        seen.wrong++;
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
    return CONEY_ACK;
}

/* Under lock. */
static int right_ones(void)
{
    int count = 0;
    for (int i = 0; i < SALES; i++)
        count += seen.is_right[i];
    return count;
}

static bool wait_for_invoices(void)
{
    struct timespec end;
    int error = 0;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&seen.lock);
    while (right_ones() < SALES && seen.wrong == 0 && error == 0)
        error = pthread_cond_timedwait(&seen.changed, &seen.lock, &end);
    int right = right_ones();
    pthread_mutex_unlock(&seen.lock);
    printf("c:      %d of %d invoices are right\n", right, (int)SALES);
    return right == SALES;
}

/* ---- the service ---- */

typedef struct service {
    coney_connection_factory *factory;
    coney_admin *admin;
    coney_container *container;
    coney_template *sender;
} service;

/* What an earlier run has left does not count. */
static coney_status make_queue(coney_admin *admin, const char *name)
{
    coney_status status = coney_admin_declare_queue(admin, &(coney_queue){.name = name}, NULL);
    return status == CONEY_OK ? coney_admin_purge_queue(admin, name, NULL) : status;
}

static coney_status start(service *shop, const char *uri)
{
    const coney_listener listener = {.queue = INVOICES, .type = &invoice_type, .on_message = read_invoice};
    coney_status status = coney_connection_factory_new(&shop->factory, uri, NULL);
    if (status == CONEY_OK)
        status = coney_admin_new(&shop->admin, shop->factory, NULL);
    if (status == CONEY_OK)
        status = make_queue(shop->admin, ORDERS);
    if (status == CONEY_OK)
        status = make_queue(shop->admin, INVOICES);
    if (status == CONEY_OK)
        status = coney_container_new(&shop->container, shop->factory, NULL);
    if (status == CONEY_OK)
        status = coney_container_listen(shop->container, &listener);
    if (status == CONEY_OK)
        status = coney_container_start(shop->container);
    return status == CONEY_OK ? coney_template_new(&shop->sender, shop->factory, NULL) : status;
}

static coney_status send_orders(const service *shop)
{
    coney_status status = CONEY_OK;
    for (int i = 0; i < SALES && status == CONEY_OK; i++) {
        status = order_send(shop->sender, ORDERS, &sales[i].order, NULL);
        printf("c:      order %" PRId64 " of %s\n", sales[i].order.id, sales[i].order.customer);
    }
    return status;
}

static void end(service *shop)
{
    coney_container_free(shop->container);
    coney_template_free(shop->sender);
    if (shop->container) { /* there is a broker, so there are the queues */
        coney_admin_delete_queue(shop->admin, ORDERS, NULL);
        coney_admin_delete_queue(shop->admin, INVOICES, NULL);
    }
    coney_admin_free(shop->admin);
    coney_connection_factory_free(shop->factory);
}

int main(int argc, char **argv)
{
    const char *uri = argc > 1 ? argv[1] : getenv("CONEY_URI");
    service shop = {0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    coney_status status = start(&shop, uri ? uri : "amqp://guest:guest@localhost");
    if (status == CONEY_OK)
        status = send_orders(&shop);
    if (status != CONEY_OK)
        fprintf(stderr, "c:      %s: %s\n", coney_status_name(status), coney_last_error());
    bool done = status == CONEY_OK && wait_for_invoices();
    end(&shop);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
