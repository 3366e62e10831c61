/* SPDX-License-Identifier: MIT */
/* Reads RabbitMQ's definitions into a topology. An argument becomes the field that sends the same argument, if there is
 * one, so that what a program adds in code is the same thing. Any thread. It must not know how a file is found. */
#include "topology/definitions.h"

#include "amqp/amqp.h"
#include "topology/fields.h"
#include "topology/same.h"

#include <limits.h>
#include <string.h>

/* ---- what RabbitMQ writes ---- */

typedef struct defined_queue {
    const char *name, *vhost, *type;
    bool durable, auto_delete, exclusive;
    const coney_table *arguments;
} defined_queue;

typedef struct defined_exchange {
    const char *name, *vhost, *type;
    bool durable, auto_delete, internal;
    const coney_table *arguments;
} defined_exchange;

typedef struct defined_binding {
    const char *source, *vhost, *destination, *routing_key;
    int destination_type;
    const coney_table *arguments;
} defined_binding;

static const char *const destination_types[] = {"queue", "exchange"};

static const cny_file_field queue_fields[] = {
    CNY_FILE_FIELD(defined_queue, TEXT, name),        CNY_FILE_FIELD(defined_queue, TEXT, vhost),
    CNY_FILE_FIELD(defined_queue, TEXT, type),        CNY_FILE_FIELD(defined_queue, FLAG, durable),
    CNY_FILE_FIELD(defined_queue, FLAG, auto_delete), CNY_FILE_FIELD(defined_queue, FLAG, exclusive),
    CNY_FILE_FIELD(defined_queue, TABLE, arguments),
};

static const cny_file_field exchange_fields[] = {
    CNY_FILE_FIELD(defined_exchange, TEXT, name),        CNY_FILE_FIELD(defined_exchange, TEXT, vhost),
    CNY_FILE_FIELD(defined_exchange, TEXT, type),        CNY_FILE_FIELD(defined_exchange, FLAG, durable),
    CNY_FILE_FIELD(defined_exchange, FLAG, auto_delete), CNY_FILE_FIELD(defined_exchange, FLAG, internal),
    CNY_FILE_FIELD(defined_exchange, TABLE, arguments),
};

static const cny_file_field binding_fields[] = {
    CNY_FILE_FIELD(defined_binding, TEXT, source),
    CNY_FILE_FIELD(defined_binding, TEXT, vhost),
    CNY_FILE_FIELD(defined_binding, TEXT, destination),
    CNY_FILE_WORDS(defined_binding, destination_type, destination_types),
    CNY_FILE_FIELD(defined_binding, TEXT, routing_key),
    CNY_FILE_FIELD(defined_binding, TABLE, arguments),
};

static const cny_file_fields defined_queues = CNY_FILE_FIELDS("queues", "queue", defined_queue, queue_fields);
static const cny_file_fields defined_exchanges =
    CNY_FILE_FIELDS("exchanges", "exchange", defined_exchange, exchange_fields);
static const cny_file_fields defined_bindings = CNY_FILE_FIELDS("bindings", "binding", defined_binding, binding_fields);

typedef struct reading {
    coney_topology *topology;
    const char *vhost; /* NULL: all */
} reading;

static bool is_wanted(const reading *it, const char *vhost)
{
    return !it->vhost || !vhost || strcmp(it->vhost, vhost) == 0;
}

static coney_status require(const cny_document *document, const char *const *members)
{
    for (; *members; members++) {
        if (!cny_document_has(document, *members))
            return cny_document_fail_thing(document, NULL, "the member \"%s\" is missing, which RabbitMQ always writes",
                                           *members);
    }
    return CONEY_OK;
}

/* ---- arguments become fields ---- */

