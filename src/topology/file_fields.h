/* SPDX-License-Identifier: MIT */
/* The members of the things in a topology's file, and where the structs have them. */
#ifndef CNY_TOPOLOGY_FILE_FIELDS_H
#define CNY_TOPOLOGY_FILE_FIELDS_H

#include "topology/topology.h"

typedef enum cny_file_kind {
    CNY_FILE_TEXT,
    CNY_FILE_FLAG,
    CNY_FILE_INT,
    CNY_FILE_INT64,
    CNY_FILE_WORD, /* an enumeration */
    CNY_FILE_TABLE,
} cny_file_kind;

typedef struct cny_file_field {
    const char *name;
    cny_file_kind kind;
    size_t offset;
    const char *const *words; /* NULL at the place of a value that is left out of a file */
    size_t word_count;
} cny_file_field;

typedef struct cny_file_fields {
    const char *list; /* "queues" */
    const char *thing;
    const cny_file_field *fields;
    size_t count;
    size_t size; /* of the struct */
} cny_file_fields;

enum { CNY_FILE_MOST_FIELDS = 48 };

/* What a file says of a thing: the public struct first. */
typedef struct cny_file_queue {
    coney_queue queue;
    const char *ref; /* of an anonymous queue */
} cny_file_queue;

typedef struct cny_file_binding {
    coney_binding binding;
    const char *destination_ref; /* instead of `destination` */
} cny_file_binding;

extern const cny_file_fields cny_file_queues;    /* of cny_file_queue */
extern const cny_file_fields cny_file_exchanges; /* of coney_exchange */
extern const cny_file_fields cny_file_bindings;  /* of cny_file_binding */

/* NULL: there is no such member. */
const cny_file_field *cny_file_field_named(const cny_file_fields *fields, const char *name, size_t size);

/* The value of the word. False: there is no such word. */
bool cny_file_word(const cny_file_field *field, const char *word, size_t size, int *value);

#define CNY_FILE_WORDS(type, member, list)                                                                             \
    {                                                                                                                  \
#member, CNY_FILE_WORD, offsetof(type, member), list, sizeof(list) / sizeof *(list)                            \
    }
#define CNY_FILE_FIELD(type, kind, member)                                                                             \
    {                                                                                                                  \
#member, CNY_FILE_##kind, offsetof(type, member), NULL, 0                                                      \
    }
#define CNY_FILE_FIELDS(list, thing, type, fields)                                                                     \
    {                                                                                                                  \
        list, thing, fields, sizeof(fields) / sizeof *(fields), sizeof(type)                                           \
    }

#endif
