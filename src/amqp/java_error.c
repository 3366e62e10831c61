/* SPDX-License-Identifier: MIT */
/* Looks for the classes and messages of exceptions in a stream of Java's ObjectOutputStream. The stream is walked as
 * its grammar says (Java Object Serialization Specification, chapter 6). Nothing is made of the bytes, which anybody
 * may have sent: the walk looks at each byte at most once, takes no memory, and ends where the stream is
 * not as expected.
 *
 * RemoteInvocationResult has the fields `exception` and `value`. The first two fields of a Throwable are `cause` (a
 * reference to itself if there is none) and `detailMessage`; those of a superclass precede those of its subclasses. */
#include "amqp/java_error.h"

#include <string.h>

enum {
    TC_NULL = 0x70,
    TC_REFERENCE,
    TC_CLASSDESC,
    TC_OBJECT,
    TC_STRING,
    TC_ARRAY,
    TC_CLASS,
    TC_BLOCKDATA,
    TC_ENDBLOCKDATA,
    TC_RESET,
    TC_BLOCKDATALONG,
    TC_EXCEPTION,
    TC_LONGSTRING,
    TC_PROXYCLASSDESC,
    TC_ENUM,

    SC_WRITE_METHOD = 1,
    SC_SERIALIZABLE = 2,
    SC_EXTERNALIZABLE = 4,
    SC_BLOCK_DATA = 8,

    FIRST_HANDLE = 0x7e0000,
    MAX_HANDLES = 4096,
    MAX_CLASSES = 128,
    MAX_FIELDS = 2048, /* of all classes */
    MAX_ANCESTORS = 16,
    MAX_DEPTH = 64, /* A level takes about 600 bytes of stack. */

    NO_CLASS = -1,
    NO_LEVEL = -1,
};

static const uint8_t magic[] = {0xac, 0xed, 0x00, 0x05};
static const char *const results[] = {"org.springframework.amqp.support.converter.RemoteInvocationResult",
                                      "org.springframework.remoting.support.RemoteInvocationResult"};

typedef struct class_desc {
    cny_java_text name;
    const char *types; /* of the fields, a character each */
    size_t count;
    int flags;
    int super;     /* index, or NO_CLASS */
    int ancestors; /* number */
    bool is_complete;
} class_desc;

/* What the stream can refer to again: the place of a string's tag, ~index of a class, or 0 for an object. */
typedef int32_t referable;

typedef struct java_walk {
    const uint8_t *start, *at, *end;
    cny_java_error *error;
    int depth;
    int class_count;
    size_t field_count;
    size_t handle_count;
    class_desc classes[MAX_CLASSES];
    char fields[MAX_FIELDS];
    referable handles[MAX_HANDLES];
} java_walk;

/* ---- bytes ---- */

static const uint8_t *take(java_walk *walk, uint64_t size)
{
    if ((uint64_t)(walk->end - walk->at) < size)
        return NULL;
    const uint8_t *bytes = walk->at;
    walk->at += size;
    return bytes;
}

static bool take_number(java_walk *walk, size_t size, uint64_t *number)
{
    const uint8_t *bytes = take(walk, size);
    *number = 0;
    for (size_t i = 0; bytes && i < size; i++)
        *number = *number << 8 | bytes[i];
    return bytes != NULL;
}

/* A length of so many bytes, and the text. */
static bool take_text(java_walk *walk, size_t size_of_length, cny_java_text *text)
{
    uint64_t size;
    if (!take_number(walk, size_of_length, &size))
        return false;
    const uint8_t *bytes = take(walk, size);
    *text = (cny_java_text){.data = (const char *)bytes, .size = bytes ? (size_t)size : 0};
    return bytes != NULL;
}

bool cny_java_text_is(const cny_java_text *text, const char *expected)
{
    return text->size == strlen(expected) && memcmp(text->data, expected, text->size) == 0;
}

/* ---- handles ---- */

static bool add_handle(java_walk *walk, referable what)
{
    if (walk->handle_count == MAX_HANDLES)
        return false;
    walk->handles[walk->handle_count++] = what;
    return true;
}

