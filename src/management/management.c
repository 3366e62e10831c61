/* SPDX-License-Identifier: MIT */
/* Makes an inventory of what the management API tells. The API leaves out what a user may not see, and members that an
 * older release does not know, so everything may be missing. On the caller's thread. */
#include <coney/amqp/table_json.h>
#include <coney/management/management.h>

#include "http.h"

#include <pthread.h>
#include <string.h>

/* ---- members of an answer ---- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text && *text ? text : NULL;
}

static bool is_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static int64_t number_of(const json_t *object, const char *name)
{
    const json_t *number = json_object_get(object, name);
    return json_is_integer(number) ? json_integer_value(number) : -1;
}

/* An empty table may be an empty list. NULL: there is nothing. */
static coney_status table_of(coney_table **table, const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    *table = NULL;
    return json_is_object(member) && json_object_size(member) > 0 ? coney_table_from_json(table, member) : CONEY_OK;
}

/* ---- what there is ---- */

typedef struct reading {
    coney_inventory *inventory;
    json_t *policies;    /* a list, or NULL */
    json_t *connections; /* a list, or NULL */
} reading;

typedef coney_status add_function(const reading *one, const json_t *object);

static coney_status add_queue(const reading *one, const json_t *object)
{
    coney_table *arguments, *settings = NULL;
    coney_status status = table_of(&arguments, object, "arguments");
    if (status == CONEY_OK)
        status = table_of(&settings, object, "effective_policy_definition");
    const coney_found_queue queue = {
        .name = json_string_value(json_object_get(object, "name")),
        .type = text_of(object, "type"),
        .durable = is_true(object, "durable"),
        .exclusive = is_true(object, "exclusive"),
        .auto_delete = is_true(object, "auto_delete"),
        .arguments = arguments,
        .policy = {.name = text_of(object, "policy"),
                   .operator_name = text_of(object, "operator_policy"),
                   .settings = settings},
        .message_count = number_of(object, "messages"),
        .consumer_count = number_of(object, "consumers"),
    };
    if (status == CONEY_OK)
        status = coney_inventory_add_queue(one->inventory, &queue);
    coney_table_free(arguments);
    coney_table_free(settings);
    return status;
}

/* The API tells the settings that are in force for queues only. No operator policy applies to exchanges. */
static coney_status settings_of(coney_table **settings, const reading *one, const char *policy)
{
    size_t i;
    const json_t *each;
    *settings = NULL;
    json_array_foreach(one->policies, i, each)
    {
        const char *name = text_of(each, "name");
        if (policy && name && strcmp(name, policy) == 0)
            return table_of(settings, each, "definition");
    }
    return CONEY_OK;
}

static coney_status add_exchange(const reading *one, const json_t *object)
{
    coney_table *arguments, *settings = NULL;
    const char *policy = text_of(object, "policy");
    coney_status status = table_of(&arguments, object, "arguments");
    if (status == CONEY_OK)
        status = settings_of(&settings, one, policy);
    const coney_found_exchange exchange = {
        .name = json_string_value(json_object_get(object, "name")),
        .type = text_of(object, "type"),
        .durable = is_true(object, "durable"),
        .auto_delete = is_true(object, "auto_delete"),
        .internal = is_true(object, "internal"),
        .arguments = arguments,
        .policy = {.name = policy, .settings = settings},
    };
    if (status == CONEY_OK)
        status = coney_inventory_add_exchange(one->inventory, &exchange);
    coney_table_free(arguments);
    coney_table_free(settings);
    return status;
}

static coney_status add_binding(const reading *one, const json_t *object)
{
    coney_table *arguments;
    const char *kind = text_of(object, "destination_type");
    coney_status status = table_of(&arguments, object, "arguments");
    const coney_binding binding = {
        .exchange = json_string_value(json_object_get(object, "source")),
        .destination = json_string_value(json_object_get(object, "destination")),
        .to_exchange = kind && strcmp(kind, "exchange") == 0,
        .routing_key = json_string_value(json_object_get(object, "routing_key")),
        .arguments = arguments,
    };
    if (status == CONEY_OK)
        status = coney_inventory_add_binding(one->inventory, &binding);
    coney_table_free(arguments);
    return status;
}

