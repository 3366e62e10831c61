/* SPDX-License-Identifier: MIT */
/* The macros that describe structs, for <coney/amqp/type.h>. They are for static tables in C11 and C++17. A member
 * whose type is not that of its kind is a warning of the compiler in C, and an error in C++.
 *
 * Options follow the kind as designated initialisers, in the order of coney_field_options or coney_type_options. C++17
 * has no such initialisers: docs/cpp.md shows how options are set there. */
#ifndef CONEY_AMQP_TYPE_MACROS_H
#define CONEY_AMQP_TYPE_MACROS_H

#include <time.h>

/* T member. kind is CONEY_INT64 and so on, CONEY_ENUM(names) or CONEY_STRUCT(type). */
#define CONEY_FIELD(struct_, member_, ...) CONEY_FIELD_(struct_, member_, __VA_ARGS__, )
#define CONEY_FIELD_(s, m, kind_, ...)                                                                                 \
    CONEY_MAKE_FIELD_(s, m, CONEY_ONE, kind_, CONEY_MEMBER_(s, m), sizeof(CONEY_MEMBER_(s, m)), 0, 0, false,           \
                      __VA_ARGS__)

/* T *member, NULL if the field is null, or if it is optional and missing. Not for kinds that are pointers. */
#define CONEY_POINTER(struct_, member_, ...) CONEY_POINTER_(struct_, member_, __VA_ARGS__, )
#define CONEY_POINTER_(s, m, kind_, ...)                                                                               \
    CONEY_MAKE_FIELD_(s, m, CONEY_POINTED, kind_, *CONEY_MEMBER_(s, m), sizeof(*CONEY_MEMBER_(s, m)), 0, 0, false,     \
                      __VA_ARGS__)

/* T *member; size_t count. */
#define CONEY_LIST(struct_, member_, count_, ...) CONEY_LIST_(struct_, member_, count_, __VA_ARGS__, )
#define CONEY_LIST_(s, m, count_, kind_, ...)                                                                          \
    CONEY_MAKE_FIELD_(s, m, CONEY_LISTED, kind_, *CONEY_MEMBER_(s, m), sizeof(*CONEY_MEMBER_(s, m)),                   \
                      CONEY_COUNT_(s, count_), 0, true, __VA_ARGS__)

/* T member[N]. CONEY_ARRAY_FIELD: the JSON has all N. CONEY_COUNTED_ARRAY: the JSON has at most N, and size_t count
 * tells how many. */
#define CONEY_ARRAY_FIELD(struct_, member_, ...) CONEY_ARRAY_FIELD_(struct_, member_, __VA_ARGS__, )
#define CONEY_ARRAY_FIELD_(s, m, kind_, ...)                                                                           \
    CONEY_MAKE_FIELD_(s, m, CONEY_FIXED, kind_, CONEY_MEMBER_(s, m)[0], sizeof(CONEY_MEMBER_(s, m)[0]), 0,             \
                      sizeof(CONEY_MEMBER_(s, m)) / sizeof(CONEY_MEMBER_(s, m)[0]), false, __VA_ARGS__)
#define CONEY_COUNTED_ARRAY(struct_, member_, count_, ...) CONEY_COUNTED_ARRAY_(struct_, member_, count_, __VA_ARGS__, )
#define CONEY_COUNTED_ARRAY_(s, m, count_, kind_, ...)                                                                 \
    CONEY_MAKE_FIELD_(s, m, CONEY_FIXED, kind_, CONEY_MEMBER_(s, m)[0], sizeof(CONEY_MEMBER_(s, m)[0]),                \
                      CONEY_COUNT_(s, count_), sizeof(CONEY_MEMBER_(s, m)) / sizeof(CONEY_MEMBER_(s, m)[0]), true,     \
                      __VA_ARGS__)

/* char **member or struct **member, with a NULL after the last. For texts and CONEY_STRUCT(type). */
#define CONEY_TERMINATED_LIST(struct_, member_, ...) CONEY_TERMINATED_LIST_(struct_, member_, __VA_ARGS__, )
#define CONEY_TERMINATED_LIST_(s, m, kind_, ...)                                                                       \
    CONEY_MAKE_FIELD_(s, m, CONEY_TERMINATED, kind_, *CONEY_MEMBER_(s, m), sizeof(*CONEY_MEMBER_(s, m)), 0, 0, false,  \
                      __VA_ARGS__)

/* coney_map member. kind is that of the values. */
#define CONEY_MAP(struct_, member_, ...) CONEY_MAP_(struct_, member_, __VA_ARGS__, )
#define CONEY_MAP_(s, m, kind_, ...)                                                                                   \
    {                                                                                                                  \
#m, CONEY_MAPPED, CONEY_OF_##kind_, offsetof(s, m) + 0 * CONEY_SAME_(CONEY_MEMBER_(s, m), coney_map), 0, 0, 0, \
            false, CONEY_OPTIONS_(__VA_ARGS__)                                                                         \
    }

