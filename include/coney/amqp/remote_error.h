/* SPDX-License-Identifier: MIT */
/* Error replies: replies that tell that the request has failed. The sender of the request sees CONEY_E_REMOTE_ERROR.
 *
 * Coney's own form is a message with the header CONEY_HEADER_ERROR (boolean true), the content type application/json,
 * and the body {"code": "OUT_OF_STOCK", "message": "only 3 are left", "retriable": false}. A member that is missing, or
 * of another type, is "ERROR", "" and false. The header alone makes the reply an error reply, whatever the body is. A
 * header with any other value than the boolean true, such as the text "true" or the number 1, means nothing.
 *
 * The reply of a Spring listener with returnExceptions is an error reply, too, if its exception is set: a
 * RemoteInvocationResult, serialised by Java (application/x-java-serialized-object) or as JSON. Its type id may be that
 * of the return type of the listener method, so JSON is known by its members, too: a `value` that is null, an
 * `exception` with a stack trace, and nothing else. Bytes of Java are never deserialised: class and message of the
 * exception are read as far as they can be found. An exception without a message tells class and message of its cause.
 * JSON names the class only if the service writes "@class"; otherwise the code is "java.lang.Throwable". */
#ifndef CONEY_AMQP_REMOTE_ERROR_H
#define CONEY_AMQP_REMOTE_ERROR_H

#include <coney/amqp/message.h>

CONEY_BEGIN

/* What an error reply tells. */
typedef struct coney_remote_error {
    const char *code;    /* A word of the program, such as "OUT_OF_STOCK"; of a Java service the exception's class. */
    const char *message; /* A sentence for people. */
    bool retriable;      /* The same request may succeed later. */
} coney_remote_error;

/* Makes an error reply, and gives it. The texts are borrowed. code NULL is "ERROR", message NULL is "". CONEY_OK,
 * CONEY_E_NO_MEMORY; CONEY_E_INVALID: error is NULL; CONEY_E_CONVERSION: a text is not UTF-8. */
CONEY_API coney_status coney_message_new_error(coney_message **message, const coney_remote_error *error);

/* Asks whether the message is an error reply. Does not convert its body. False for NULL. */
CONEY_API bool coney_message_is_error(const coney_message *message);

/* Reads an error reply. Gives *error, whose texts are never NULL, for coney_remote_error_free(); NULL if the message is
 * no error reply. The code has at most 255 bytes, the message 4,096; neither has control characters. A body that cannot
 * be read is no failure: the code is "ERROR" then, and the message says why.
 * CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_error(coney_remote_error **error, const coney_message *message);

/* Takes NULL. */
CONEY_API void coney_remote_error_free(coney_remote_error *error);

CONEY_END

#endif
