/* SPDX-License-Identifier: MIT */
/* The checks of exchanges and bindings, and their arguments. Any thread. */
#include "amqp/amqp.h"
#include "topology/fields.h"

#include <string.h>

/* ---- exchanges ---- */

static coney_status check_hash(const coney_exchange *exchange)
{
    static const char *const properties[] = {"message_id", "correlation_id", "timestamp"};
    const char *property = exchange->hash_property;
    if (exchange->hash_header && property)
        return cny_fail(CONEY_E_INVALID,
                        "exchange '%s': hash_header is '%s' and hash_property is '%s'; one of the two can be hashed",
                        exchange->name, exchange->hash_header, property);
    if ((exchange->hash_header || property) &&
        (exchange->custom_type ? strcmp(exchange->custom_type, "x-consistent-hash") != 0
                               : exchange->type != CONEY_CONSISTENT_HASH))
        return cny_fail(CONEY_E_INVALID,
                        "exchange '%s': %s is set, which is for consistent-hash exchanges only; set type to "
                        "CONEY_CONSISTENT_HASH",
                        exchange->name, property ? "hash_property" : "hash_header");
    for (size_t i = 0; property && i < sizeof properties / sizeof *properties; i++) {
        if (strcmp(property, properties[i]) == 0)
            return CONEY_OK;
    }
    return property ? cny_fail(CONEY_E_INVALID,
                               "exchange '%s': hash_property is '%s'; take \"message_id\", \"correlation_id\" or "
                               "\"timestamp\"",
                               exchange->name, property)
                    : CONEY_OK;
}

static coney_status check_exchange_texts(const coney_exchange *exchange)
{
    const struct {
        const char *what, *text;
    } all[] = {
        {"exchange name", exchange->name},
        {"exchange type", exchange->custom_type},
        {"alternate_exchange", exchange->alternate_exchange},
        {"hash_header", exchange->hash_header},
    };
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < sizeof all / sizeof *all; i++)
        status = cny_check_name(all[i].what, all[i].text);
    if (status == CONEY_OK && exchange->custom_type && !*exchange->custom_type)
        status = cny_fail(CONEY_E_INVALID, "exchange '%s': custom_type is empty; leave it out, or name a type",
                          exchange->name);
    return status;
}

coney_status cny_exchange_check(const coney_exchange *exchange)
{
    if (!exchange || !exchange->name || !*exchange->name)
        return cny_fail(CONEY_E_INVALID, "exchange: it needs a name; the default exchange \"\" is always there");
    if (!exchange->custom_type && (exchange->type < CONEY_DIRECT || exchange->type > CONEY_CONSISTENT_HASH))
        return cny_fail(CONEY_E_INVALID, "exchange '%s': %d is no coney_exchange_type", exchange->name,
                        (int)exchange->type);
    if (exchange->on_refusal < CONEY_REFUSAL_WARN || exchange->on_refusal > CONEY_REFUSAL_IGNORE)
        return cny_fail(CONEY_E_INVALID, "exchange '%s': %d is no coney_on_refusal", exchange->name,
                        (int)exchange->on_refusal);
    coney_status status = check_exchange_texts(exchange);
    if (status == CONEY_OK)
        status = check_hash(exchange);
    if (status != CONEY_OK)
        return status;
    cny_typed_field fields[CNY_EXCHANGE_FIELDS];
    cny_read_exchange_fields(fields, exchange);
    return cny_check_arguments("exchange", exchange->name, exchange->arguments, fields, CNY_EXCHANGE_FIELDS);
}

coney_status cny_exchange_arguments(coney_table **arguments, const coney_exchange *exchange)
{
    cny_typed_field fields[CNY_EXCHANGE_FIELDS];
    cny_read_exchange_fields(fields, exchange);
    return cny_make_arguments(arguments, exchange->arguments, fields, CNY_EXCHANGE_FIELDS);
}