/* Options with more than one value. */
#define CONEY_HAS(struct_, member_)                                                                                    \
    (offsetof(struct_, member_) + 1 + 0 * CONEY_SAME_(CONEY_MEMBER_(struct_, member_), bool))
#define CONEY_RANGE(least_, most_) .has_range = true, .least = (least_), .most = (most_)
#define CONEY_REAL_RANGE(least_, most_) .has_real_range = true, .real_least = (least_), .real_most = (most_)

/* A struct, by its table, which must be an array here. */
#define CONEY_TYPE(id_, ...) CONEY_TYPE_(id_, __VA_ARGS__, )
#define CONEY_TYPE_(id_, struct_, fields_, ...)                                                                        \
    {                                                                                                                  \
        id_, CONEY_OBJECT_FORM, sizeof(struct_), fields_, sizeof(fields_) / sizeof((fields_)[0]), CONEY_NO_FIELD_,     \
            CONEY_OPTIONS_(__VA_ARGS__)                                                                                \
    }

/* A JSON array or a JSON object whose names are data, of values of this kind. The ids that Spring writes and reads are
 * class names such as "java.util.ArrayList" and "java.util.HashMap". */
#define CONEY_LIST_TYPE(id_, ...) CONEY_LIST_TYPE_(id_, __VA_ARGS__, )
#define CONEY_LIST_TYPE_(id_, kind_, ...)                                                                              \
    {                                                                                                                  \
        id_, CONEY_LIST_FORM, sizeof(coney_list), NULL, 0, CONEY_ELEMENT_(CONEY_LISTED, kind_),                        \
            CONEY_OPTIONS_(__VA_ARGS__)                                                                                \
    }
#define CONEY_MAP_TYPE(id_, ...) CONEY_MAP_TYPE_(id_, __VA_ARGS__, )
#define CONEY_MAP_TYPE_(id_, kind_, ...)                                                                               \
    {                                                                                                                  \
        id_, CONEY_MAP_FORM, sizeof(coney_map), NULL, 0, CONEY_ELEMENT_(CONEY_MAPPED, kind_),                          \
            CONEY_OPTIONS_(__VA_ARGS__)                                                                                \
    }

/* ---- parts of the macros ---- */

#define CONEY_MEMBER_(s, m) (((s *)0)->m) /* in sizeof only, so nothing is read */

#define CONEY_MAKE_FIELD_(s, m, shape_, kind_, element_, size_, count_, capacity_, has_count_, ...)                    \
    {                                                                                                                  \
#m, shape_, CONEY_OF_##kind_, offsetof(s, m) + 0 * CONEY_CHECK_##kind_(element_), size_, count_, capacity_,    \
            has_count_, CONEY_OPTIONS_(__VA_ARGS__)                                                                    \
    }

#define CONEY_ELEMENT_(shape_, kind_)                                                                                  \
    {                                                                                                                  \
        NULL, shape_, CONEY_OF_##kind_, 0, 0, offsetof(coney_list, count), 0, true, CONEY_OPTIONS_()                   \
    }

#ifdef __cplusplus
#define CONEY_OPTIONS_(...)                                                                                            \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define CONEY_NO_FIELD_                                                                                                \
    {                                                                                                                  \
    }
#else
#define CONEY_OPTIONS_(...)                                                                                            \
    {                                                                                                                  \
        0, __VA_ARGS__                                                                                                 \
    }
#define CONEY_NO_FIELD_                                                                                                \
    {                                                                                                                  \
        0                                                                                                              \
    }
#endif

