/* SPDX-License-Identifier: MIT */
/* Writes a topology as JSON, as a text or a file. Any thread. It must not know how a file is read. */
#include "amqp/amqp.h"
#include "topology/file_fields.h"

#include <coney/amqp/table_json.h>
#include <coney/amqp/topology_file.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 1000 };

/* ---- as JSON ---- */

static coney_status arguments_to_json(json_t **json, const coney_table *table)
{
    const coney_value whole = {.type = CONEY_TABLE, .as.table = table};
    if (cny_count_entries(&whole) > MOST_ARGUMENTS + 1)
        return cny_fail(CONEY_E_INVALID, "arguments: there are more than 1,000 entries in all, which no file may have");
    coney_status status = coney_table_to_json(json, table);
    return status == CONEY_E_CONVERSION ? cny_fail_in("arguments") : status;
}

/* *json is NULL if the member has its default, which a file leaves out. */
static coney_status member_to_json(json_t **json, const cny_file_field *field, const void *member)
{
    bool is_set = false;
    *json = NULL;
    switch (field->kind) {
    case CNY_FILE_TEXT:
        if ((is_set = *(const char *const *)member != NULL))
            *json = json_string(*(const char *const *)member);
        break;
    case CNY_FILE_FLAG:
        if ((is_set = *(const bool *)member))
            *json = json_true();
        break;
    case CNY_FILE_INT:
        if ((is_set = *(const int *)member != 0))
            *json = json_integer(*(const int *)member);
        break;
    case CNY_FILE_INT64:
        if ((is_set = *(const int64_t *)member != 0))
            *json = json_integer(*(const int64_t *)member);
        break;
    case CNY_FILE_WORD:
        if ((is_set = *(const int *)member != 0))
            *json = json_string(field->words[*(const int *)member]);
        break;
    case CNY_FILE_TABLE:
        if (coney_table_size(*(const coney_table *const *)member) > 0)
            return arguments_to_json(json, *(const coney_table *const *)member);
        break;
    }
    return is_set && !*json ? cny_fail_memory() : CONEY_OK;
}

static coney_status add_thing(json_t *list, const cny_file_fields *fields, const void *thing)
{
    json_t *object = json_object();
    coney_status status = object ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < fields->count; i++) {
        json_t *member = NULL;
        status = member_to_json(&member, &fields->fields[i], (const char *)thing + fields->fields[i].offset);
        if (status == CONEY_OK && member && json_object_set_new(object, fields->fields[i].name, member) != 0)
            status = cny_fail_memory();
    }
    if (status == CONEY_OK && json_array_append(list, object) != 0)
        status = cny_fail_memory();
    json_decref(object);
    return status;
}

/* ---- refs of anonymous queues ---- */

/* A queue whose name was made up is anonymous in a file, because another process makes up another name. */
enum { REF_SIZE = 32 };

static const char *ref_of(const coney_topology *topology, const cny_anonymous *queue, char made[REF_SIZE])
{
    if (queue->ref)
        return queue->ref;
    size_t number = (size_t)(queue - (const cny_anonymous *)(const void *)topology->anonymous.data) + 1;
    snprintf(made, REF_SIZE, "anonymous-%zu", number);
    while (cny_topology_find_ref(topology, made)) /* the refs that others have; numbers beyond are of nobody */
        snprintf(made, REF_SIZE, "anonymous-%zu", number += topology->anonymous.size / sizeof *queue);
    return made;
}

static coney_status add_queue(json_t *list, const coney_topology *topology, const coney_queue *queue)
{
    char made[REF_SIZE];
    const cny_anonymous *anonymous = cny_topology_find_anonymous(topology, queue->name);
    cny_file_queue file = {.queue = *queue};
    if (anonymous) {
        file.ref = ref_of(topology, anonymous, made);
        file.queue.anonymous = true;
        file.queue.name = NULL;
        file.queue.name_prefix = anonymous->prefix;
        file.queue.transient = file.queue.exclusive = file.queue.auto_delete = false; /* anonymous says so */
    }
    coney_status status = add_thing(list, &cny_file_queues, &file);
    return status == CONEY_OK ? status : cny_fail_in("queue '%s'", queue->name);
}

static coney_status add_binding(json_t *list, const coney_topology *topology, const coney_binding *binding)
{
    char made[REF_SIZE];
    const cny_anonymous *anonymous =
        binding->to_exchange ? NULL : cny_topology_find_anonymous(topology, binding->destination);
    cny_file_binding file = {.binding = *binding};
    if (anonymous) {
        file.binding.destination = NULL;
        file.destination_ref = ref_of(topology, anonymous, made);
    }
    coney_status status = add_thing(list, &cny_file_bindings, &file);
    return status == CONEY_OK ? status
                              : cny_fail_in("binding of '%s' to '%s'", binding->destination, binding->exchange);
}

static coney_status add_exchange(json_t *list, const coney_exchange *exchange)
{
    coney_status status = add_thing(list, &cny_file_exchanges, exchange);
    return status == CONEY_OK ? status : cny_fail_in("exchange '%s'", exchange->name);
}

/* ---- the text ---- */

static json_t *add_list(json_t *json, const cny_file_fields *fields)
{
    json_t *list = json_array();
    return list && json_object_set_new(json, fields->list, list) == 0 ? list : NULL;
}

