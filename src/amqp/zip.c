/* SPDX-License-Identifier: MIT */
/* Writes and reads zip archives as Spring does: one entry with the name "amqp". Any thread.
 *
 * java.util.zip cannot go back in its output, so it writes checksum and sizes after the content (in a data descriptor);
 * Coney writes them before the content. Java reads both, and nothing after the content. Coney reads the whole archive,
 * because bytes that are damaged or missing shall not go unnoticed. */
#include "amqp/zip.h"

#include "amqp/amqp.h"

#include <string.h>
#include <zlib.h>

#define LOCAL_SIGNATURE 0x04034b50U
#define DESCRIPTOR_SIGNATURE 0x08074b50U
#define DIRECTORY_SIGNATURE 0x02014b50U
#define END_SIGNATURE 0x06054b50U
#define ZIP64_END_SIGNATURE 0x06064b50U
enum { LOCAL_BYTES = 30, DIRECTORY_BYTES = 46, END_BYTES = 22, SIGNATURE_BYTES = 4, DESCRIPTOR_BYTES = 12 };

enum { STORED = 0, DEFLATED = 8 }; /* methods */
#define ENCRYPTED 0x2041U          /* three kinds of encryption */
#define HAS_DESCRIPTOR 0x0008U
#define ZIP64_EXTRA 1
#define IN_ZIP64 UINT32_MAX /* instead of a size, which is in an extra field then */

#define NAME "amqp"
enum { NAME_BYTES = sizeof NAME - 1 };

static unsigned get_u16(const uint8_t *at)
{
    return at[0] | (unsigned)at[1] << 8;
}

static uint32_t get_u32(const uint8_t *at)
{
    return get_u16(at) | (uint32_t)get_u16(at + 2) << 16;
}

static void put_u16(uint8_t *at, unsigned number)
{
    at[0] = (uint8_t)number;
    at[1] = (uint8_t)(number >> 8);
}

static void put_u32(uint8_t *at, uint32_t number)
{
    put_u16(at, number & 0xffff);
    put_u16(at + 2, number >> 16);
}

/* ---- writing ---- */

/* What local header and directory have in common: from the version to the length of the name. The time is the earliest
 * that there is, so that the same body always makes the same archive. */
static void put_entry(uint8_t *at, uint32_t crc, size_t packed, size_t size)
{
    enum { VERSION = 20, FIRST_OF_JANUARY_1980 = 0x21 };
    put_u16(at, VERSION);
    put_u16(at + 4, DEFLATED);
    put_u16(at + 8, FIRST_OF_JANUARY_1980);
    put_u32(at + 10, crc);
    put_u32(at + 14, (uint32_t)packed);
    put_u32(at + 18, (uint32_t)size);
    put_u16(at + 22, NAME_BYTES);
}

static bool append_directory(cny_buffer *output, uint32_t crc, size_t packed, size_t size)
{
    uint8_t directory[DIRECTORY_BYTES + NAME_BYTES] = {0}, end[END_BYTES] = {0};
    put_u32(directory, DIRECTORY_SIGNATURE);
    put_u16(directory + 4, 20); /* the version that wrote it */
    put_entry(directory + 6, crc, packed, size);
    memcpy(directory + DIRECTORY_BYTES, NAME, NAME_BYTES);
    put_u32(end, END_SIGNATURE);
    put_u16(end + 8, 1);
    put_u16(end + 10, 1);
    put_u32(end + 12, sizeof directory);
    put_u32(end + 16, (uint32_t)output->size);
    return cny_buffer_append(output, directory, sizeof directory) && cny_buffer_append(output, end, sizeof end);
}

coney_status cny_zip(cny_buffer *output, const uint8_t *data, size_t size, int level)
{
    enum { BEFORE = LOCAL_BYTES + NAME_BYTES };
    uint8_t local[BEFORE] = {0};
    if (!cny_buffer_append(output, local, BEFORE))
        return cny_fail_memory();
    coney_status status = size < IN_ZIP64 ? cny_deflate(output, data, size, CNY_RAW_STREAM, level) : CONEY_OK;
    if (status != CONEY_OK)
        return status;
    if (size >= IN_ZIP64 || output->size >= IN_ZIP64)
        return cny_fail(CONEY_E_INVALID, "the body has %zu bytes, and a zip archive less than 4 GiB; gzip has no limit",
                        size);
    uint32_t crc = (uint32_t)crc32_z(0, data, size);
    put_u32(output->data, LOCAL_SIGNATURE);
    put_entry(output->data + 4, crc, output->size - BEFORE, size);
    memcpy(output->data + LOCAL_BYTES, NAME, NAME_BYTES);
    return append_directory(output, crc, output->size - BEFORE, size) ? CONEY_OK : cny_fail_memory();
}

