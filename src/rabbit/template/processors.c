/* SPDX-License-Identifier: MIT */
/* Changes a message before it is sent (delay, processors, user id, in Spring's order), and after it was received
 * (processors). On the caller's thread, with no lock held. */
#include "rabbit/template/processors.h"

#define LONGEST_DELAY_MS 0xffffffff /* the delayed-message plugin refuses more */

/* ---- the lists ---- */

static coney_status add(cny_processors *processors, const coney_processor *processor)
{
    return cny_processors_add(processors, processor) == CONEY_OK ? CONEY_OK : cny_fail_in("template");
}

static coney_status remove_named(cny_processors *processors, const char *name)
{
    return cny_processors_remove(processors, name) == CONEY_OK ? CONEY_OK : cny_fail_in("template");
}

static coney_status missing(const char *what)
{
    return cny_fail(CONEY_E_INVALID, "template: %s is NULL", what);
}

coney_status coney_template_add_before_publish(coney_template *sender, const coney_processor *processor)
{
    CNY_DISABLE_CANCEL();
    return sender && processor ? add(&sender->before_publish, processor) : missing("sender or processor");
}

coney_status coney_template_remove_before_publish(coney_template *sender, const char *name)
{
    CNY_DISABLE_CANCEL();
    return sender ? remove_named(&sender->before_publish, name) : missing("sender");
}

coney_status coney_template_add_after_receive(coney_template *sender, const coney_processor *processor)
{
    CNY_DISABLE_CANCEL();
    return sender && processor ? add(&sender->after_receive, processor) : missing("sender or processor");
}

coney_status coney_template_remove_after_receive(coney_template *sender, const char *name)
{
    CNY_DISABLE_CANCEL();
    return sender ? remove_named(&sender->after_receive, name) : missing("sender");
}

/* ---- before publish ---- */

coney_status cny_template_check_delay(int64_t delay_ms)
{
    if (delay_ms >= 0 && delay_ms <= LONGEST_DELAY_MS)
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID, "delay_ms is %lld; 0 to %lld are possible", (long long)delay_ms,
                    (long long)LONGEST_DELAY_MS);
}

static void replace(coney_message **message, coney_message *made)
{
    coney_message_unref(*message);
    *message = made;
}

/* Spring 2.4 ignores a 64-bit delay; later versions accept both widths. */
static coney_status set_delay(coney_message **message, int64_t delay_ms)
{
    coney_message *made;
    const coney_value value = {.type = delay_ms <= INT32_MAX ? CONEY_INT32 : CONEY_INT64, .as.integer = delay_ms};
    coney_status status = coney_message_with_header(&made, *message, CONEY_HEADER_DELAY, &value);
    if (status == CONEY_OK)
        replace(message, made);
    return status;
}

static coney_status set_user_id(coney_message **message, const char *user_id)
{
    coney_message *made;
    coney_properties properties = (*message)->properties;
    if (properties.user_id)
        return CONEY_OK;
    properties.user_id = user_id;
    coney_status status = coney_message_with(&made, *message, &properties, NULL, 0);
    if (status == CONEY_OK)
        replace(message, made);
    return status;
}

static coney_status change(coney_template *sender, coney_message **message, const cny_publish *publish,
                           int64_t delay_ms)
{
    coney_status status = delay_ms > 0 ? set_delay(message, delay_ms) : CONEY_OK;
    if (status == CONEY_OK)
        status = cny_processors_run(&sender->before_publish, message, publish->exchange, publish->routing_key);
    if (status != CONEY_OK)
        return status;
    if (!*message)
        return cny_fail(CONEY_E_INVALID, "a processor discarded the message; only received ones can be discarded");
    return sender->options.user_id ? set_user_id(message, sender->options.user_id) : CONEY_OK;
}

coney_status cny_template_process(coney_template *sender, cny_publish *publish, int64_t delay_ms,
                                  coney_message **prepared)
{
    if (delay_ms == 0 && !sender->options.user_id && !cny_processors_any(&sender->before_publish))
        return CONEY_OK;
    *prepared = coney_message_ref(publish->message);
    coney_status status = change(sender, prepared, publish, delay_ms);
    if (status == CONEY_OK)
        publish->message = *prepared;
    return status;
}

/* ---- after receive ---- */

coney_status cny_template_process_received(coney_template *sender, coney_message **message)
{
    if ((*message)->defect)
        return cny_fail(CONEY_E_CONVERSION, "it cannot be read: %s", (*message)->defect);
    if ((*message)->has_lost_death)
        cny_log(CONEY_LOG_WARN,
                "receive: message '%s' came with a header " CONEY_HEADER_DEATH " that no broker has written; it is "
                "returned without this header",
                cny_id_of(*message));
    if (!cny_processors_any(&sender->after_receive))
        return CONEY_OK;
    coney_message *received = coney_message_ref(*message); /* keeps exchange and routing key alive */
    coney_status status =
        cny_processors_run(&sender->after_receive, message, received->exchange, received->routing_key);
    coney_message_unref(received);
    return status;
}