/* For each kind: its number, and what it refers to; and the check of a member of this kind. */
#define CONEY_OF_CONEY_BOOL CONEY_BOOL, NULL, 0
#define CONEY_OF_CONEY_INT8 CONEY_INT8, NULL, 0
#define CONEY_OF_CONEY_UINT8 CONEY_UINT8, NULL, 0
#define CONEY_OF_CONEY_INT16 CONEY_INT16, NULL, 0
#define CONEY_OF_CONEY_UINT16 CONEY_UINT16, NULL, 0
#define CONEY_OF_CONEY_INT32 CONEY_INT32, NULL, 0
#define CONEY_OF_CONEY_UINT32 CONEY_UINT32, NULL, 0
#define CONEY_OF_CONEY_INT64 CONEY_INT64, NULL, 0
#define CONEY_OF_CONEY_UINT64 CONEY_UINT64, NULL, 0
#define CONEY_OF_CONEY_FLOAT CONEY_FLOAT, NULL, 0
#define CONEY_OF_CONEY_DOUBLE CONEY_DOUBLE, NULL, 0
#define CONEY_OF_CONEY_BYTES CONEY_BYTES, NULL, 0
#define CONEY_OF_CONEY_TIMESTAMP CONEY_TIMESTAMP, NULL, 0
#define CONEY_OF_CONEY_TIMESTAMP_MS CONEY_TIMESTAMP_MS, NULL, 0
#define CONEY_OF_CONEY_TIMESPEC CONEY_TIMESPEC, NULL, 0
#define CONEY_OF_CONEY_JSON CONEY_JSON, NULL, 0
#define CONEY_OF_CONEY_UNKNOWN CONEY_UNKNOWN, NULL, 0
#define CONEY_OF_CONEY_STRING CONEY_STRING, NULL, 0
#define CONEY_OF_CONEY_DECIMAL CONEY_DECIMAL, NULL, 0
#define CONEY_OF_CONEY_RAW_JSON CONEY_RAW_JSON, NULL, 0
#define CONEY_OF_CONEY_CHARS CONEY_CHARS, NULL, 0
#define CONEY_OF_CONEY_UUID CONEY_UUID, NULL, 0
#define CONEY_OF_CONEY_ENUM(names_) CONEY_ENUM, names_, sizeof(names_) / sizeof((names_)[0])
#define CONEY_OF_CONEY_STRUCT(type_) CONEY_STRUCT, &(type_), 0

/* Warns unless the element is of this type, has a pointer of this type, or is an array of this type. */
#define CONEY_SAME_(element_, type_) sizeof(1 ? &(element_) : (type_ *)0)
#define CONEY_SAME_TEXT_(element_) sizeof(1 ? (element_) : (const char *)0)
#define CONEY_SAME_ARRAY_(element_, type_) sizeof(1 ? &(element_)[0] : (type_ *)0)

#define CONEY_CHECK_CONEY_BOOL(element_) CONEY_SAME_(element_, bool)
#define CONEY_CHECK_CONEY_INT8(element_) CONEY_SAME_(element_, int8_t)
#define CONEY_CHECK_CONEY_UINT8(element_) CONEY_SAME_(element_, uint8_t)
#define CONEY_CHECK_CONEY_INT16(element_) CONEY_SAME_(element_, int16_t)
#define CONEY_CHECK_CONEY_UINT16(element_) CONEY_SAME_(element_, uint16_t)
#define CONEY_CHECK_CONEY_INT32(element_) CONEY_SAME_(element_, int32_t)
#define CONEY_CHECK_CONEY_UINT32(element_) CONEY_SAME_(element_, uint32_t)
#define CONEY_CHECK_CONEY_INT64(element_) CONEY_SAME_(element_, int64_t)
#define CONEY_CHECK_CONEY_UINT64(element_) CONEY_SAME_(element_, uint64_t)
#define CONEY_CHECK_CONEY_FLOAT(element_) CONEY_SAME_(element_, float)
#define CONEY_CHECK_CONEY_DOUBLE(element_) CONEY_SAME_(element_, double)
#define CONEY_CHECK_CONEY_BYTES(element_) CONEY_SAME_(element_, coney_bytes)
#define CONEY_CHECK_CONEY_TIMESTAMP(element_) CONEY_SAME_(element_, int64_t)
#define CONEY_CHECK_CONEY_TIMESTAMP_MS(element_) CONEY_SAME_(element_, int64_t)
#define CONEY_CHECK_CONEY_TIMESPEC(element_) CONEY_SAME_(element_, struct timespec)
#define CONEY_CHECK_CONEY_JSON(element_) CONEY_SAME_(element_, json_t *)
#define CONEY_CHECK_CONEY_UNKNOWN(element_) CONEY_SAME_(element_, json_t *)
#define CONEY_CHECK_CONEY_STRING(element_) CONEY_SAME_TEXT_(element_)
#define CONEY_CHECK_CONEY_DECIMAL(element_) CONEY_SAME_TEXT_(element_)
#define CONEY_CHECK_CONEY_RAW_JSON(element_) CONEY_SAME_TEXT_(element_)
#define CONEY_CHECK_CONEY_CHARS(element_) CONEY_SAME_ARRAY_(element_, char)
#define CONEY_CHECK_CONEY_UUID(element_) CONEY_SAME_ARRAY_(element_, uint8_t)
#define CONEY_CHECK_CONEY_ENUM(names_) CONEY_SIZE_
#define CONEY_CHECK_CONEY_STRUCT(type_) CONEY_SIZE_
#define CONEY_SIZE_(element_) sizeof(element_) /* compared with that of the type when it is used */

#define CONEY_COUNT_(s, m) (offsetof(s, m) + 0 * CONEY_SAME_(CONEY_MEMBER_(s, m), size_t))

#endif
