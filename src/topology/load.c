/* SPDX-License-Identifier: MIT */
/* Reads a topology from a file or a text: Coney's own format, or RabbitMQ's definitions. The text is read once to see
 * that it is JSON, which of the two it is, and where its lists are, and then list after list, because a binding may
 * stand in front of its queue. Any thread. */
#include "amqp/amqp.h"
#include "topology/definitions.h"

#include <coney/amqp/topology_file.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 64 << 20, VHOSTS = 8 };

/* ---- the first reading ---- */

typedef struct outline {
    cny_document *document;
    const char *exchanges, *queues, *bindings; /* where the lists begin; NULL: there is no such list */
    const char *vhost_list;                    /* of the virtual hosts; only its place is of interest */
    const char *unknown;                       /* the first member that neither format has; NULL: none */
    bool is_definitions;

    const char *wanted;         /* virtual host; NULL: none is chosen */
    const char *vhosts[VHOSTS]; /* the first different ones, in the document's arena */
    size_t vhost_count;         /* VHOSTS: or more */
    bool has_wanted, has_root;
} outline;

static bool is_one_of(const char *const *names, const char *name)
{
    for (; *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

static void note_vhost(outline *of, const char *vhost)
{
    of->has_root = of->has_root || strcmp(vhost, "/") == 0;
    of->has_wanted = of->has_wanted || (of->wanted && strcmp(vhost, of->wanted) == 0);
    for (size_t i = 0; i < of->vhost_count; i++) {
        if (strcmp(of->vhosts[i], vhost) == 0)
            return;
    }
    if (of->vhost_count < VHOSTS)
        of->vhosts[of->vhost_count++] = vhost;
}

/* Goes over a value, which is the name of a virtual host if it is a string. */
static coney_status read_vhost(outline *of)
{
    cny_json_reader *reader = &of->document->reader;
    cny_slice slice;
    const char *vhost;
    size_t size;
    if (cny_json_peek(reader) != '"')
        return cny_json_skip(reader, &slice);
    coney_status status = cny_json_string(reader, &slice);
    if (status == CONEY_OK)
        status = cny_document_text(of->document, &slice, &vhost, &size);
    if (status == CONEY_OK)
        note_vhost(of, vhost);
    return status;
}

/* Goes over a thing. `vhost_member` has its virtual host. */
static coney_status outline_thing(outline *of, const char *vhost_member)
{
    static const char *const of_definitions[] = {"vhost", "durable", "source", "destination_type", NULL};
    cny_json_reader *reader = &of->document->reader;
    cny_slice slice;
    bool more = true;
    if (cny_json_peek(reader) != '{')
        return cny_json_skip(reader, &slice); /* refused when it is read again */
    coney_status status = cny_json_enter(reader, '{');
    for (bool is_first = true; status == CONEY_OK; is_first = false) {
        status = cny_json_next_member(reader, is_first, &more, &slice);
        if (status != CONEY_OK || !more)
            break;
        char name[32] = "";
        if (!slice.is_escaped && slice.size < sizeof name)
            memcpy(name, slice.data, slice.size);
        of->is_definitions = of->is_definitions || is_one_of(of_definitions, name);
        status = strcmp(name, vhost_member) == 0 ? read_vhost(of) : cny_json_skip(reader, &slice);
    }
    return status;
}

static coney_status outline_list(outline *of, const char **place, const char *name)
{
    cny_json_reader *reader = &of->document->reader;
    bool more = true;
    char first = cny_json_peek(reader);
    if (*place)
        return cny_document_fail(of->document, reader->at, "%s: the member is there twice", name);
    *place = reader->at;
    if (first != '[')
        return cny_document_fail(of->document, reader->at, "%s: expected an array", name);
    coney_status status = cny_json_enter(reader, '[');
    for (bool is_first = true; status == CONEY_OK && more; is_first = false) {
        status = cny_json_next_element(reader, is_first, &more);
        if (status == CONEY_OK && more)
            status = outline_thing(of, place == &of->vhost_list ? "name" : "vhost");
    }
    return status;
}

static coney_status outline_member(outline *of, const char *name, const char *at)
{
    static const char *const of_definitions[] = {"rabbit_version",
                                                 "rabbitmq_version",
                                                 "rabbitmq_definition_format",
                                                 "product_name",
                                                 "product_version",
                                                 "users",
                                                 "permissions",
                                                 "topic_permissions",
                                                 "global_parameters",
                                                 "parameters",
                                                 "policies",
                                                 "original_cluster_name",
                                                 "explanation",
                                                 "vhosts",
                                                 "original_vhost_name",
                                                 NULL};
    cny_slice ignored;
    of->is_definitions = of->is_definitions || is_one_of(of_definitions, name);
    if (strcmp(name, "exchanges") == 0)
        return outline_list(of, &of->exchanges, name);
    if (strcmp(name, "queues") == 0)
        return outline_list(of, &of->queues, name);
    if (strcmp(name, "bindings") == 0)
        return outline_list(of, &of->bindings, name);
    if (strcmp(name, "vhosts") == 0)
        return outline_list(of, &of->vhost_list, name);
    if (!of->unknown && strcmp(name, "$schema") != 0)
        of->unknown = at;
    return cny_json_skip(&of->document->reader, &ignored);
}

static coney_status outline_members(outline *of)
{
    cny_json_reader *reader = &of->document->reader;
    cny_slice slice;
    bool more = true;
    if (cny_json_peek(reader) != '{')
        return cny_document_fail(of->document, reader->at, "expected an object with queues, exchanges and bindings");
    coney_status status = cny_json_enter(reader, '{');
    for (bool is_first = true; status == CONEY_OK; is_first = false) {
        const char *name;
        size_t size;
        status = cny_json_next_member(reader, is_first, &more, &slice);
        if (status == CONEY_OK && !more)
            return cny_json_end(reader);
        if (status == CONEY_OK)
            status = cny_document_text(of->document, &slice, &name, &size);
        if (status == CONEY_OK)
            status = outline_member(of, name, slice.data - 1);
    }
    return status;
}

/* A failure of the reader gets the line, too. */
static coney_status make_outline(outline *of, const char *json, size_t size)
{
    cny_document *document = of->document;
    ptrdiff_t wrong = cny_utf8_error(json, size);
    if (wrong >= 0)
        return cny_document_fail(document, json + wrong, "the text is not UTF-8 here");
    coney_status status = outline_members(of);
    if (status == CONEY_E_CONVERSION) {
        char sentence[512];
        snprintf(sentence, sizeof sentence, "%s", coney_last_error());
        return cny_document_fail(document, document->reader.at, "%s", sentence);
    }
    if (status != CONEY_OK || !of->unknown || of->is_definitions)
        return status;
    const char *end = strchr(of->unknown + 1, '"');
    return cny_document_fail(document, of->unknown,
                             "%.*s: there is no such member; a topology has \"queues\", \"exchanges\" and \"bindings\"",
                             (int)(end && end - of->unknown < 64 ? end - of->unknown + 1 : 64), of->unknown);
}

/* ---- definitions ---- */

static coney_status fail_vhost(const outline *of)
{
    char names[512] = "";
    for (size_t i = 0; i < of->vhost_count; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s'%.48s'", i > 0 ? ", " : "", of->vhosts[i]);
    }
    const char *source = of->document->source ? of->document->source : "definitions";
    const char *more = of->vhost_count == VHOSTS ? " and perhaps others" : "";
    if (of->wanted)
        return cny_fail(CONEY_E_INVALID, "%s: there is no virtual host '%s'; set vhost to one of %s%s", source,
                        of->wanted, names, more);
    return cny_fail(CONEY_E_INVALID, "%s: there is no virtual host '/' but several others; set vhost to one of %s%s",
                    source, names, more);
}

static coney_status choose_vhost(const outline *of, const char **vhost)
{
    *vhost = NULL;
    if (of->vhost_count == 0)
        return CONEY_OK;
    *vhost = of->wanted ? of->wanted : of->vhost_count == 1 ? of->vhosts[0] : "/";
    return (of->wanted ? of->has_wanted : of->vhost_count == 1 || of->has_root) ? CONEY_OK : fail_vhost(of);
}

/* ---- Coney's own format ---- */

static coney_status add_exchange(cny_document *document, void *thing, void *user)
{
    const coney_exchange *exchange = thing;
    return cny_document_refused(document, coney_topology_add_exchange(user, exchange), exchange->name);
}

static coney_status add_queue(cny_document *document, void *thing, void *user)
{
    const cny_file_queue *from = thing;
    if (!from->queue.name && !from->queue.anonymous)
        return cny_document_fail_thing(document, NULL,
                                       "the name is missing, and anonymous is not set; write one of "
                                       "the two");
    if (!from->ref)
        return cny_document_refused(document, coney_topology_add_queue(user, &from->queue), from->queue.name);
    if (!from->queue.anonymous)
        return cny_document_fail_thing(document, "ref",
                                       "the queue is not anonymous, so bindings name it by its name; leave ref out");
    if (cny_topology_find_ref(user, from->ref))
        return cny_document_fail_thing(document, "ref", "another queue has the ref '%.64s'; give each its own",
                                       from->ref);
    return cny_document_refused(document, cny_topology_add_queue_with_ref(user, &from->queue, from->ref), NULL);
}

static coney_status find_destination(const cny_document *document, const coney_topology *topology,
                                     cny_file_binding *from)
{
    coney_binding *binding = &from->binding;
    if (binding->destination && from->destination_ref)
        return cny_document_fail_thing(document, "destination_ref",
                                       "destination and destination_ref are both there; leave out one of the two");
    if (binding->to_exchange && from->destination_ref)
        return cny_document_fail_thing(document, "destination_ref",
                                       "to_exchange is set, and a ref is that of a queue; write destination instead");
    const cny_anonymous *queue = from->destination_ref ? cny_topology_find_ref(topology, from->destination_ref) : NULL;
    if (from->destination_ref && !queue)
        return cny_document_fail_thing(document, "destination_ref", "no queue of the file has the ref '%.64s'",
                                       from->destination_ref);
    if (queue)
        binding->destination = queue->name;
    if (!binding->exchange || !binding->destination)
        return cny_document_fail_thing(document, NULL, "the %s is missing",
                                       binding->exchange ? "destination" : "exchange");
    return CONEY_OK;
}

static coney_status add_binding(cny_document *document, void *thing, void *user)
{
    cny_file_binding *from = thing;
    coney_status status = find_destination(document, user, from);
    if (status == CONEY_OK)
        status =
            cny_document_refused(document, coney_topology_add_binding(user, &from->binding), from->binding.exchange);
    return status;
}

static coney_status read_own(coney_topology *topology, cny_document *document, const outline *of)
{
    coney_status status = CONEY_OK;
    if (of->exchanges)
        status = cny_document_read(document, of->exchanges, &cny_file_exchanges, NULL, add_exchange, topology);
    if (status == CONEY_OK && of->queues)
        status = cny_document_read(document, of->queues, &cny_file_queues, NULL, add_queue, topology);
    if (status == CONEY_OK && of->bindings)
        status = cny_document_read(document, of->bindings, &cny_file_bindings, NULL, add_binding, topology);
    return status;
}

/* ---- all of it ---- */

static coney_status read_outlined(coney_topology *topology, const outline *of, const char *source, const char *json,
                                  size_t size)
{
    cny_document document;
    const char *vhost;
    cny_document_init(&document, source, json, size);
    coney_status status = of->is_definitions ? choose_vhost(of, &vhost) : read_own(topology, &document, of);
    if (status == CONEY_OK && of->is_definitions)
        status = cny_definitions_read(topology, &document, vhost, of->exchanges, of->queues, of->bindings);
    cny_document_free(&document);
    return status;
}

static coney_status parse(coney_topology **topology, const char *source, const char *json, size_t size,
                          const coney_topology_file_options *options)
{
    cny_document document; /* the first reading has one of its own, whose arena lives until the end */
    outline of = {.document = &document, .wanted = options ? options->vhost : NULL};
    cny_document_init(&document, source, json, size);
    coney_topology *made = coney_topology_new();
    coney_status status = made ? make_outline(&of, json, size) : cny_fail_memory();
    if (status == CONEY_OK)
        status = read_outlined(made, &of, source, json, size);
    cny_document_free(&document);
    if (status == CONEY_OK)
        *topology = made;
    else
        coney_topology_free(made);
    return status;
}

coney_status coney_topology_parse(coney_topology **topology, const char *json, size_t size,
                                  const coney_topology_file_options *options)
{
    CNY_DISABLE_CANCEL();
    if (topology)
        *topology = NULL;
    if (!topology || !json)
        return cny_fail(CONEY_E_INVALID, "parse a topology: %s is NULL", topology ? "json" : "topology");
    if (size > MOST_BYTES)
        return cny_fail(CONEY_E_INVALID, "parse a topology: the text has %zu bytes; at most 64 MiB are read", size);
    return parse(topology, NULL, json, size, options);
}

static coney_status read_all(cny_buffer *text, int file, const char *path)
{
    for (;;) {
        if (!cny_buffer_reserve(text, text->size / 2 + 65536))
            return cny_fail_memory();
        ssize_t count = read(file, text->data + text->size, text->capacity - text->size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return cny_fail(CONEY_E_SYSTEM, "%s: %s", path, cny_errno_text(errno));
        if (count == 0)
            return CONEY_OK;
        text->size += (size_t)count;
        if (text->size > MOST_BYTES)
            return cny_fail(CONEY_E_INVALID, "%s: the file has more than 64 MiB, and at most those are read", path);
    }
}

coney_status coney_topology_load(coney_topology **topology, const char *path,
                                 const coney_topology_file_options *options)
{
    CNY_DISABLE_CANCEL();
    if (topology)
        *topology = NULL;
    if (!topology || !path)
        return cny_fail(CONEY_E_INVALID, "load a topology: %s is NULL", topology ? "path" : "topology");
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return cny_fail(CONEY_E_SYSTEM, "%s: %s", path, cny_errno_text(errno));
    cny_buffer text = {0};
    coney_status status = read_all(&text, file, path);
    close(file);
    if (status == CONEY_OK)
        status = parse(topology, path, (const char *)text.data, text.size, options);
    cny_buffer_free(&text);
    return status;
}

const char *coney_topology_name_of_ref(const coney_topology *topology, const char *ref)
{
    const cny_anonymous *found = topology && ref ? cny_topology_find_ref(topology, ref) : NULL;
    return found ? found->name : NULL;
}