/* Sets the member to what the argument says, as far as a member of this kind can say it. */
static void set_member(const cny_file_field *field, char *thing, const coney_value *value)
{
    void *member = thing + field->offset;
    const char *text = value->type == CONEY_STRING ? value->as.bytes.data : NULL;
    bool is_integer = value->type <= CONEY_INT64 && value->type >= CONEY_INT8;
    int word;
    switch (field->kind) {
    case CNY_FILE_TEXT: *(const char **)member = text; break;
    case CNY_FILE_FLAG: *(bool *)member = true; break;
    case CNY_FILE_INT64: *(int64_t *)member = is_integer ? value->as.integer : 0; break;
    case CNY_FILE_INT:
        if (is_integer && value->as.integer >= INT_MIN && value->as.integer <= INT_MAX)
            *(int *)member = (int)value->as.integer;
        break;
    case CNY_FILE_WORD:
        if (text && cny_file_word(field, text, value->as.bytes.size, &word))
            *(int *)member = word;
        break;
    case CNY_FILE_TABLE: break;
    }
}

/* Which members send arguments, and what they send. */
typedef struct sender {
    const cny_file_fields *fields;
    size_t count;
    void (*read)(cny_typed_field *fields, const void *thing);
} sender;

static void read_queue(cny_typed_field *fields, const void *queue)
{
    cny_read_queue_fields(fields, queue);
}

static void read_exchange(cny_typed_field *fields, const void *exchange)
{
    cny_read_exchange_fields(fields, exchange);
}

static const sender queue_sender = {&cny_file_queues, CNY_QUEUE_FIELDS, read_queue};
static const sender exchange_sender = {&cny_file_exchanges, CNY_EXCHANGE_FIELDS, read_exchange};

/* Sets each member that then sends an argument exactly as it is. `rest` becomes the arguments that no member sends. */
static coney_status set_members(const sender *by, void *thing, const coney_table *arguments, coney_table *rest)
{
    cny_typed_field sent[CNY_QUEUE_FIELDS];
    char before[sizeof(cny_file_queue)];
    coney_status status = CONEY_OK;
    for (size_t i = 0; i < by->count; i++) { /* the kind of a queue comes first, because names depend on it */
        by->read(sent, thing);
        const coney_value *value = coney_table_get(arguments, sent[i].argument);
        const cny_file_field *field = cny_file_field_named(by->fields, sent[i].field, strlen(sent[i].field));
        bool can_change = field && strcmp(field->name, "delayed") != 0; /* that would change the type as well */
        if (!value || !can_change || cny_same_values(&sent[i].value, value))
            continue;
        memcpy(before, thing, by->fields->size);
        set_member(field, thing, value);
        by->read(sent, thing);
        if (!cny_same_values(&sent[i].value, value))
            memcpy(thing, before, by->fields->size);
    }
    by->read(sent, thing);
    for (size_t i = 0; status == CONEY_OK && i < coney_table_size(arguments); i++) {
        const char *name = coney_table_name_at(arguments, i);
        const coney_value *value = coney_table_value_at(arguments, i);
        bool is_sent = false;
        for (size_t k = 0; k < by->count; k++)
            is_sent = is_sent || (strcmp(sent[k].argument, name) == 0 && cny_same_values(&sent[k].value, value));
        if (!is_sent)
            status = coney_table_set(rest, name, value);
    }
    return status;
}

/* ---- things ---- */

static coney_status add_checked_queue(reading *it, coney_queue queue, const coney_table *arguments)
{
    cny_file_queue with_fields = {.queue = queue};
    coney_table *rest = coney_table_new();
    coney_status status = rest ? set_members(&queue_sender, &with_fields, arguments, rest) : cny_fail_memory();
    with_fields.queue.arguments = rest;
    queue.arguments = arguments;
    /* What the broker has taken need not be what Coney would send as a field: then all arguments stay arguments. */
    if (status == CONEY_OK)
        status = coney_topology_add_queue(
            it->topology, cny_queue_check(&with_fields.queue) == CONEY_OK ? &with_fields.queue : &queue);
    coney_table_free(rest);
    return status;
}

/* RabbitMQ from 4.0 on tells the type beside the arguments, too, and there names classic queues of which no argument
 * says that they are. */
