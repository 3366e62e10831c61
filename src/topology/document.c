/* SPDX-License-Identifier: MIT */
/* Reads the things of a topology's file into structs, by tables of their members. Any thread. It must not know which
 * things there are. */
#include "topology/document.h"

#include "amqp/amqp.h"
#include "amqp/json_limits.h"
#include "amqp/numbers.h"

#include <coney/amqp/table_json.h>

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST_SENTENCE = 1024, MOST_ARGUMENTS = 1000, SHOWN = 40, MOST_THING = 512 };

void cny_document_init(cny_document *document, const char *source, const char *json, size_t size)
{
    const coney_json_limits limits = cny_json_limits();
    *document = (cny_document){.source = source};
    cny_json_reader_init(&document->reader, json, size, &limits);
}

static void forget_thing(cny_document *document)
{
    cny_arena_free(&document->texts);
    coney_table_free(document->arguments);
    document->texts = (cny_arena){0};
    document->arguments = NULL;
}

void cny_document_free(cny_document *document)
{
    forget_thing(document);
}

/* ---- failures ---- */

static size_t line_of(const cny_document *document, const char *at)
{
    size_t line = 1;
    const char *from = document->reader.start;
    while ((from = memchr(from, '\n', (size_t)(at - from))) != NULL) {
        from++;
        line++;
    }
    return line;
}

static coney_status fail_at(const cny_document *document, const char *at, const char *sentence)
{
    size_t line = line_of(document, at);
    return document->source ? cny_fail(CONEY_E_INVALID, "%s:%zu: %s", document->source, line, sentence)
                            : cny_fail(CONEY_E_INVALID, "line %zu: %s", line, sentence);
}