static bool take_reference(java_walk *walk, referable *what)
{
    uint64_t handle;
    if (!take_number(walk, 4, &handle) || handle < FIRST_HANDLE || handle - FIRST_HANDLE >= walk->handle_count)
        return false;
    *what = walk->handles[handle - FIRST_HANDLE];
    return true;
}

/* The tag was taken. */
static bool take_string(java_walk *walk, int tag, cny_java_text *text)
{
    return add_handle(walk, (referable)(walk->at - walk->start - 1)) &&
           take_text(walk, tag == TC_LONGSTRING ? 8 : 2, text);
}

/* The text is left alone if the reference is to something else. */
static bool take_string_again(java_walk *walk, cny_java_text *text)
{
    referable what;
    if (!take_reference(walk, &what))
        return false;
    if (what <= 0)
        return true;
    const uint8_t *after = walk->at;
    walk->at = walk->start + what + 1;
    bool was_taken = take_text(walk, walk->start[what] == TC_LONGSTRING ? 8 : 2, text);
    walk->at = after;
    return was_taken;
}

/* ---- contents: whatever is not a number ---- */

/* A string is given; anything else leaves the text alone. The level is that of an exception, or NO_LEVEL. */
static bool take_content(java_walk *walk, cny_java_text *text, int level);

static bool skip_content(java_walk *walk)
{
    cny_java_text ignored;
    return take_content(walk, &ignored, NO_LEVEL);
}

/* What a writeObject() or an ObjectOutputStream has added: ends with a tag of its own. */
static bool skip_annotation(java_walk *walk)
{
    while (walk->at < walk->end && *walk->at != TC_ENDBLOCKDATA) {
        if (!skip_content(walk))
            return false;
    }
    return take(walk, 1) != NULL;
}

/* ---- descriptions of classes ---- */

static bool take_class(java_walk *walk, int *index);

static bool take_fields(java_walk *walk, class_desc *class)
{
    uint64_t count;
    if (!take_number(walk, 2, &count) || count > MAX_FIELDS - walk->field_count)
        return false;
    char *types = walk->fields + walk->field_count;
    walk->field_count += (size_t)count;
    class->types = types;
    class->count = (size_t)count;
    for (size_t i = 0; i < count; i++) {
        uint64_t type;
        cny_java_text name;
        if (!take_number(walk, 1, &type) || !take_text(walk, 2, &name))
            return false;
        types[i] = (char)type;
        if ((type == 'L' || type == '[') && !skip_content(walk))
            return false;
    }
    return true;
}

static bool take_names_of_interfaces(java_walk *walk)
{
    uint64_t count;
    cny_java_text name;
    bool is_there = take_number(walk, 4, &count);
    for (uint64_t i = 0; i < count && is_there; i++)
        is_there = take_text(walk, 2, &name);
    return is_there;
}

static bool take_head_of_class(java_walk *walk, class_desc *class, referable self, bool is_proxy)
{
    uint64_t version, flags;
    if (is_proxy) {
        class->flags = SC_SERIALIZABLE;
        return add_handle(walk, self) && take_names_of_interfaces(walk);
    }
    if (!take_text(walk, 2, &class->name) || !take_number(walk, 8, &version) || !add_handle(walk, self) ||
        !take_number(walk, 1, &flags))
        return false;
    class->flags = (int)flags;
    return take_fields(walk, class);
}

static bool take_new_class(java_walk *walk, int *index, bool is_proxy)
{
    if (walk->class_count == MAX_CLASSES)
        return false;
    *index = walk->class_count++;
    class_desc *class = &walk->classes[*index];
    *class = (class_desc){.types = ""};
    if (!take_head_of_class(walk, class, ~*index, is_proxy) || !skip_annotation(walk) ||
        !take_class(walk, &class->super))
        return false;
    class->ancestors = class->super == NO_CLASS ? 0 : walk->classes[class->super].ancestors + 1;
    class->is_complete = class->ancestors < MAX_ANCESTORS;
    return class->is_complete;
}

/* A class that is its own superclass is none: its description is not complete when it is referred to. */
static bool take_class_again(java_walk *walk, int *index)
{
    referable what;
    if (!take_reference(walk, &what) || what >= 0)
        return false;
    *index = ~what;
    return walk->classes[*index].is_complete;
}

