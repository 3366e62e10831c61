/* SPDX-License-Identifier: MIT */
/* Texts in charsets other than UTF-8, converted by the C library's iconv, which only this file uses. Any thread; each
 * conversion has an iconv converter of its own.
 *
 * The content encoding of a message names its charset, or else a parameter of its content type does. The name comes
 * from outside, so it is checked before iconv gets it. */
#include "amqp/converter.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_NAME 40    /* of a charset, as IANA has it */
#define MIN_ROOM 64    /* in any charset the bytes that end a text need less */
#define MAX_PIECE 1024 /* bytes of a text that iconv gets in one call */
#define MAX_GROWTH 16  /* in any charset one byte becomes fewer bytes */

typedef struct charset {
    char name[CNY_MAX_SHORT_STRING + 1]; /* "": the message names none */
    const char *content_type;            /* if a parameter of it names the charset; NULL: the content encoding does */
    size_t width;                        /* bytes of a unit, if a byte order mark may begin the text; 0: it may not */
} charset;

/* ---- the name ---- */

/* Copies a token, or a quoted string without its quotes. Returns the place where it ends. */
static const char *take_value(const char *at, char *value)
{
    size_t size = 0;
    if (*at != '"') {
        size = strcspn(at, ";");
        memcpy(value, at, size);
        at += size;
        while (size > 0 && strchr(" \t", value[size - 1]))
            size--;
    } else {
        for (at++; *at && *at != '"'; at++) {
            if (*at == '\\' && at[1])
                at++;
            value[size++] = *at;
        }
        at += strcspn(at, ";");
    }
    value[size] = '\0';
    return at;
}

