/* SPDX-License-Identifier: MIT */
/* Statuses and errors: what went wrong, who is at fault, and the sentence that says so.
 *
 * Pointers in Coney's headers are described with five words:
 *   borrow  the callee reads it during the call only (the default for arguments)
 *   copy    the callee makes its own copy; the caller's may go at once
 *   take    the callee owns it from now on, success or failure
 *   give    the caller owns what is returned and frees it
 *   view    the caller may read it as long as the object it came from lives
 *
 * A handle is freed once. Freeing it again, or using it in any other way afterwards, is undefined behaviour, as with
 * free(). No call on the handle may be running when it is freed, which includes the call whose processor, converter or
 * visitor would free it. All free and unref functions take NULL and do nothing then.
 *
 * A function that returns no status takes NULL instead of a handle, a name or a key. It answers with NULL, 0 or false
 * then, or with the fallback or outcome that it was given.
 */
#ifndef CONEY_AMQP_STATUS_H
#define CONEY_AMQP_STATUS_H

#include <coney/amqp/api.h>

CONEY_BEGIN

/* The result of a call. (Spring: the AmqpException family.) Every function that returns one
 * answers CONEY_E_INVALID to a NULL that its description does not allow. Functions whose names
 * end in _new set the caller's pointer to NULL first, so that it is NULL after a failure. */
typedef enum coney_status {
    CONEY_OK = 0,

    /* the caller */
    CONEY_E_INVALID,    /* an argument, option, name or value that cannot be used */
    CONEY_E_CONVERSION, /* an object or body that cannot be converted */
    CONEY_E_STATE,      /* not now or not here: started already, or after fork(), for example */
    CONEY_E_CLOSED,     /* the factory or template was closed by the program */

    /* this machine */
    CONEY_E_NO_MEMORY,
    CONEY_E_SYSTEM, /* the operating system refused: threads, descriptors */
    CONEY_E_LIMIT,  /* a limit of the client or the connection is reached */

    /* the way to the broker */
    CONEY_E_CONNECT,  /* no connection could be made */
    CONEY_E_LOST,     /* the connection or channel went away; the effect is unknown */
    CONEY_E_TIMEOUT,  /* the deadline passed; the effect is unknown */
    CONEY_E_PROTOCOL, /* the peer does not speak AMQP 0-9-1 as it should */
    CONEY_E_BLOCKED,  /* the broker holds back publishers (connection.blocked); nothing was sent */
    CONEY_E_STALE,    /* acknowledges a delivery of a channel that is gone; nothing was sent */

    /* the broker */
    CONEY_E_ACCESS_REFUSED,      /* 403: wrong credentials, or no permission */
    CONEY_E_NOT_FOUND,           /* 404: no such queue or exchange */
    CONEY_E_RESOURCE_LOCKED,     /* 405: an exclusive queue of another connection */
    CONEY_E_PRECONDITION_FAILED, /* 406: declared before with other properties, for example */
    CONEY_E_NOT_ALLOWED,         /* 530: no such virtual host, for example */
    CONEY_E_RETURNED,            /* 312: no queue takes the message */
    CONEY_E_NACKED,              /* the broker could not take responsibility for the message */
    CONEY_E_BROKER,              /* any other refusal; the code tells which */

    /* the program */
    CONEY_E_HANDLER, /* a handler failed: it returned CONEY_RETRY, or said why with coney_delivery_fail() */
} coney_status;

/* An error that happened earlier or on another thread. All of it is a view. */
typedef struct coney_error {
    coney_status status;
    int broker_code;  /* AMQP reply code such as 404; 0 if the broker did not speak */
    const char *text; /* one sentence, safe to show as a log line is; never NULL, never holds a password */
    bool retriable;   /* the same call may succeed later without anyone's help */
    bool fatal;       /* it will fail until a person changes something */

    /* Of a message that came back (CONEY_E_RETURNED), else NULL. (Spring: ReturnedMessage.) */
    const char *reply_text;  /* the broker's, such as "NO_ROUTE" */
    const char *exchange;    /* where it was sent */
    const char *routing_key; /* and with which key */
} coney_error;

/* The constant's name without its prefix, such as "NOT_FOUND". Any thread. View of static text. */
CONEY_API const char *coney_status_name(coney_status status);

/* What the call of this thread that has just failed said, "" if none failed yet. A view that stays
 * good until the thread's next call of Coney. */
CONEY_API const char *coney_last_error(void);

/* The same with status and code. A view like coney_last_error(). */
CONEY_API const coney_error *coney_last_error_details(void);

CONEY_END

#endif
