/* SPDX-License-Identifier: MIT */
/* Statuses and errors: what failed, and a sentence that says why.
 *
 * Coney's headers describe pointers with five words:
 *   borrow  the callee reads the object during the call only (the default for arguments)
 *   copy    the callee makes a copy; the caller may free or change the object after the call
 *   take    the callee owns the object from then on, success or failure
 *   give    the caller owns the result and frees it
 *   view    the caller may read the object as long as the object that it came from lives
 *
 * A handle is freed once. Freeing it again, or using it in any other way afterwards, is undefined behaviour, as with
 * free(). When a handle is freed, no call on it may be running, which includes a call whose processor, converter or
 * visitor would free the handle. All free and unref functions take NULL, and do nothing then.
 *
 * A function that returns no status takes NULL instead of a handle, a name or a key. It returns NULL, 0 or false then,
 * or the fallback or outcome that was passed to it. */
#ifndef CONEY_AMQP_STATUS_H
#define CONEY_AMQP_STATUS_H

#include <coney/amqp/api.h>

CONEY_BEGIN

/* The result of a call. (Spring: the AmqpException family.) Every function that returns a status returns
 * CONEY_E_INVALID for a NULL that its description does not allow. Functions whose names end in _new set the caller's
 * pointer to NULL first, so it is NULL after a failure. */
typedef enum coney_status {
    CONEY_OK = 0,

    /* the caller */
    CONEY_E_INVALID,    /* An argument, option, name or value cannot be used. */
    CONEY_E_CONVERSION, /* An object or a body cannot be converted. */
    CONEY_E_STATE,      /* Not possible now or here: for example, started already, or after fork(). */
    CONEY_E_CLOSED,     /* The program has closed the factory or freed the template. */
    CONEY_E_CANCELLED,  /* The program has cancelled a request. */

    /* this machine */
    CONEY_E_NO_MEMORY,
    CONEY_E_SYSTEM, /* The operating system has refused, for example a thread or a descriptor. */
    CONEY_E_LIMIT,  /* A limit of the client or the connection is reached. */

    CONEY_E_CIRCUIT_OPEN, /* Requests to this address have failed too often; nothing was sent. */

    /* the way to the broker */
    CONEY_E_CONNECT,  /* No connection could be made. */
    CONEY_E_LOST,     /* The connection or channel was lost; the effect of the call is unknown. */
    CONEY_E_TIMEOUT,  /* The deadline has passed. The effect is unknown unless the sentence says "never sent". */
    CONEY_E_PROTOCOL, /* The peer does not speak AMQP 0-9-1 correctly. */
    CONEY_E_BLOCKED,  /* The broker holds back publishers (connection.blocked); nothing was sent. */
    CONEY_E_STALE,    /* The channel of a delivery is gone, so its acknowledgement was not sent. */

    /* the broker */
    CONEY_E_ACCESS_REFUSED,      /* 403: wrong credentials, or no permission. */
    CONEY_E_NOT_FOUND,           /* 404: no such queue or exchange. */
    CONEY_E_RESOURCE_LOCKED,     /* 405: an exclusive queue of another connection. */
    CONEY_E_PRECONDITION_FAILED, /* 406: for example, the thing exists with other properties. */
    CONEY_E_NOT_ALLOWED,         /* 530: for example, no such virtual host. */
    CONEY_E_RETURNED,            /* 312: no queue takes the message. */
    CONEY_E_NACKED,              /* The broker could not take responsibility for the message. */
    CONEY_E_BROKER,              /* Any other refusal; broker_code tells which. */

    /* the program */
    CONEY_E_HANDLER, /* A handler has failed: it returned CONEY_RETRY, or gave a reason to coney_delivery_fail(). */
    CONEY_E_REMOTE_ERROR, /* The other side answered a request by an error reply: see <coney/amqp/remote_error.h>. */
} coney_status;

/* An error that happened earlier or on another thread. All of it is a view. */
typedef struct coney_error {
    coney_status status;
    int broker_code;  /* AMQP's reply code, such as 404; 0 if the broker gave no code. */
    const char *text; /* One sentence without control characters and passwords. Never NULL. */
    bool retriable;   /* The same call may succeed later without any change. */
    bool fatal;       /* The same call will fail until a person changes something. */

    /* Of a message that was returned (CONEY_E_RETURNED), else NULL. (Spring: ReturnedMessage.) */
    const char *reply_text; /* The broker's text, such as "NO_ROUTE". */
    const char *exchange;   /* The exchange and routing key with which the message was sent. */
    const char *routing_key;

    /* Of an error reply (CONEY_E_REMOTE_ERROR), else NULL. `retriable` is what the error reply says. */
    const char *remote_code; /* Such as "OUT_OF_STOCK", or the class of a Java exception. */
    const char *remote_message;
} coney_error;

/* The constant's name without its prefix, such as "NOT_FOUND". Any thread. View of static text. */
CONEY_API const char *coney_status_name(coney_status status);

/* The sentence of the last call of this thread that has failed; "" if no call has failed yet. A view until the thread's
 * next call of Coney. */
CONEY_API const char *coney_last_error(void);

/* The sentence of coney_last_error() with status and code. A view like coney_last_error(). */
CONEY_API const coney_error *coney_last_error_details(void);

/* Sets the status and, with a text made as by printf, the sentence of the calling thread's last error, as every function
 * of Coney does that fails, and returns the status. For libraries that stand on Coney. A status of CONEY_OK is
 * CONEY_E_INVALID. With a format of NULL the sentence says that no reason was given. Any thread. */
CONEY_API coney_status coney_fail(coney_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

CONEY_END

#endif