/* The name that the connection has given itself says more than the broker's, which is made of addresses. */
static const char *own_name(const reading *one, const char *connection)
{
    size_t i;
    const json_t *each;
    json_array_foreach(one->connections, i, each)
    {
        const char *name = text_of(each, "name");
        const char *own = text_of(json_object_get(each, "client_properties"), "connection_name");
        if (connection && name && own && strcmp(name, connection) == 0)
            return own;
    }
    return connection;
}

static coney_status add_consumer(const reading *one, const json_t *object)
{
    const coney_found_consumer consumer = {
        .queue = text_of(json_object_get(object, "queue"), "name"),
        .tag = text_of(object, "consumer_tag"),
        .connection = own_name(one, text_of(json_object_get(object, "channel_details"), "connection_name")),
    };
    return consumer.queue ? coney_inventory_add_consumer(one->inventory, &consumer) : CONEY_OK;
}

static coney_status add_all(cny_http *http, const reading *one, const char *what, const char *query, add_function *add)
{
    json_t *list;
    size_t i;
    const json_t *object;
    coney_status status = cny_http_get(http, &list, what, false, query);
    json_array_foreach(list, i, object)
    {
        if (status == CONEY_OK)
            status = add(one, object);
    }
    json_decref(list);
    bool is_of_answer = status == CONEY_E_INVALID || status == CONEY_E_CONVERSION;
    return is_of_answer ? coney_fail(CONEY_E_PROTOCOL,
                                     "management: the list of %s has an entry that cannot be read: "
                                     "element %zu; is that RabbitMQ?",
                                     what, i)
                        : status;
}

/* A user who may not see them may see the rest. */
static coney_status get_if_allowed(cny_http *http, json_t **list, const char *what, bool of_host, const char *query)
{
    coney_status status = cny_http_get(http, list, what, of_host, query);
    return status == CONEY_E_ACCESS_REFUSED ? CONEY_OK : status;
}

static coney_status read_all(cny_http *http, reading *one)
{
    coney_status status = add_all(http, one, "queues",
                                  "columns=name,type,durable,exclusive,auto_delete,arguments,policy,operator_policy,"
                                  "effective_policy_definition,messages,consumers",
                                  add_queue);
    if (status == CONEY_OK)
        status = get_if_allowed(http, &one->policies, "policies", false, "");
    if (status == CONEY_OK)
        status = add_all(http, one, "exchanges", "columns=name,type,durable,auto_delete,internal,arguments,policy",
                         add_exchange);
    if (status == CONEY_OK)
        status = add_all(http, one, "bindings", "columns=source,destination,destination_type,routing_key,arguments",
                         add_binding);
    if (status == CONEY_OK)
        status = get_if_allowed(http, &one->connections, "connections", true,
                                "columns=name,client_properties.connection_name");
    if (status == CONEY_OK)
        status = add_all(http, one, "consumers", "columns=queue.name,consumer_tag,channel_details.connection_name",
                         add_consumer);
    return status;
}

static coney_status read_inventory(coney_inventory **inventory, const coney_management_options *options)
{
    cny_http *http;
    coney_status status = cny_http_new(&http, options);
    if (status != CONEY_OK)
        return status;
    reading one = {.inventory = coney_inventory_new()};
    status = one.inventory ? read_all(http, &one) : coney_fail(CONEY_E_NO_MEMORY, "management: out of memory");
    json_decref(one.policies);
    json_decref(one.connections);
    cny_http_free(http);
    if (status == CONEY_OK)
        *inventory = one.inventory;
    else
        coney_inventory_free(one.inventory);
    return status;
}

/* A thread that was cancelled within libcurl would keep its memory and locks for ever. */
coney_status coney_management_read(coney_inventory **inventory, const coney_management_options *options)
{
    int before;
    if (inventory)
        *inventory = NULL;
    if (!inventory || !options)
        return coney_fail(CONEY_E_INVALID, "management: inventory or options is NULL");
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    coney_status status = read_inventory(inventory, options);
    pthread_setcancelstate(before, &before);
    return status;
}