coney_status cny_document_fail(const cny_document *document, const char *at, const char *format, ...)
{
    char sentence[MOST_SENTENCE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return fail_at(document, at, sentence);
}

static const char **place_of(const cny_document *document, const char *member)
{
    const cny_file_field *field = member ? cny_file_field_named(document->fields, member, strlen(member)) : NULL;
    return field ? (const char **)(uintptr_t)&document->places[field - document->fields->fields] : NULL;
}

bool cny_document_has(const cny_document *document, const char *member)
{
    return *place_of(document, member) != NULL;
}

static coney_status fail_member(const cny_document *document, const char *at, const char *member, const char *sentence)
{
    return cny_document_fail(document, at, "%s[%zu]%s%.64s: %s", document->fields->list, document->index,
                             member ? "." : "", member ? member : "", sentence);
}

coney_status cny_document_fail_thing(const cny_document *document, const char *member, const char *format, ...)
{
    char sentence[MOST_SENTENCE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    const char **place = place_of(document, member);
    return fail_member(document, place && *place ? *place : document->begin, member, sentence);
}

static bool is_of_word(char byte)
{
    return byte == '_' || (byte >= 'a' && byte <= 'z');
}

static const char *find_word(const char *sentence, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = sentence; (at = strstr(at, word)) != NULL; at += size) {
        if ((at == sentence || !is_of_word(at[-1])) && !is_of_word(at[size]))
            return at;
    }
    return NULL;
}

/* The member that the sentence names first, after the thing's name, which may be the name of a member as well. */
static const char *find_member(const cny_document *document, const char *sentence, const char *name)
{
    const char *after = name && *name ? strstr(sentence, name) : NULL, *first = NULL, *member = NULL;
    after = after ? after + strlen(name) : sentence;
    for (size_t i = 0; i < document->fields->count; i++) {
        const char *found = document->places[i] ? find_word(after, document->fields->fields[i].name) : NULL;
        if (found && (!first || found < first)) {
            first = found;
            member = document->fields->fields[i].name;
        }
    }
    return member;
}

coney_status cny_document_refused(const cny_document *document, coney_status status, const char *name)
{
    char sentence[MOST_SENTENCE];
    if (status != CONEY_E_INVALID)
        return status;
    snprintf(sentence, sizeof sentence, "%s", coney_last_error());
    return cny_document_fail_thing(document, find_member(document, sentence, name), "%s", sentence);
}

/* ---- values ---- */

/* Goes over the next value, and writes what it is. */
static coney_status describe_next(cny_document *document, char text[SHOWN + 16])
{
    cny_slice value;
    char first = cny_json_peek(&document->reader);
    coney_status status = cny_json_skip(&document->reader, &value);
    if (first == '{' || first == '[')
        snprintf(text, SHOWN + 16, "%s", first == '{' ? "an object" : "an array");
    else
        snprintf(text, SHOWN + 16, "%.*s%s", (int)(value.size < SHOWN ? value.size : SHOWN), value.data,
                 value.size > SHOWN ? "..." : "");
    return status;
}

static coney_status fail_expected(cny_document *document, const char *member, const char *expected)
{
    char got[SHOWN + 16];
    const char *at = document->reader.at;
    coney_status status = describe_next(document, got);
    char sentence[MOST_SENTENCE];
    snprintf(sentence, sizeof sentence, "expected %s, got %s", expected, got);
    return status == CONEY_OK ? fail_member(document, at, member, sentence) : status;
}

coney_status cny_document_text(cny_document *document, const cny_slice *slice, const char **text, size_t *size)
{
    char *copy = cny_arena_alloc(&document->texts, slice->size + 1);
    if (!copy)
        return cny_fail_memory();
    *size = cny_json_unescape(slice, copy);
    copy[*size] = '\0';
    *text = copy;
    return CONEY_OK;
}

static coney_status read_text(cny_document *document, const cny_file_field *field, const char **text)
{
    cny_slice slice;
    size_t size = 0;
    if (cny_json_peek(&document->reader) != '"')
        return fail_expected(document, field->name, "a string");
    const char *at = document->reader.at;
    coney_status status = cny_json_string(&document->reader, &slice);
    if (status == CONEY_OK)
        status = cny_document_text(document, &slice, text, &size);
    if (status == CONEY_OK && strlen(*text) != size)
        status = fail_member(document, at, field->name, "the string has a NUL in it, which no such text can have");
    return status;
}

static coney_status read_flag(cny_document *document, const cny_file_field *field, bool *flag)
{
    char first = cny_json_peek(&document->reader);
    if (first != 't' && first != 'f')
        return fail_expected(document, field->name, "true or false");
    return cny_json_bool(&document->reader, flag);
}

static coney_status read_integer(cny_document *document, const cny_file_field *field, int64_t *number)
{
    cny_slice digits;
    char first = cny_json_peek(&document->reader);
    int64_t least = field->kind == CNY_FILE_INT ? INT_MIN : INT64_MIN;
    int64_t most = field->kind == CNY_FILE_INT ? INT_MAX : INT64_MAX;
    if (first != '-' && (first < '0' || first > '9'))
        return fail_expected(document, field->name, "an integer");
    const char *at = document->reader.at;
    coney_status status = cny_json_number(&document->reader, &digits);
    if (status != CONEY_OK ||
        (cny_number_to_int64(digits.data, digits.size, number) && *number >= least && *number <= most))
        return status;
    char sentence[MOST_SENTENCE];
    snprintf(sentence, sizeof sentence, "expected an integer from %lld to %lld, got %.*s", (long long)least,
             (long long)most, (int)(digits.size < SHOWN ? digits.size : SHOWN), digits.data);
    return fail_member(document, at, field->name, sentence);
}

static coney_status read_word(cny_document *document, const cny_file_field *field, int *value)
{
    char expected[256] = "a string, one of";
    cny_json_reader before = document->reader;
    const char *text = NULL;
    for (size_t i = 0; i < field->word_count; i++) {
        size_t used = strlen(expected);
        if (field->words[i])
            snprintf(expected + used, sizeof expected - used, "%s \"%s\"", i + 1 < field->word_count ? "" : " and",
                     field->words[i]);
    }
    if (cny_json_peek(&document->reader) != '"')
        return fail_expected(document, field->name, expected);
    coney_status status = read_text(document, field, &text);
    if (status != CONEY_OK || cny_file_word(field, text, strlen(text), value))
        return status;
    document->reader = before;
    return fail_expected(document, field->name, expected + strlen("a string, "));
}

/* ---- arguments ---- */

/* The sentence of coney_table_from_json() begins with "$.outer[2]: " or "$: ". */
static coney_status fail_table(const cny_document *document, const char *at, const cny_file_field *field)
{
    char sentence[MOST_SENTENCE];
    const char *said = coney_last_error();
    if (*said != '$')
        return fail_member(document, at, field->name, said);
    snprintf(sentence, sizeof sentence, "%s[%zu].%s%s", document->fields->list, document->index, field->name, said + 1);
    return fail_at(document, at, sentence);
}

static coney_status make_table(cny_document *document, const cny_slice *slice, coney_table **table,
                               const cny_file_field *field)
{
    json_error_t error;
    json_t *json = json_loadb(slice->data, slice->size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json && json_error_code(&error) == json_error_out_of_memory)
        return cny_fail_memory();
    if (!json)
        return fail_member(document, slice->data + (error.position > 0 ? error.position - 1 : 0), field->name,
                           error.text);
    coney_status status = coney_table_from_json(table, json);
    json_decref(json);
    return status;
}

static coney_status try_entry(const char *entry, size_t size)
{
    cny_buffer object = {0};
    coney_table *table = NULL;
    bool copied = cny_buffer_append(&object, "{", 1) && cny_buffer_append(&object, entry, size) &&
                  cny_buffer_append(&object, "}", 1);
    json_t *json = copied ? json_loadb((const char *)object.data, object.size, JSON_ALLOW_NUL, NULL) : NULL;
    coney_status status = json ? coney_table_from_json(&table, json) : cny_fail_memory();
    json_decref(json);
    coney_table_free(table);
    cny_buffer_free(&object);
    return status;
}

/* The line of the entry that cannot be read: found by reading each for itself, which only a failure costs. */
static coney_status find_wrong_entry(const cny_document *document, const cny_slice *object, const cny_file_field *field)
{
    cny_json_reader reader = document->reader;
    reader.at = object->data;
    bool more = true;
    coney_status status = cny_json_enter(&reader, '{');
    for (bool is_first = true; status == CONEY_OK; is_first = false) {
        cny_slice name, value;
        status = cny_json_next_member(&reader, is_first, &more, &name);
        if (status != CONEY_OK || !more)
            break;
        const char *entry = name.data - 1;
        status = cny_json_skip(&reader, &value);
        if (status == CONEY_OK)
            status = try_entry(entry, (size_t)(reader.at - entry));
        if (status == CONEY_E_CONVERSION)
            return fail_table(document, entry, field);
    }
    return status;
}

static coney_status read_table(cny_document *document, const cny_file_field *field, const coney_table **table)
{
    cny_slice object;
    if (cny_json_peek(&document->reader) != '{')
        return fail_expected(document, field->name, "an object");
    size_t values = document->reader.values;
    coney_status status = cny_json_skip(&document->reader, &object);
    if (status == CONEY_OK && document->reader.values - values > 2 * MOST_ARGUMENTS + 1) /* a form is two values */
        return fail_member(document, object.data, field->name, "there are more than 1,000 entries in all");
    if (status == CONEY_OK)
        status = make_table(document, &object, &document->arguments, field);
    if (status == CONEY_E_CONVERSION)
        status = find_wrong_entry(document, &object, field);
    *table = document->arguments;
    return status;
}

/* ---- things ---- */

static coney_status read_value(cny_document *document, const cny_file_field *field, void *member)
{
    int64_t number = 0;
    coney_status status;
    switch (field->kind) {
    case CNY_FILE_TEXT: return read_text(document, field, member);
    case CNY_FILE_FLAG: return read_flag(document, field, member);
    case CNY_FILE_INT64: return read_integer(document, field, member);
    case CNY_FILE_INT:
        status = read_integer(document, field, &number);
        if (status == CONEY_OK)
            *(int *)member = (int)number;
        return status;
    case CNY_FILE_WORD: return read_word(document, field, member);
    default: return read_table(document, field, member);
    }
}

static coney_status skip_unknown(cny_document *document, const char *at, const char *name, const cny_file_fields *own)
{
    cny_slice ignored;
    if (!own)
        return fail_member(document, at, name,
                           "there is no such member; docs/topology.schema.json names the members that there are");
    if (cny_file_field_named(own, name, strlen(name)))
        return fail_member(document, at, name,
                           "the member is of Coney's own format, and the file is a definitions file of RabbitMQ, by "
                           "another of its members; write all of it in one of the two formats");
    return cny_json_skip(&document->reader, &ignored);
}

static coney_status read_member(cny_document *document, const cny_slice *slice, const cny_file_fields *own, char *thing)
{
    const char *name = "", *at = slice->data - 1;
    size_t size = 0;
    coney_status status = cny_document_text(document, slice, &name, &size);
    if (status != CONEY_OK)
        return status;
    const cny_file_field *field = cny_file_field_named(document->fields, name, size);
    if (!field)
        return skip_unknown(document, at, name, own);
    const char **place = &document->places[field - document->fields->fields];
    if (*place) {
        char sentence[64];
        snprintf(sentence, sizeof sentence, "the member is there twice, first in line %zu", line_of(document, *place));
        return fail_member(document, at, name, sentence);
    }
    *place = at;
    return read_value(document, field, thing + field->offset);
}

static coney_status read_thing(cny_document *document, const cny_file_fields *own, void *thing)
{
    bool more = true;
    cny_slice name;
    forget_thing(document);
    memset(document->places, 0, sizeof document->places);
    char first = cny_json_peek(&document->reader);
    document->begin = document->reader.at;
    if (first != '{')
        return fail_expected(document, NULL, "an object");
    coney_status status = cny_json_enter(&document->reader, '{');
    for (bool is_first = true; status == CONEY_OK && more; is_first = false) {
        status = cny_json_next_member(&document->reader, is_first, &more, &name);
        if (status == CONEY_OK && more)
            status = read_member(document, &name, own, thing);
    }
    return status;
}

coney_status cny_document_read(cny_document *document, const char *at, const cny_file_fields *fields,
                               const cny_file_fields *own, cny_document_add *add, void *user)
{
    union {
        char bytes[MOST_THING];
        max_align_t aligned;
    } thing;
    bool more = true;
    assert(fields->size <= MOST_THING && fields->count <= CNY_FILE_MOST_FIELDS);
    document->fields = fields;
    document->reader.at = at;
    coney_status status = cny_json_enter(&document->reader, '[');
    for (document->index = 0; status == CONEY_OK && more; document->index += more) {
        memset(thing.bytes, 0, fields->size);
        status = cny_json_next_element(&document->reader, document->index == 0, &more);
        if (status == CONEY_OK && more)
            status = read_thing(document, own, thing.bytes);
        if (status == CONEY_OK && more)
            status = add(document, thing.bytes, user);
    }
    return status;
}