static bool take_class_of(java_walk *walk, int *index)
{
    uint64_t tag;
    *index = NO_CLASS;
    if (!take_number(walk, 1, &tag))
        return false;
    switch (tag) {
    case TC_NULL: return true;
    case TC_REFERENCE: return take_class_again(walk, index);
    case TC_CLASSDESC: return take_new_class(walk, index, false);
    case TC_PROXYCLASSDESC: return take_new_class(walk, index, true);
    default: return false;
    }
}

static bool take_class(java_walk *walk, int *index)
{
    bool was_taken = walk->depth < MAX_DEPTH;
    walk->depth++;
    was_taken = was_taken && take_class_of(walk, index);
    walk->depth--;
    return was_taken;
}

/* ---- objects ---- */

static uint64_t size_of_primitive(char type)
{
    switch (type) {
    case 'B':
    case 'Z': return 1;
    case 'C':
    case 'S': return 2;
    case 'F':
    case 'I': return 4;
    case 'D':
    case 'J': return 8;
    default: return 0;
    }
}

static bool skip_value(java_walk *walk, char type)
{
    uint64_t size = size_of_primitive(type);
    return size > 0 ? take(walk, size) != NULL : (type == 'L' || type == '[') && skip_content(walk);
}

static cny_java_exception *exception_of(const java_walk *walk, int level)
{
    return level >= 0 && level < CNY_JAVA_EXCEPTIONS ? &walk->error->exceptions[level] : NULL;
}

/* The values of Throwable's fields for an exception. */
static bool take_throwable(java_walk *walk, const class_desc *class, int level)
{
    cny_java_text ignored, *message = &exception_of(walk, level)->message;
    bool is_there =
        class->count >= 2 && take_content(walk, &ignored, level + 1) && take_content(walk, message, NO_LEVEL);
    for (size_t i = 2; i < class->count && is_there; i++)
        is_there = skip_value(walk, class->types[i]);
    return is_there;
}

static bool skip_values(java_walk *walk, const class_desc *class)
{
    bool is_there = true;
    for (size_t i = 0; i < class->count && is_there; i++)
        is_there = skip_value(walk, class->types[i]);
    return is_there;
}

static bool take_values(java_walk *walk, const class_desc *class, int level)
{
    if (class->flags & SC_EXTERNALIZABLE) /* without blocks nobody but its class knows where it ends */
        return class->flags & SC_BLOCK_DATA && skip_annotation(walk);
    bool is_throwable = exception_of(walk, level) && cny_java_text_is(&class->name, "java.lang.Throwable");
    if (!(is_throwable ? take_throwable(walk, class, level) : skip_values(walk, class)))
        return false;
    return !(class->flags & SC_WRITE_METHOD) || skip_annotation(walk);
}

static bool take_object(java_walk *walk, int level)
{
    int lineage[MAX_ANCESTORS], count = 0, index;
    if (!take_class(walk, &index) || index == NO_CLASS || !add_handle(walk, 0))
        return false;
    cny_java_exception *exception = exception_of(walk, level);
    if (exception) {
        exception->class_name = walk->classes[index].name;
        walk->error->count = (size_t)level + 1;
    }
    for (; index != NO_CLASS; index = walk->classes[index].super)
        lineage[count++] = index;
    while (count > 0) {
        if (!take_values(walk, &walk->classes[lineage[--count]], level))
            return false;
    }
    return true;
}

static bool skip_array(java_walk *walk)
{
    int index;
    uint64_t count;
    if (!take_class(walk, &index) || index == NO_CLASS || !add_handle(walk, 0) || !take_number(walk, 4, &count))
        return false;
    const cny_java_text *name = &walk->classes[index].name; /* such as "[I" */
    bool is_there = name->size >= 2;
    for (uint64_t i = 0; i < count && is_there; i++)
        is_there = skip_value(walk, name->data[1]);
    return is_there;
}

static bool skip_class_or_enum(java_walk *walk, bool is_enum)
{
    int index;
    return take_class(walk, &index) && add_handle(walk, 0) && (!is_enum || skip_content(walk));
}

static bool skip_block(java_walk *walk, size_t size_of_length)
{
    uint64_t size;
    return take_number(walk, size_of_length, &size) && take(walk, size);
}

