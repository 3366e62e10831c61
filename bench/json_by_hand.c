/* SPDX-License-Identifier: MIT */
#include "json_by_hand.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- members of any object ---- */

typedef struct place {
    const json_t *object;
    const char *path;
    long index; /* -1: the path is not that of a list */
    char *problem;
} place;

static bool refuse(const place *in, const char *name, const char *expected)
{
    char index[24] = "";
    json_t *value = json_object_get(in->object, name);
    char *found = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (in->index >= 0)
        snprintf(index, sizeof index, "[%ld]", in->index);
    snprintf(in->problem, sizeof(json_problem), "%s%s.%s: expected %s, got %.60s", in->path, index, name, expected,
             found ? found : "nothing");
    free(found);
    return false;
}

static bool get_text(const place *in, const char *name, char **text)
{
    const char *found = json_string_value(json_object_get(in->object, name)); /* NULL: no text */
    *text = found ? strdup(found) : NULL;
    if (!*text)
        refuse(in, name, found ? "enough memory" : "text");
    return *text;
}

static bool get_optional_text(const place *in, const char *name, char **text)
{
    const json_t *value = json_object_get(in->object, name);
    return !value || json_is_null(value) || get_text(in, name, text);
}

static bool get_decimal(const place *in, const char *name, char **decimal)
{
    if (!get_text(in, name, decimal))
        return false;
    const char *at = *decimal + (**decimal == '-');
    size_t whole = strspn(at, "0123456789"), fraction = at[whole] == '.' ? strspn(at + whole + 1, "0123456789") : 0;
    at += whole + (fraction > 0 ? fraction + 1 : 0);
    return (whole > 0 && *at == '\0') || refuse(in, name, "decimal");
}

static bool get_integer(const place *in, const char *name, int64_t least, int64_t most, int64_t *integer)
{
    const json_t *value = json_object_get(in->object, name);
    if (!json_is_integer(value))
        return refuse(in, name, "integer");
    *integer = json_integer_value(value);
    return (*integer >= least && *integer <= most) || refuse(in, name, "integer in range");
}

static bool get_int32(const place *in, const char *name, int32_t least, int32_t most, int32_t *integer)
{
    int64_t wide = 0;
    if (!get_integer(in, name, least, most, &wide))
        return false;
    *integer = (int32_t)wide;
    return true;
}

static bool get_real(const place *in, const char *name, double *real)
{
    const json_t *value = json_object_get(in->object, name);
    *real = json_number_value(value);
    return json_is_number(value) || refuse(in, name, "number");
}

static bool get_bool(const place *in, const char *name, bool *boolean)
{
    const json_t *value = json_object_get(in->object, name);
    *boolean = json_is_true(value);
    return json_is_boolean(value) || refuse(in, name, "boolean");
}

static const char *get_name(const place *in, const char *name)
{
    const json_t *value = json_object_get(in->object, name);
    if (!json_is_string(value))
        refuse(in, name, "name");
    return json_string_value(value);
}

/* ---- times, as ISO 8601 ---- */

static bool parse_time(const char *text, struct timespec *time)
{
    struct tm parts = {0};
    int used = 0, hours = 0, minutes = 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &parts.tm_hour,
               &parts.tm_min, &parts.tm_sec, &used) != 6)
        return false;
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    struct tm same = parts; /* unless timegm() has to normalise it */
    time->tv_sec = timegm(&same);
    if (same.tm_mon != parts.tm_mon || same.tm_mday != parts.tm_mday || same.tm_hour != parts.tm_hour ||
        same.tm_min != parts.tm_min || same.tm_sec != parts.tm_sec)
        return false;
    text += used;
    time->tv_nsec = 0;
    if (*text == '.') {
        text++;
        for (long unit = 100000000; isdigit((unsigned char)*text); unit /= 10)
            time->tv_nsec += (*text++ - '0') * unit;
    }
    if (strcmp(text, "Z") != 0 && (sscanf(text, "%3d:%2d%n", &hours, &minutes, &used) != 2 || text[used] != '\0'))
        return false;
    time->tv_sec -= hours * 3600 - (*text == '-' ? -minutes : minutes) * 60;
    return true;
}

static bool get_time(const place *in, const char *name, struct timespec *time)
{
    const json_t *value = json_object_get(in->object, name);
    return (json_is_string(value) && parse_time(json_string_value(value), time)) ||
           refuse(in, name, "time such as \"2026-03-01T12:30:15Z\"");
}

static json_t *time_to_json(const struct timespec *time)
{
    char text[64];
    struct tm parts;
    gmtime_r(&time->tv_sec, &parts);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + size, sizeof text - size, ".%03ldZ", time->tv_nsec / 1000000);
    return json_string(text);
}

/* ---- documents ---- */

static json_t *parse(const void *text, size_t size, json_problem problem)
{
    json_error_t error;
    json_t *object = json_loadb(text, size, 0, &error);
    if (!object) {
        snprintf(problem, sizeof(json_problem), "line %d: %.120s", error.line, error.text);
    } else if (!json_is_object(object)) {
        snprintf(problem, sizeof(json_problem), "expected object");
        json_decref(object);
        object = NULL;
    }
    return object;
}