static coney_status add_lists(json_t *json, const coney_topology *topology)
{
    size_t exchanges, queues, bindings;
    const coney_exchange *all_exchanges = cny_topology_exchanges(topology, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(topology, &queues);
    const coney_binding *all_bindings = cny_topology_bindings(topology, &bindings);
    json_t *exchange_list = add_list(json, &cny_file_exchanges);
    json_t *queue_list = add_list(json, &cny_file_queues);
    json_t *binding_list = add_list(json, &cny_file_bindings);
    coney_status status = exchange_list && queue_list && binding_list ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < exchanges; i++)
        status = add_exchange(exchange_list, &all_exchanges[i]);
    for (size_t i = 0; status == CONEY_OK && i < queues; i++)
        status = add_queue(queue_list, topology, &all_queues[i]);
    for (size_t i = 0; status == CONEY_OK && i < bindings; i++)
        status = add_binding(binding_list, topology, &all_bindings[i]);
    return status;
}

static int append(const char *piece, size_t size, void *text)
{
    return cny_buffer_append(text, piece, size) ? 0 : -1;
}

static coney_status write_text(cny_buffer *text, const coney_topology *topology)
{
    json_t *json = topology->failure ? NULL : json_object();
    coney_status status = topology->failure ? cny_error_raise(topology->failure) : json ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK)
        status = add_lists(json, topology);
    if (status == CONEY_OK && (json_dump_callback(json, append, text, JSON_INDENT(2)) != 0 ||
                               !cny_buffer_append(text, "\n", 2))) /* and a NUL */
        status = cny_fail_memory();
    json_decref(json);
    return status;
}

coney_status coney_topology_to_json(char **json, const coney_topology *topology)
{
    CNY_DISABLE_CANCEL();
    cny_buffer text = {0};
    if (json)
        *json = NULL;
    if (!json || !topology)
        return cny_fail(CONEY_E_INVALID, "topology to JSON: %s is NULL", json ? "topology" : "json");
    coney_status status = write_text(&text, topology);
    if (status == CONEY_OK)
        *json = (char *)text.data;
    else
        cny_buffer_free(&text);
    return status;
}

/* ---- the file ---- */

static coney_status fail_file(const char *path, const char *doing)
{
    int number = errno;
    return cny_fail(CONEY_E_SYSTEM, "save a topology to %s: %s: %s", path, doing, cny_errno_text(number));
}

static bool write_all(int file, const void *bytes, size_t size)
{
    for (const char *at = bytes; size > 0;) {
        ssize_t count = write(file, at, size);
        if (count < 0 && errno != EINTR)
            return false;
        at += count > 0 ? count : 0;
        size -= count > 0 ? (size_t)count : 0;
    }
    return true;
}

/* Owner and group can be kept only by those who may change them. */
static bool keep_permissions(int file, const struct stat *old)
{
    if (!old)
        return true;
    int ignored = fchown(file, old->st_uid, old->st_gid);
    (void)ignored;
    return fchmod(file, old->st_mode & 07777) == 0;
}

/* The new name is on the disk then, too. Some file systems cannot do that, and the file is whole without it. */
static void sync_folder(const char *path)
{
    char *copy = cny_strdup(path);
    int folder = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (folder >= 0) {
        fsync(folder);
        close(folder);
    }
    cny_free(copy);
}

static coney_status replace(const char *path, const char *beside, const struct stat *old, const cny_buffer *text)
{
    int file = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0)
        return fail_file(path, "a new file beside it");
    coney_status status = CONEY_OK;
    if (!write_all(file, text->data, text->size - 1))
        status = fail_file(path, "writing");
    else if (!keep_permissions(file, old))
        status = fail_file(path, "keeping its permissions");
    else if (fsync(file) != 0)
        status = fail_file(path, "bringing it to the disk");
    if (close(file) != 0 && status == CONEY_OK)
        status = fail_file(path, "closing");
    if (status == CONEY_OK && rename(beside, path) != 0)
        status = fail_file(path, "renaming the new file");
    if (status == CONEY_OK)
        sync_folder(path);
    else
        unlink(beside);
    return status;
}

static coney_status write_file(const char *path, const cny_buffer *text)
{
    struct stat old;
    char uuid[37];
    bool is_there = stat(path, &old) == 0;
    if (!is_there && errno != ENOENT)
        return fail_file(path, "looking at it");
    if (is_there && !S_ISREG(old.st_mode))
        return cny_fail(CONEY_E_SYSTEM, "save a topology to %s: it is no regular file, so no other can take its place",
                        path);
    size_t room = strlen(path) + sizeof uuid + 1;
    char *beside = cny_realloc(NULL, room);
    if (!beside)
        return cny_fail_memory();
    coney_status status = cny_uuid(uuid) ? CONEY_OK : cny_fail(CONEY_E_SYSTEM, "the system gives no random numbers");
    snprintf(beside, room, "%s.%s", path, uuid);
    if (status == CONEY_OK)
        status = replace(path, beside, is_there ? &old : NULL, text);
    cny_free(beside);
    return status;
}

coney_status coney_topology_save(const coney_topology *topology, const char *path)
{
    CNY_DISABLE_CANCEL();
    cny_buffer text = {0};
    if (!topology || !path)
        return cny_fail(CONEY_E_INVALID, "save a topology: %s is NULL", topology ? "path" : "topology");
    coney_status status = write_text(&text, topology);
    char *followed = status == CONEY_OK ? realpath(path, NULL) : NULL; /* NULL: there is no such file yet */
    if (status == CONEY_OK)
        status = write_file(followed ? followed : path, &text);
    free(followed); /* from the C library */
    cny_buffer_free(&text);
    return status;
}
