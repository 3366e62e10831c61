/* SPDX-License-Identifier: MIT */
/* A JSON document whose mistakes are told with file, line and path: "topology.json:12: queues[3].kind: ...". The text
 * must have been read once without an error, so only its types and names can be wrong. */
#ifndef CNY_TOPOLOGY_DOCUMENT_H
#define CNY_TOPOLOGY_DOCUMENT_H

#include "amqp/json_reader.h"
#include "topology/file_fields.h"

typedef struct cny_document {
    const char *source; /* the file's name; NULL: there is none */
    cny_json_reader reader;

    /* Of the thing that is read. */
    const cny_file_fields *fields;
    size_t index;
    const char *begin;
    const char *places[CNY_FILE_MOST_FIELDS]; /* of its members, as `fields` has them; NULL: not given */
    cny_arena texts;
    coney_table *arguments; /* NULL: none */
} cny_document;

void cny_document_init(cny_document *document, const char *source, const char *json, size_t size);
void cny_document_free(cny_document *document);

/* CONEY_E_INVALID: with the line of `at`. */
coney_status cny_document_fail(const cny_document *document, const char *at, const char *format, ...) CNY_PRINTF(3, 4);

/* The same of the thing that is read; member NULL: of the thing as a whole. */
coney_status cny_document_fail_thing(const cny_document *document, const char *member, const char *format, ...)
    CNY_PRINTF(3, 4);

/* The thing was refused by a check, whose sentence is recorded and begins with the thing's name: tells where. Returns
 * the recorded status. */
coney_status cny_document_refused(const cny_document *document, coney_status status, const char *name);

/* Is the member there? It must be one of `fields`. */
bool cny_document_has(const cny_document *document, const char *member);

/* The name of a member, or the text of a string, as a text of the document's arena. */
coney_status cny_document_text(cny_document *document, const cny_slice *slice, const char **text, size_t *size);

/* Reads elements of an array, which begins at `at`, one after the other into the same struct, and calls `add` for each.
 * The texts live until the next element is read. Members that `fields` does not have are an error; with `own`, which
 * are the members of Coney's own format, an error only if those have them, and left out else. */
typedef coney_status cny_document_add(cny_document *document, void *thing, void *user);
coney_status cny_document_read(cny_document *document, const char *at, const cny_file_fields *fields,
                               const cny_file_fields *own, cny_document_add *add, void *user);

#endif