static char *to_text(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

/* ---- orders ---- */

static const char *const status_names[] = {"OPEN", "PAID", "SHIPPED", "CANCELLED"};
enum { STATUS_COUNT = sizeof status_names / sizeof *status_names };

static bool get_status(const place *in, const char *name, order_status *status)
{
    const char *given = get_name(in, name);
    for (int i = 0; given && i < STATUS_COUNT; i++) {
        if (strcmp(given, status_names[i]) == 0) {
            *status = (order_status)i;
            return true;
        }
    }
    return given ? refuse(in, name, "status of an order") : false;
}

static bool get_customer(const place *in, const char *name, order_customer *customer)
{
    const json_t *object = json_object_get(in->object, name);
    const place inside = {object, "$.customer", -1, in->problem};
    if (!json_is_object(object))
        return refuse(in, name, "object");
    return get_integer(&inside, "id", 1, INT64_MAX, &customer->id) && get_text(&inside, "name", &customer->name) &&
           get_text(&inside, "email", &customer->email);
}

static bool get_line(const place *in, order_line *line)
{
    return get_text(in, "sku", &line->sku) && get_text(in, "title", &line->title) &&
           get_int32(in, "quantity", 1, 10000, &line->quantity) && get_decimal(in, "price", &line->price) &&
           get_bool(in, "gift", &line->gift);
}

static bool get_lines(const place *in, const char *name, order *into)
{
    const json_t *list = json_object_get(in->object, name), *object;
    size_t index;
    if (!json_is_array(list))
        return refuse(in, name, "list");
    into->lines = calloc(json_array_size(list) + 1, sizeof *into->lines);
    if (!into->lines)
        return refuse(in, name, "enough memory");
    json_array_foreach(list, index, object)
    {
        const place inside = {object, "$.lines", (long)index, in->problem};
        into->line_count = index + 1;
        if (!json_is_object(object))
            return refuse(in, name, "list of objects");
        if (!get_line(&inside, &into->lines[index]))
            return false;
    }
    return true;
}

void order_free(order *freed)
{
    if (!freed)
        return;
    for (size_t i = 0; i < freed->line_count; i++) {
        free(freed->lines[i].sku);
        free(freed->lines[i].title);
        free(freed->lines[i].price);
    }
    free(freed->lines);
    free(freed->id);
    free(freed->customer.name);
    free(freed->customer.email);
    free(freed->total);
    free(freed->note);
    free(freed);
}

order *order_from_json(const void *text, size_t size, json_problem problem)
{
    json_t *object = parse(text, size, problem);
    if (!object)
        return NULL;
    order *into = calloc(1, sizeof *into);
    const place in = {object, "$", -1, problem};
    bool done = (into || refuse(&in, "id", "enough memory")) && get_text(&in, "id", &into->id) &&
                get_status(&in, "status", &into->status) && get_customer(&in, "customer", &into->customer) &&
                get_time(&in, "placed", &into->placed) && get_time(&in, "due", &into->due) &&
                get_decimal(&in, "total", &into->total) && get_optional_text(&in, "note", &into->note) &&
                get_lines(&in, "lines", into);
    json_decref(object);
    if (done)
        return into;
    order_free(into);
    return NULL;
}

static json_t *line_to_json(const order_line *line)
{
    return json_pack("{s:s, s:s, s:i, s:s, s:b}", "sku", line->sku, "title", line->title, "quantity", line->quantity,
                     "price", line->price, "gift", line->gift);
}

static json_t *lines_to_json(const order *from)
{
    json_t *list = json_array();
    for (size_t i = 0; i < from->line_count; i++) {
        if (json_array_append_new(list, line_to_json(&from->lines[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

char *order_to_json(const order *from)
{
    if ((unsigned)from->status >= STATUS_COUNT)
        return NULL;
    return to_text(json_pack("{s:s, s:s, s:{s:I, s:s, s:s}, s:o, s:o, s:s, s:s*, s:o}", "id", from->id, "status",
                             status_names[from->status], "customer", "id", (json_int_t)from->customer.id, "name",
                             from->customer.name, "email", from->customer.email, "placed", time_to_json(&from->placed),
                             "due", time_to_json(&from->due), "total", from->total, "note", from->note, "lines",
                             lines_to_json(from)));
}

/* ---- parcels ---- */

void parcel_free(parcel *freed)
{
    if (!freed)
        return;
    free(freed->customer);
    free(freed->street);
    free(freed->city);
    free(freed->charge);
    free(freed->note);
    free(freed);
}

parcel *parcel_from_json(const void *text, size_t size, json_problem problem)
{
    json_t *object = parse(text, size, problem);
    if (!object)
        return NULL;
    parcel *into = calloc(1, sizeof *into);
    const place in = {object, "$", -1, problem};
    bool done = (into || refuse(&in, "id", "enough memory")) &&
                get_integer(&in, "id", INT64_MIN, INT64_MAX, &into->id) && get_text(&in, "customer", &into->customer) &&
                get_text(&in, "street", &into->street) && get_text(&in, "city", &into->city) &&
                get_int32(&in, "items", INT32_MIN, INT32_MAX, &into->items) && get_real(&in, "weight", &into->weight) &&
                get_bool(&in, "insured", &into->insured) && get_decimal(&in, "charge", &into->charge) &&
                get_time(&in, "posted", &into->posted) && get_optional_text(&in, "note", &into->note);
    json_decref(object);
    if (done)
        return into;
    parcel_free(into);
    return NULL;
}

char *parcel_to_json(const parcel *from)
{
    return to_text(json_pack("{s:I, s:s, s:s, s:s, s:i, s:f, s:b, s:s, s:o, s:s*}", "id", (json_int_t)from->id,
                             "customer", from->customer, "street", from->street, "city", from->city, "items",
                             from->items, "weight", from->weight, "insured", from->insured, "charge", from->charge,
                             "posted", time_to_json(&from->posted), "note", from->note));
}