/* ---- reading ---- */

typedef struct archive {
    const uint8_t *data;
    size_t size;
    size_t at; /* what is before it has been read */
} archive;

/* What an archive says of its entry. */
typedef struct entry {
    unsigned flags;
    unsigned method;
    uint32_t crc;
    uint32_t packed; /* the size of the compressed content */
    uint32_t size;
} entry;

static coney_status cut_off(void)
{
    return coney_conversion_failed("the zip archive is cut off");
}

static coney_status damaged(const char *how)
{
    return coney_conversion_failed("the zip archive is damaged: %s", how);
}

static coney_status refuse_zip64(void)
{
    return coney_conversion_failed("the zip archive is in the format zip64, which Coney does not read; senders may use "
                                   "gzip or deflate");
}

static coney_status refuse_more_entries(void)
{
    return coney_conversion_failed("the zip archive has more than one entry; a body is an archive of one");
}

/* Reads so many bytes. NULL, after a failure was recorded: there are fewer. */
static const uint8_t *take(archive *from, size_t size)
{
    if (size > from->size - from->at) {
        cut_off();
        return NULL;
    }
    from->at += size;
    return from->data + from->at - size;
}

/* The signature with which the next record begins. 0: the archive ends. */
static uint32_t next_signature(const archive *from)
{
    return from->size - from->at < SIGNATURE_BYTES ? 0 : get_u32(from->data + from->at);
}

static coney_status unexpected(uint32_t signature, const char *what)
{
    return signature == 0 ? cut_off() : damaged(what);
}

/* `at` is where put_entry() writes. */
static entry get_entry(const uint8_t *at)
{
    return (entry){.flags = get_u16(at + 2),
                   .method = get_u16(at + 4),
                   .crc = get_u32(at + 10),
                   .packed = get_u32(at + 14),
                   .size = get_u32(at + 18)};
}

static coney_status check_entry(const entry *found)
{
    if (found->flags & ENCRYPTED)
        return coney_conversion_failed("the zip archive is encrypted");
    if (found->method != STORED && found->method != DEFLATED)
        return coney_conversion_failed("the zip archive is compressed by method %u; Coney reads deflated (8) and "
                                       "stored (0) entries",
                                       found->method);
    if (found->packed == IN_ZIP64 || found->size == IN_ZIP64)
        return refuse_zip64();
    if (found->method == STORED && found->flags & HAS_DESCRIPTOR)
        return coney_conversion_failed("the entry of the zip archive is stored and has a data descriptor, so the end "
                                       "of the entry is not known");
    return CONEY_OK;
}

static coney_status read_name(archive *from, size_t size)
{
    const uint8_t *name = take(from, size);
    if (!name)
        return CONEY_E_CONVERSION;
    if (size == NAME_BYTES && memcmp(name, NAME, NAME_BYTES) == 0)
        return CONEY_OK;
    return coney_conversion_failed("the entry of the zip archive has the name '%.*s'; the entry of a body has the "
                                   "name '" NAME "'",
                                   (int)size, (const char *)name);
}

static coney_status read_extra(archive *from, size_t size)
{
    const uint8_t *extra = take(from, size);
    if (!extra)
        return CONEY_E_CONVERSION;
    while (size >= 4) {
        size_t field = 4 + (size_t)get_u16(extra + 2);
        if (get_u16(extra) == ZIP64_EXTRA)
            return refuse_zip64();
        if (field > size)
            return damaged("an extra field is longer than all of them");
        extra += field;
        size -= field;
    }
    return CONEY_OK;
}

static coney_status read_local_header(archive *from, entry *found)
{
    uint32_t signature = next_signature(from);
    if (signature == END_SIGNATURE)
        return coney_conversion_failed("the zip archive has no entry");
    if (signature != LOCAL_SIGNATURE && signature != 0)
        return coney_conversion_failed("the body is no zip archive");
    const uint8_t *header = take(from, LOCAL_BYTES);
    if (!header)
        return CONEY_E_CONVERSION;
    *found = get_entry(header + 4);
    coney_status status = check_entry(found);
    if (status == CONEY_OK)
        status = read_name(from, get_u16(header + 26));
    return status == CONEY_OK ? read_extra(from, get_u16(header + 28)) : status;
}

static coney_status read_stored(archive *from, const entry *found, const cny_budget *budget, cny_buffer *output)
{
    const uint8_t *content = take(from, found->packed);
    if (!content)
        return CONEY_E_CONVERSION;
    if (found->packed > budget->max_bytes - budget->spent)
        return cny_too_large(budget);
    return cny_buffer_append(output, content, found->packed) ? CONEY_OK : cny_fail_memory();
}