/* Of several charset parameters the last one counts, as in Spring. */
static void find_parameter(charset *named, const char *content_type)
{
    static const char name[] = "charset";
    size_t size = sizeof name - 1;
    char value[CNY_MAX_SHORT_STRING + 1];
    const char *at = content_type + strcspn(content_type, ";");
    while (*at) {
        at += strspn(at, "; \t");
        bool is_it = strncasecmp(at, name, size) == 0;
        const char *equals = is_it ? at + size + strspn(at + size, " \t") : at + strcspn(at, "=;");
        if (*equals != '=') {
            at = equals + strcspn(equals, ";");
            continue;
        }
        at = take_value(equals + 1 + strspn(equals + 1, " \t"), value);
        if (is_it)
            memcpy(named->name, value, sizeof value);
    }
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* ASCII is part of UTF-8. */
static bool is_utf8(const charset *named)
{
    static const char *const names[] = {"", "UTF-8", "utf8", "US-ASCII", "ascii"};
    return is_one_of(named->name, names, sizeof names / sizeof *names);
}

/* C libraries read text without a byte order mark in different byte orders. Coney reads it as big-endian, as RFC 2781
 * and Java do. */
static size_t width_of(const char *name)
{
    static const char *const two[] = {"UTF-16", "UTF16", "UTF_16", "UCS-2", "UCS2", "ISO-10646-UCS-2", "UNICODE"};
    static const char *const four[] = {"UTF-32", "UTF32", "UTF_32", "UCS-4", "UCS4", "ISO-10646-UCS-4"};
    return is_one_of(name, two, sizeof two / sizeof *two)      ? 2
           : is_one_of(name, four, sizeof four / sizeof *four) ? 4
                                                               : 0;
}

static charset charset_of(const coney_properties *properties)
{
    charset named = {0};
    const char *encoding = properties ? properties->content_encoding : NULL;
    if (encoding && *encoding) {
        memcpy(named.name, encoding, strnlen(encoding, CNY_MAX_SHORT_STRING));
    } else if (properties && properties->content_type && strlen(properties->content_type) <= CNY_MAX_SHORT_STRING) {
        named.content_type = properties->content_type;
        find_parameter(&named, properties->content_type);
    }
    named.width = is_utf8(&named) ? 0 : width_of(named.name);
    return named;
}

static size_t well_formed_size(const char *name)
{
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:+");
}

/* iconv takes options after a slash, so the name may have none. */
static bool is_well_formed(const char *name)
{
    size_t size = strlen(name);
    return size <= MAX_NAME && well_formed_size(name) == size;
}

static void explain(char *why, size_t size, const char *name)
{
    unsigned char wrong = (unsigned char)name[well_formed_size(name)];
    if (strlen(name) > MAX_NAME)
        snprintf(why, size, "the name is longer than %d characters", MAX_NAME);
    else if (wrong == '\0')
        snprintf(why, size, "iconv of this system knows no such charset (see iconv -l)");
    else if (wrong > ' ' && wrong < 0x7f)
        snprintf(why, size, "the name holds a '%c'", wrong);
    else
        snprintf(why, size, "the name holds the byte 0x%02x", wrong);
}

/* The content encoding begins with a name that coney_decompress_processor() removes. */
static bool is_compression(const char *encoding)
{
    static const char *const names[] = {"gzip", "deflate", "zip"};
    char first[sizeof "deflate"] = "";
    size_t size = strcspn(encoding, ",: ");
    if (size < sizeof first)
        memcpy(first, encoding, size);
    return is_one_of(first, names, sizeof names / sizeof *names);
}

static coney_status not_understood(const charset *named, bool is_sent)
{
    char why[80];
    explain(why, sizeof why, named->name);
    if (named->content_type)
        return coney_conversion_failed("charset '%s' of content type '%s' is not understood: %s", named->name,
                                       named->content_type, why);
    if (!is_compression(named->name))
        return coney_conversion_failed("content encoding '%s' is not understood: %s", named->name, why);
    return coney_conversion_failed(
        is_sent ? "content encoding '%s' is no charset; name a charset, and compress with coney_compress_processor()"
                : "content encoding '%s' is not understood: a compressed body needs coney_decompress_processor() first",
        named->name);
}

/* ---- converting ---- */

typedef struct conversion {
    const char *to, *from;
    const char *text;
    size_t size;
    cny_buffer *out;
    size_t at;           /* the byte that cannot be converted */
    int error;           /* EILSEQ, or EINVAL if the text ends within a character; 0: the text is converted */
    bool has_substitute; /* musl's iconv has replaced a character that the charset lacks */
} conversion;

/* Calls iconv once for the next piece of the text, with room for everything that the piece can become: some converters
 * of glibc 2.36 (EUC-JISX0213, Shift_JISX0213) write without end when a pair of characters does not fit the room.
 * After the last piece, calls iconv for the bytes that end a text in charsets with states. 0, or an errno. */
static int step(conversion *one, iconv_t converter, char **next, size_t *left)
{
    cny_buffer *out = one->out;
    size_t piece = *left < MAX_PIECE ? *left : MAX_PIECE, after = *left - piece;
    if (!cny_buffer_reserve(out, piece * MAX_GROWTH + MIN_ROOM))
        return ENOMEM;
    char *to = (char *)out->data + out->size, *before = *next;
    size_t room = out->capacity - out->size;
    size_t lost = piece > 0 ? iconv(converter, next, &piece, &to, &room) : iconv(converter, NULL, NULL, &to, &room);
    one->has_substitute = lost > 0 && lost != (size_t)-1;
    int error = lost == (size_t)-1 ? errno : one->has_substitute ? EILSEQ : 0;
    out->size = out->capacity - room;
    *left = after + piece;
    if (error == EINVAL && after > 0 && *next > before)
        return 0;                           /* the piece ends within a character, and the next piece begins with it */
    return error == E2BIG ? EILSEQ : error; /* no charset needs more room than there is */
}

/* Finds the first character of a UTF-8 text that the charset lacks; iconv did not stop there. */
static size_t find_substituted(const conversion *one, iconv_t converter)
{
    size_t at = 0, length = 1;
    iconv(converter, NULL, NULL, NULL, NULL);
    for (; at < one->size; at += length) {
        char converted[MIN_ROOM], *to = converted, *next = (char *)(uintptr_t)one->text + at;
        for (length = 1; at + length < one->size && (next[length] & 0xc0) == 0x80;)
            length++;
        size_t left = length, room = sizeof converted;
        if (iconv(converter, &next, &left, &to, &room) > 0)
            break;
    }
    return at;
}

static void convert_all(conversion *one, iconv_t converter)
{
    char *next = (char *)(uintptr_t)one->text;
    size_t left = one->size;
    bool is_last = false;
    one->error = cny_buffer_reserve(one->out, one->size + one->size / 2) ? 0 : ENOMEM;
    while (one->error == 0 && !is_last) {
        is_last = left == 0;
        one->error = step(one, converter, &next, &left);
    }
    one->at = one->has_substitute ? find_substituted(one, converter) : one->size - left;
}

/* CONEY_OK also if one->error is EILSEQ or EINVAL, which the caller describes. */
static coney_status convert(conversion *one, const charset *named, bool is_sent)
{
    CNY_DISABLE_CANCEL(); /* a program may call a converter itself, and iconv reads files */
    iconv_t converter = iconv_open(one->to, one->from);
    if (converter == (iconv_t)-1 && errno == EINVAL)
        return not_understood(named, is_sent);
    if (converter == (iconv_t)-1)
        return cny_fail(CONEY_E_NO_MEMORY, "charset '%s' cannot be opened: %s", named->name, cny_errno_text(errno));
    convert_all(one, converter);
    iconv_close(converter);
    return one->error == ENOMEM ? cny_fail_memory() : CONEY_OK;
}

/* ---- reading ---- */

static coney_status check_utf8(const cny_text *text, const charset *named)
{
    ptrdiff_t wrong = cny_utf8_error(text->data, text->size);
    if (wrong < 0)
        return CONEY_OK;
    return is_utf8(named)
               ? coney_conversion_failed("the body is not UTF-8 (at offset %td), and neither content encoding nor "
                                         "content type names another charset",
                                         wrong)
               : coney_conversion_failed("the body in charset '%s' is no text", named->name);
}

static const char big_mark[] = {0, 0, '\xfe', '\xff'}, little_mark[] = {'\xff', '\xfe', 0, 0};

/* Skips a byte order mark, and gives the name of the charset in that byte order. */
static const char *with_order(const charset *named, conversion *one)
{
    size_t width = named->width;
    if (width == 0)
        return named->name;
    bool has_mark = one->size >= width, is_little = has_mark && memcmp(one->text, little_mark, width) == 0;
    if (is_little || (has_mark && memcmp(one->text, big_mark + 4 - width, width) == 0)) {
        one->text += width;
        one->size -= width;
    }
    return width == 2 ? (is_little ? "UTF-16LE" : "UTF-16BE") : (is_little ? "UTF-32LE" : "UTF-32BE");
}

static coney_status read_converted(cny_text *text, const coney_message *message, const charset *named)
{
    conversion one = {
        .to = "UTF-8", .text = (const char *)message->body, .size = message->size, .out = &text->converted};
    one.from = with_order(named, &one);
    size_t mark = message->size - one.size;
    coney_status status = convert(&one, named, false);
    if (status != CONEY_OK)
        return status;
    if (one.error == EINVAL)
        return coney_conversion_failed("the body ends within a character of charset '%s' that begins at byte %zu",
                                       named->name, mark + one.at);
    if (one.error != 0)
        return coney_conversion_failed("the body is not in charset '%s' at byte %zu", named->name, mark + one.at);
    text->size = text->converted.size;
    if (!cny_buffer_append(&text->converted, "", 1))
        return cny_fail_memory();
    text->data = (const char *)text->converted.data;
    return CONEY_OK;
}

coney_status cny_text_read(cny_text *text, const coney_message *message)
{
    *text = (cny_text){.data = (const char *)message->body, .size = message->size};
    charset named = charset_of(&message->properties);
    coney_status status = is_utf8(&named)              ? CONEY_OK
                          : is_well_formed(named.name) ? read_converted(text, message, &named)
                                                       : not_understood(&named, false);
    if (status == CONEY_OK)
        status = check_utf8(text, &named);
    if (status != CONEY_OK)
        cny_text_free(text);
    return status;
}

/* ---- writing ---- */

static coney_status write_converted(cny_text *text, const charset *named)
{
    conversion one = {.from = "UTF-8", .text = text->data, .size = text->size, .out = &text->converted};
    one.to = with_order(named, &(conversion){0});
    if (named->width > 0 && !cny_buffer_append(&text->converted, big_mark + 4 - named->width, named->width))
        return cny_fail_memory();
    coney_status status = convert(&one, named, true);
    if (status == CONEY_OK && one.error != 0)
        status = coney_conversion_failed("charset '%s' has no character for the one at byte %zu of the text",
                                         named->name, one.at);
    text->data = (const char *)text->converted.data;
    text->size = text->converted.size;
    return status;
}

coney_status cny_text_write(cny_text *text, const char *utf8, const coney_properties *properties)
{
    *text = (cny_text){.data = utf8, .size = strlen(utf8)};
    charset named = charset_of(properties);
    if (is_utf8(&named))
        return CONEY_OK;
    coney_status status = is_well_formed(named.name) ? write_converted(text, &named) : not_understood(&named, true);
    if (status != CONEY_OK)
        cny_text_free(text);
    return status;
}

void cny_text_free(cny_text *text)
{
    cny_buffer_free(&text->converted);
}