/* ---- bindings ---- */

bool cny_binding_is_implicit(const coney_binding *binding)
{
    return binding && binding->exchange && !*binding->exchange && !binding->to_exchange && binding->destination &&
           *binding->destination && binding->routing_key && strcmp(binding->destination, binding->routing_key) == 0;
}

coney_status cny_binding_check(const coney_binding *binding)
{
    if (!binding || !binding->exchange || !binding->destination)
        return cny_fail(CONEY_E_INVALID, "binding: exchange or destination is NULL");
    if (!*binding->destination)
        return cny_fail(CONEY_E_INVALID,
                        "binding to exchange '%s': the destination is empty; the broker would bind the queue that was "
                        "declared last on the channel, whichever that is",
                        binding->exchange);
    if (!*binding->exchange)
        return cny_fail(CONEY_E_INVALID,
                        "binding to '%s': nothing can be bound to the default exchange; every queue already is, "
                        "by its name",
                        binding->destination);
    if (binding->on_refusal < CONEY_REFUSAL_WARN || binding->on_refusal > CONEY_REFUSAL_IGNORE)
        return cny_fail(CONEY_E_INVALID, "binding to '%s': %d is no coney_on_refusal", binding->destination,
                        (int)binding->on_refusal);
    coney_status status = cny_check_name("exchange name", binding->exchange);
    if (status == CONEY_OK)
        status = cny_check_name("destination name", binding->destination);
    return status == CONEY_OK ? cny_check_name("routing key", binding->routing_key) : status;
}

/* The forms without "-with-x" do not look at such a header, so it would match whatever its value. */
static coney_status check_matched_name(coney_match match, const char *name)
{
    if (match >= CONEY_MATCH_ALL_WITH_X || strncmp(name, "x-", 2) != 0)
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID,
                    "match headers: '%s' begins with \"x-\", and such a header is not looked at; take "
                    "CONEY_MATCH_ALL_WITH_X or CONEY_MATCH_ANY_WITH_X",
                    name);
}

static coney_status add_matched(coney_table *table, coney_match match, const char *name, const coney_value *value)
{
    coney_status status = check_matched_name(match, name);
    if (status == CONEY_OK && (coney_table_get(table, name) || strcmp(name, "x-match") == 0))
        status = cny_fail(CONEY_E_INVALID, "match headers: '%s' is given twice, or is \"x-match\" itself", name);
    return status == CONEY_OK ? coney_table_set(table, name, value) : status;
}

coney_status coney_match_headers(coney_table **arguments, coney_match match, const coney_table *values,
                                 const char *const *present)
{
    static const char *const words[] = {"all", "any", "all-with-x", "any-with-x"};
    static const coney_value exists = {.type = CONEY_VOID};
    if (!arguments)
        return cny_fail(CONEY_E_INVALID, "match headers: arguments is NULL");
    *arguments = NULL;
    if (match < CONEY_MATCH_ALL || match > CONEY_MATCH_ANY_WITH_X)
        return cny_fail(CONEY_E_INVALID, "match headers: %d is no coney_match", (int)match);
    if (coney_table_size(values) == 0 && (!present || !*present))
        return cny_fail(CONEY_E_INVALID, "match headers: there is nothing to match, so %s message would match",
                        match == CONEY_MATCH_ANY || match == CONEY_MATCH_ANY_WITH_X ? "no" : "every");
    coney_table *table = coney_table_new();
    coney_status status = table ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < coney_table_size(values); i++)
        status = add_matched(table, match, coney_table_name_at(values, i), coney_table_value_at(values, i));
    for (; status == CONEY_OK && present && *present; present++)
        status = add_matched(table, match, *present, &exists);
    if (status == CONEY_OK)
        status = coney_table_set_string(table, "x-match", words[match]);
    if (status == CONEY_OK)
        *arguments = table;
    else
        coney_table_free(table);
    return status;
}