static coney_status read_deflated(archive *from, const cny_budget *budget, cny_buffer *output)
{
    size_t unread;
    coney_status status =
        cny_inflate(output, from->data + from->at, from->size - from->at, CNY_RAW_STREAM, budget, &unread);
    if (status == CONEY_OK)
        from->at = from->size - unread;
    return status;
}

/* Not all writers begin a data descriptor with a signature, and a checksum may look like that signature. */
static coney_status read_descriptor(archive *from, uint32_t crc, entry *found)
{
    const uint8_t *descriptor = take(from, DESCRIPTOR_BYTES);
    if (!descriptor)
        return CONEY_E_CONVERSION;
    if (get_u32(descriptor) == DESCRIPTOR_SIGNATURE &&
        (crc != DESCRIPTOR_SIGNATURE || get_u32(descriptor + 4) == crc)) {
        if (!take(from, SIGNATURE_BYTES))
            return CONEY_E_CONVERSION;
        descriptor += SIGNATURE_BYTES;
    }
    found->crc = get_u32(descriptor);
    found->packed = get_u32(descriptor + 4);
    found->size = get_u32(descriptor + 8);
    return CONEY_OK;
}

/* Reads the content, and what the archive says after the content. */
static coney_status read_content(archive *from, entry *found, const cny_budget *budget, cny_buffer *output)
{
    size_t content_at = from->at;
    coney_status status =
        found->method == STORED ? read_stored(from, found, budget, output) : read_deflated(from, budget, output);
    if (status != CONEY_OK)
        return status;
    size_t packed = from->at - content_at;
    uint32_t crc = (uint32_t)crc32_z(0, output->data, output->size);
    if (found->flags & HAS_DESCRIPTOR)
        status = read_descriptor(from, crc, found);
    if (status != CONEY_OK)
        return status;
    if (found->packed != packed || found->size != output->size)
        return coney_conversion_failed("the zip archive is damaged: it says that its entry has %lu bytes, compressed "
                                       "%lu; the entry has %zu and %zu",
                                       (unsigned long)found->size, (unsigned long)found->packed, output->size, packed);
    return found->crc == crc ? CONEY_OK : damaged("the CRC-32 of its content is wrong");
}

static coney_status read_directory(archive *from, const entry *found)
{
    uint32_t signature = next_signature(from);
    if (signature == LOCAL_SIGNATURE)
        return refuse_more_entries();
    if (signature != DIRECTORY_SIGNATURE)
        return unexpected(signature, "no directory follows its entry");
    const uint8_t *header = take(from, DIRECTORY_BYTES);
    if (!header)
        return CONEY_E_CONVERSION;
    entry listed = get_entry(header + 6);
    if (listed.method != found->method || listed.crc != found->crc || listed.packed != found->packed ||
        listed.size != found->size || get_u32(header + 42) != 0)
        return damaged("its directory and its entry say different things");
    coney_status status = read_name(from, get_u16(header + 28));
    if (status != CONEY_OK)
        return status;
    size_t extra_and_comment = (size_t)get_u16(header + 30) + get_u16(header + 32);
    return take(from, extra_and_comment) ? CONEY_OK : CONEY_E_CONVERSION;
}

static coney_status read_end(archive *from, size_t directory_at)
{
    size_t directory_bytes = from->at - directory_at;
    uint32_t signature = next_signature(from);
    if (signature == DIRECTORY_SIGNATURE)
        return refuse_more_entries();
    if (signature == ZIP64_END_SIGNATURE)
        return refuse_zip64();
    if (signature != END_SIGNATURE)
        return unexpected(signature, "no end record follows its directory");
    const uint8_t *end = take(from, END_BYTES);
    if (!end)
        return CONEY_E_CONVERSION;
    if (get_u32(end + 4) != 0 || get_u16(end + 8) != 1 || get_u16(end + 10) != 1 ||
        get_u32(end + 12) != directory_bytes || get_u32(end + 16) != directory_at)
        return damaged("its end record does not fit its directory of one entry");
    return take(from, get_u16(end + 20)) ? CONEY_OK : CONEY_E_CONVERSION;
}

coney_status cny_unzip(cny_buffer *output, const uint8_t *data, size_t size, const cny_budget *budget, size_t *unread)
{
    archive from = {.data = data, .size = size};
    entry found = {0};
    coney_status status = read_local_header(&from, &found);
    if (status == CONEY_OK)
        status = read_content(&from, &found, budget, output);
    size_t directory_at = from.at;
    if (status == CONEY_OK)
        status = read_directory(&from, &found);
    if (status == CONEY_OK)
        status = read_end(&from, directory_at);
    *unread = from.size - from.at;
    return status;
}
