/* SPDX-License-Identifier: MIT */
/* The input is a reply. Bytes that begin as those of Java do are a serialised object; others are JSON, of Coney's own
 * form or, after a line end, a RemoteInvocationResult. An error reply tells a code, and texts that can be shown. */
#include "support/fuzz.h"

#include <coney/amqp/headers.h>
#include <coney/amqp/remote_error.h>

#include <string.h>

static void check_text(const char *text, size_t most)
{
    size_t length, size = strlen(text);
    fuzz_require(size <= most);
    for (size_t i = 0; i < size; i += length)
        fuzz_require(cny_text_step(text + i, size - i, &length));
}

/* What was read can be told on, and is the same then. */
static void tell_on(const coney_remote_error *error)
{
    coney_message *message;
    coney_remote_error *again;
    if (!fuzz_succeeds(coney_message_new_error(&message, error)))
        return;
    fuzz_require(coney_message_is_error(message));
    if (fuzz_succeeds(coney_message_error(&again, message)))
        fuzz_require(again && strcmp(again->code, error->code) == 0 && strcmp(again->message, error->message) == 0 &&
                     again->retriable == error->retriable);
    coney_remote_error_free(again);
    coney_message_unref(message);
}

static void read_reply(const coney_message *message)
{
    coney_remote_error *error;
    if (fuzz_succeeds(coney_message_error(&error, message))) {
        fuzz_require(coney_message_is_error(message) == (error != NULL));
        if (error) {
            fuzz_require(*error->code);
            check_text(error->code, 255);
            check_text(error->message, 4096);
            tell_on(error);
        }
    }
    coney_remote_error_free(error);
}

static coney_status set_header(coney_table *headers, bool is_result)
{
    const coney_value yes = {.type = CONEY_BOOL, .as.boolean = true};
    if (is_result)
        return coney_table_set_string(headers, CONEY_HEADER_TYPE_ID,
                                      "org.springframework.amqp.support.converter.RemoteInvocationResult");
    return coney_table_set(headers, CONEY_HEADER_ERROR, &yes);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    bool is_java = size > 0 && *data == 0xac, is_result = size > 0 && *data == '\n';
    coney_message *message = NULL;
    coney_table *headers = coney_table_new();
    coney_status status = headers ? CONEY_OK : CONEY_E_NO_MEMORY;
    if (status == CONEY_OK && !is_java)
        status = set_header(headers, is_result);
    const coney_properties properties = {
        .content_type = is_java ? CONEY_CONTENT_TYPE_JAVA : CONEY_CONTENT_TYPE_JSON,
        .headers = headers,
    };
    if (status == CONEY_OK)
        status = coney_message_new(&message, data, size, &properties);
    if (fuzz_succeeds(status))
        read_reply(message);
    coney_message_unref(message);
    coney_table_free(headers);
}
