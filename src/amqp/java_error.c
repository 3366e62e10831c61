/* SPDX-License-Identifier: MIT */
/* Looks for the class and the message of an exception in a stream of Java's ObjectOutputStream. Nothing is made of the
 * bytes, which anybody may have sent: a few marks of the format are looked for, in the order in which Java writes them.
 * Pure functions.
 *
 * RemoteInvocationResult has the fields `exception` and `value`; Java writes its class, then both. An object begins
 * with its class, and that with its name; the superclasses follow. The fields of Throwable are written first: `cause`
 * (a reference to itself if there is none), then `detailMessage`. */
#include "amqp/java_error.h"

#include <string.h>

enum {
    TC_NULL = 0x70,
    TC_REFERENCE = 0x71,
    TC_CLASSDESC = 0x72,
    TC_OBJECT = 0x73,
    TC_STRING = 0x74,
    TC_ENDBLOCKDATA = 0x78,
    SEARCHED = 65536, /* bytes; the stack trace follows, which may be long */
};

static const uint8_t magic[] = {0xac, 0xed, 0x00, 0x05, TC_OBJECT, TC_CLASSDESC};
static const char *const results[] = {"org.springframework.amqp.support.converter.RemoteInvocationResult",
                                      "org.springframework.remoting.support.RemoteInvocationResult"};
static const char throwable[] = "java.lang.Throwable";

typedef struct view {
    const uint8_t *at;
    const uint8_t *end;
} view;

static bool has(const view *bytes, size_t count)
{
    return (size_t)(bytes->end - bytes->at) >= count;
}

static bool take_byte(view *bytes, uint8_t expected)
{
    if (!has(bytes, 1) || *bytes->at != expected)
        return false;
    bytes->at++;
    return true;
}

/* A length of two bytes, and so many bytes. */
static bool take_text(view *bytes, cny_java_text *text)
{
    if (!has(bytes, 2))
        return false;
    size_t size = (size_t)bytes->at[0] << 8 | bytes->at[1];
    if (!has(bytes, 2 + size))
        return false;
    *text = (cny_java_text){.data = (const char *)bytes->at + 2, .size = size};
    bytes->at += 2 + size;
    return true;
}

static bool is_text(const cny_java_text *text, const char *expected)
{
    return text->size == strlen(expected) && memcmp(text->data, expected, text->size) == 0;
}

/* Goes on after the next place where these bytes stand. */
static bool skip_past(view *bytes, const void *mark, size_t size)
{
    for (; has(bytes, size); bytes->at++) {
        if (memcmp(bytes->at, mark, size) == 0) {
            bytes->at += size;
            return true;
        }
    }
    return false;
}

static bool take_reference(view *bytes)
{
    enum { HANDLE = 4 };
    if (!has(bytes, 1 + HANDLE) || !take_byte(bytes, TC_REFERENCE))
        return false;
    bytes->at += HANDLE;
    return true;
}

/* Goes on after the descriptions of the class whose name was read and of its superclasses, the last of which has none
 * or was described before: the values follow. */
static bool skip_classes(view *bytes)
{
    static const uint8_t end = TC_ENDBLOCKDATA;
    while (skip_past(bytes, &end, sizeof end)) {
        if (take_byte(bytes, TC_NULL) || take_reference(bytes))
            return true;
    }
    return false;
}

/* Goes on with the values of a RemoteInvocationResult. */
static bool enter_result(view *bytes)
{
    cny_java_text name;
    if (!has(bytes, sizeof magic) || memcmp(bytes->at, magic, sizeof magic) != 0)
        return false;
    bytes->at += sizeof magic;
    return take_text(bytes, &name) && (is_text(&name, results[0]) || is_text(&name, results[1])) && skip_classes(bytes);
}

static view view_of(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    return (view){.at = at, .end = at ? at + (size < SEARCHED ? size : SEARCHED) : at};
}

bool cny_java_is_error(const void *bytes, size_t size)
{
    view rest = view_of(bytes, size);
    return enter_result(&rest) && take_byte(&rest, TC_OBJECT);
}

/* The first value of a Throwable is its cause. With another exception as cause, the message that is found first is that
 * of the innermost one, which tells most. */
static void find_message(view *bytes, cny_java_text *message)
{
    cny_java_text cause;
    if (!skip_past(bytes, throwable, sizeof throwable - 1) || !skip_classes(bytes))
        return;
    while (take_byte(bytes, TC_OBJECT)) {
        bool is_new = take_byte(bytes, TC_CLASSDESC);
        if (is_new ? !take_text(bytes, &cause) || !skip_classes(bytes) : !take_reference(bytes))
            return;
    }
    if (!take_reference(bytes))
        take_byte(bytes, TC_NULL);
    if (take_byte(bytes, TC_STRING) && !take_text(bytes, message))
        *message = (cny_java_text){0};
}

cny_java_error cny_java_read_error(const void *bytes, size_t size)
{
    cny_java_error found = {0};
    view rest = view_of(bytes, size);
    if (!enter_result(&rest) || !take_byte(&rest, TC_OBJECT) || !take_byte(&rest, TC_CLASSDESC))
        return found;
    view class_name = rest; /* which may be Throwable's */
    if (!take_text(&rest, &found.class_name))
        return (cny_java_error){0};
    find_message(&class_name, &found.message);
    return found;
}