static coney_status name_type(coney_table **arguments, const defined_queue *from)
{
    bool is_named =
        !from->type || strcmp(from->type, "classic") == 0 || coney_table_get(from->arguments, "x-queue-type");
    const cny_typed_field type = {"type", "x-queue-type", coney_value_string(from->type ? from->type : "")};
    return cny_make_arguments(arguments, from->arguments, &type, is_named ? 0 : 1);
}

static coney_status add_queue(cny_document *document, void *thing, void *user)
{
    static const char *const required[] = {"name", "durable", NULL};
    reading *it = user;
    const defined_queue *from = thing;
    coney_status status = require(document, required);
    if (status != CONEY_OK || !is_wanted(it, from->vhost))
        return status;
    coney_table *arguments = NULL;
    status = name_type(&arguments, from);
    if (status == CONEY_OK)
        status = add_checked_queue(it,
                                   (coney_queue){.name = from->name,
                                                 .transient = !from->durable,
                                                 .exclusive = from->exclusive,
                                                 .auto_delete = from->auto_delete,
                                                 .external = cny_is_of_broker(from->name)},
                                   arguments);
    coney_table_free(arguments);
    return cny_document_refused(document, status, from->name);
}

static void set_type(coney_exchange *exchange, const char *type)
{
    const cny_file_field *field = cny_file_field_named(&cny_file_exchanges, "type", strlen("type"));
    int word;
    if (cny_file_word(field, type, strlen(type), &word))
        exchange->type = (coney_exchange_type)word;
    else
        exchange->custom_type = type;
}

static coney_status add_exchange(cny_document *document, void *thing, void *user)
{
    static const char *const required[] = {"name", "type", "durable", NULL};
    reading *it = user;
    const defined_exchange *from = thing;
    coney_status status = require(document, required);
    if (status != CONEY_OK || !is_wanted(it, from->vhost) || !*from->name || cny_is_of_broker(from->name))
        return status;
    const char *delayed =
        strcmp(from->type, "x-delayed-message") == 0 ? coney_table_get_string(from->arguments, "x-delayed-type") : NULL;
    coney_exchange plain = {.name = from->name,
                            .transient = !from->durable,
                            .auto_delete = from->auto_delete,
                            .internal = from->internal,
                            .delayed = delayed != NULL},
                   with_fields;
    coney_table *rest = coney_table_new();
    set_type(&plain, delayed ? delayed : from->type);
    with_fields = plain;
    status = rest ? set_members(&exchange_sender, &with_fields, from->arguments, rest) : cny_fail_memory();
    with_fields.arguments = rest;
    plain.arguments = from->arguments;
    if (status == CONEY_OK)
        status = coney_topology_add_exchange(it->topology,
                                             cny_exchange_check(&with_fields) == CONEY_OK ? &with_fields : &plain);
    coney_table_free(rest);
    return cny_document_refused(document, status, from->name);
}

static coney_status add_binding(cny_document *document, void *thing, void *user)
{
    static const char *const required[] = {"source", "destination", "destination_type", NULL};
    reading *it = user;
    const defined_binding *from = thing;
    coney_status status = require(document, required);
    if (status != CONEY_OK || !is_wanted(it, from->vhost) || !*from->source)
        return status;
    status = coney_topology_add_binding(it->topology, &(coney_binding){.exchange = from->source,
                                                                       .destination = from->destination,
                                                                       .to_exchange = from->destination_type == 1,
                                                                       .routing_key = from->routing_key,
                                                                       .arguments = from->arguments});
    return cny_document_refused(document, status, from->source);
}

coney_status cny_definitions_read(coney_topology *topology, cny_document *document, const char *vhost,
                                  const char *exchanges, const char *queues, const char *bindings)
{
    reading it = {.topology = topology, .vhost = vhost};
    coney_status status = CONEY_OK;
    if (exchanges)
        status = cny_document_read(document, exchanges, &defined_exchanges, &cny_file_exchanges, add_exchange, &it);
    if (status == CONEY_OK && queues)
        status = cny_document_read(document, queues, &defined_queues, &cny_file_queues, add_queue, &it);
    if (status == CONEY_OK && bindings)
        status = cny_document_read(document, bindings, &defined_bindings, &cny_file_bindings, add_binding, &it);
    return status;
}
