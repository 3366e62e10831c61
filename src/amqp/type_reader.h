/* SPDX-License-Identifier: MIT */
/* The state of reading one document into an object. Private to the folder. */
#ifndef CNY_AMQP_TYPE_READER_H
#define CNY_AMQP_TYPE_READER_H

#include "amqp/json_reader.h"
#include "amqp/types.h"

/* Precedes an object that was read, in the same piece of memory, and owns all that the object points to. */
typedef struct cny_owner {
    _Alignas(16) cny_arena arena;
    struct cny_owned_json *jsons;
} cny_owner;

typedef struct cny_type_reader {
    cny_json_reader json;
    cny_owner *owner;
    cny_buffer scratch;   /* the elements of the lists that are being read, those of an inner list after the outer's */
    size_t used;          /* bytes of the object */
    const cny_path *path; /* of the value that is read */
} cny_type_reader;

/* Memory that lives as long as the object. NULL: the limit is reached, or there is no memory; the failure is told. */
void *cny_reader_alloc(cny_type_reader *reader, size_t size);
coney_status cny_fail_object_size(const cny_type_reader *reader);

/* Of the failure that was told last. */
static inline coney_status cny_last_status(void)
{
    return coney_last_error_details()->status;
}

/* Reads one value of a kind other than CONEY_STRUCT. `to` has room for it, all zero. */
coney_status cny_read_scalar(cny_type_reader *reader, const coney_field *field, void *to);

/* Reads the text as jansson's tree, which the object owns. */
coney_status cny_read_tree(cny_type_reader *reader, const cny_slice *text, json_t **tree);

/* Gives back the references to trees. */
void cny_owned_jsons_free(cny_owner *owner);

/* "expected integer, got "two"". The reader stands before the value. */
coney_status cny_fail_kind(cny_type_reader *reader, const char *expected);

#endif