static bool take_content_of(java_walk *walk, int tag, cny_java_text *text, int level)
{
    switch (tag) {
    case TC_NULL: return true;
    case TC_REFERENCE: return take_string_again(walk, text);
    case TC_OBJECT: return take_object(walk, level);
    case TC_STRING:
    case TC_LONGSTRING: return take_string(walk, tag, text);
    case TC_ARRAY: return skip_array(walk);
    case TC_CLASS:
    case TC_ENUM: return skip_class_or_enum(walk, tag == TC_ENUM);
    case TC_BLOCKDATA: return skip_block(walk, 1);
    case TC_BLOCKDATALONG: return skip_block(walk, 4);
    default: return false; /* a description of a class stands alone in no object; nor are there resets and failures */
    }
}

static bool take_content(java_walk *walk, cny_java_text *text, int level)
{
    uint64_t tag;
    bool was_taken = walk->depth < MAX_DEPTH;
    walk->depth++;
    was_taken = was_taken && take_number(walk, 1, &tag) && take_content_of(walk, (int)tag, text, level);
    walk->depth--;
    return was_taken;
}

/* ---- the result ---- */

static void begin(java_walk *walk, const void *bytes, size_t size)
{
    walk->start = walk->at = bytes;
    walk->end = walk->start + (size < INT32_MAX ? size : INT32_MAX);
    walk->error = NULL;
    walk->depth = walk->class_count = 0;
    walk->field_count = walk->handle_count = 0;
}

/* Goes to the first value of a RemoteInvocationResult, which is its exception. */
static bool enter_result(java_walk *walk)
{
    int index;
    const uint8_t *head = take(walk, sizeof magic + 1);
    if (!head || memcmp(head, magic, sizeof magic) != 0 || head[sizeof magic] != TC_OBJECT ||
        !take_class(walk, &index) || index == NO_CLASS || !add_handle(walk, 0))
        return false;
    const class_desc *class = &walk->classes[index];
    bool is_result = cny_java_text_is(&class->name, results[0]) || cny_java_text_is(&class->name, results[1]);
    return is_result && class->super == NO_CLASS && class->count > 0 && class->types[0] == 'L';
}

bool cny_java_is_error(const void *bytes, size_t size)
{
    java_walk walk;
    if (!bytes)
        return false;
    begin(&walk, bytes, size);
    return enter_result(&walk) && walk.at < walk.end && *walk.at == TC_OBJECT;
}

void cny_java_read_error(cny_java_error *error, const void *bytes, size_t size)
{
    java_walk walk;
    cny_java_text ignored;
    *error = (cny_java_error){0};
    begin(&walk, bytes, size);
    walk.error = error;
    if (enter_result(&walk))
        take_content(&walk, &ignored, 0); /* what was found before the walk ended is good, too */
}

/* ---- texts ---- */

static bool is_surrogate(const char *text, size_t size, uint8_t from)
{
    return size >= 3 && (uint8_t)text[0] == 0xed && ((uint8_t)text[1] & 0xf0) == from;
}

/* The ten bits of a surrogate that tell something. */
static uint32_t bits_of(const char *surrogate)
{
    return ((uint32_t)surrogate[1] & 0x0f) << 6 | ((uint32_t)surrogate[2] & 0x3f);
}

/* Java writes a character beyond U+FFFF as two surrogates of three bytes each. */
static void put_pair(char *to, const char *pair)
{
    uint32_t character = 0x10000 + (bits_of(pair) << 10 | bits_of(pair + 3));
    to[0] = (char)(0xf0 | character >> 18);
    to[1] = (char)(0x80 | (character >> 12 & 0x3f));
    to[2] = (char)(0x80 | (character >> 6 & 0x3f));
    to[3] = (char)(0x80 | (character & 0x3f));
}

void cny_java_text_copy(char *to, size_t room, const cny_java_text *text)
{
    size_t used = 0;
    for (size_t i = 0; i < text->size && used + 4 < room;) {
        const char *at = text->data + i;
        if (is_surrogate(at, text->size - i, 0xa0) && is_surrogate(at + 3, text->size - i - 3, 0xb0)) {
            put_pair(to + used, at);
            used += 4;
            i += 6;
        } else {
            to[used++] = (char)(*at ? *at : '?');
            i++;
        }
    }
    to[used] = '\0';
}
