/* SPDX-License-Identifier: MIT */
/* The room that all others use: memory, bytes, time, threads, text, the log and a thread's last error. Any thread,
 * unless said otherwise. Knows nothing of AMQP but the statuses and log levels of the public headers. */
#ifndef CNY_BASE_H
#define CNY_BASE_H

#include <coney/amqp/log.h>
#include <coney/amqp/status.h>

#include <pthread.h>

#define CNY_PRINTF(text_at, first_at) __attribute__((format(printf, text_at, first_at)))

/* ---- memory ---- */

void *cny_alloc(size_t size); /* zeroed; NULL without memory */
void *cny_realloc(void *memory, size_t size);
char *cny_strdup(const char *text); /* NULL stays NULL */
void cny_free(void *memory);

/* For tests: after this number of successful allocations all others fail. Below 0: none fails. */
void cny_alloc_fail_after(int successes);

/* ---- arena: many small pieces that are freed together ---- */

typedef struct cny_arena {
    struct cny_chunk *chunks;
    char *next;
    char *end;
    size_t held; /* bytes of memory that the arena has, used or not */
} cny_arena;

/* The first pieces are in the caller's memory, which may be NULL; later ones in chunks of the arena's own. */
void cny_arena_init(cny_arena *arena, void *memory, size_t size);
void cny_arena_free(cny_arena *arena);
void *cny_arena_alloc(cny_arena *arena, size_t size);                         /* not zeroed */
char *cny_arena_copy(cny_arena *arena, const void *bytes, size_t size);       /* and a NUL after them */
bool cny_arena_strdup(cny_arena *arena, const char **copy, const char *text); /* NULL stays NULL */

/* ---- buffer: an array of bytes that grows ---- */

typedef struct cny_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool borrowed; /* data is an array on the caller's stack, and must not be freed */
} cny_buffer;

/* The buffer begins in the caller's array, so that short contents cost no allocation. */
void cny_buffer_on_stack(cny_buffer *buffer, void *array, size_t capacity);
bool cny_buffer_reserve(cny_buffer *buffer, size_t extra); /* false without memory: nothing is changed */
bool cny_buffer_append(cny_buffer *buffer, const void *bytes, size_t size);
void cny_buffer_swap(cny_buffer *a, cny_buffer *b);
void cny_buffer_free(cny_buffer *buffer); /* the buffer is empty then, and may be used again */

/* ---- hashes ---- */

uint32_t cny_hash(const void *bytes, size_t size); /* spreads evenly; anybody can find bytes of the same hash */

/* A hash with a secret key of this process: nobody outside can choose bytes that have the same hash. */
uint64_t cny_hash_keyed(const void *bytes, size_t size);

/* ---- time: milliseconds of the monotonic clock ---- */

int64_t cny_now_ms(void);
int64_t cny_now_us(void);             /* the same clock */
int64_t cny_deadline(int timeout_ms); /* now plus the timeout */

static inline int64_t cny_sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The same deadline or up to CNY_COARSE_MS later, for a fifth of the time that the call takes. */
enum { CNY_COARSE_MS = 10 };
int64_t cny_deadline_about(int timeout_ms);

/* ---- threads ---- */

/* For a mutex that several threads often want at once, and hold for a shorter time than a thread switch takes. */
void cny_busy_mutex_init(pthread_mutex_t *mutex);

bool cny_cond_init(pthread_cond_t *cond);

/* Waits as pthread_cond_wait() does. False if the deadline has passed. */
bool cny_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline);

/* What a thread does. Its stack has stack_bytes, 1 MiB, or the system's default: the largest of the three. */
typedef struct cny_thread {
    const char *name;
    size_t stack_bytes;
    void *(*run)(void *argument);
    void *argument;
} cny_thread;

/* Starts a thread, which the caller must join or detach. The thread cannot be cancelled. It begins with all signals
 * blocked but those that are about the thread itself (SIGSEGV and so on) and SIGPROF; a thread that runs the program's
 * code then sets the program's signal mask. CONEY_E_SYSTEM, CONEY_E_NO_MEMORY. */
coney_status cny_thread_start(pthread_t *id, const cny_thread *thread);

/* A group of threads (docs/threading.md). Each thread has an owner, and is joined when that owner ends. The threads do
 * not use the group, so a thread of the group may free it. */
typedef struct cny_threads {
    pthread_mutex_t lock;
    cny_buffer running; /* threads that are neither joined nor detached; under lock */
} cny_threads;

void cny_threads_init(cny_threads *threads);
void cny_threads_free(cny_threads *threads); /* detaches the threads that are left */

/* CONEY_E_SYSTEM, CONEY_E_NO_MEMORY. May be called under any lock. */
coney_status cny_threads_start(cny_threads *threads, const void *owner, const cny_thread *thread);

/* Does the calling thread belong to this owner? */
bool cny_threads_is_current(cny_threads *threads, const void *owner);

/* Joins the threads of this owner; NULL: all threads. Those that still run at the deadline are detached, and Coney's
 * code stays loaded until the process ends, because they return to it. Not to be called under a lock. */
void cny_threads_join(cny_threads *threads, const void *owner, int64_t deadline);

/* The first line of every public function that may lock, wait, log, read files or run the program's code
 * (cmake/calls.sh checks that): its thread cannot be cancelled until the function returns. A thread that ended at a
 * cancellation point before that would keep locks for ever, and leave work half done. */
#define CNY_DISABLE_CANCEL()                                                                                           \
    const int cny_cancel_state __attribute__((unused, cleanup(cny_restore_cancel))) = cny_disable_cancel()
int cny_disable_cancel(void); /* returns the state before */
void cny_restore_cancel(const int *state);

/* The number of forks between the process that loaded the library and this one. A child of fork() has no threads of its
 * parent, so an object that was made at another count cannot be used. */
unsigned cny_fork_count(void);

/* ---- trying again, after delays that grow ---- */

/* Checks the three options, which belong to the struct that `option` names in the error: "recovery.first_delay_ms is
 * -1, below 0". In each of them 0 stands for the default. CONEY_E_INVALID. */
coney_status cny_backoff_check(const char *option, int first_delay_ms, double multiplier, int max_delay_ms);

/* Replaces each 0 by its default: 1,000 ms, 2, and default_max_delay_ms. The first delay is never the longer one. */
void cny_backoff_set_defaults(int *first_delay_ms, double *multiplier, int *max_delay_ms, int default_max_delay_ms);

/* The delay that follows delay_ms. After 0, the delay before the first failure, that is first_delay_ms. */
int cny_backoff(int delay_ms, int first_delay_ms, double multiplier, int max_delay_ms);

/* The delay after this number of failures. */
int cny_backoff_after(int failures, int first_delay_ms, double multiplier, int max_delay_ms);

/* Shortens a delay by up to a half, at random, so that clients that failed together do not come back together. */
int cny_jitter(int delay_ms);

/* ---- chance ---- */

uint32_t cny_random(uint32_t below); /* 0 to below - 1. Not for secrets */

/* ---- text ---- */

/* Gives the character that the text begins with, and returns the number of its bytes; 0: the text does not begin with
 * UTF-8. The size is 1 or more. */
size_t cny_utf8_next(const char *text, size_t size, uint32_t *character);

/* May a log line show the first character of the text? *length becomes the number of its bytes, or 1 if the text does
 * not begin with UTF-8. Not to be shown are control characters, line separators, characters that change the reading
 * order, and bytes that are not UTF-8. */
bool cny_text_step(const char *text, size_t size, size_t *length);

/* Replaces each character that may not be shown by '?'. All log lines and errors pass through here, so the code that
 * writes them need not know which words come from outside. */
void cny_text_make_safe(char *text);

/* ---- log ---- */

bool cny_log_wanted(coney_log_level level);
void cny_log(coney_log_level level, const char *format, ...) CNY_PRINTF(2, 3);
bool cny_log_goes_to_stderr(void); /* no sink is set; false, too, if it would have to wait for the lock */

/* ---- the end of the process ---- */

/* Count the messages whose outcome is awaited. A line on stderr gives their number when the process ends. */
void cny_outcome_awaited(void); /* one message more */
void cny_outcome_known(void);   /* one message less */
void cny_outcomes_forget(void); /* in a child of fork(), because the messages are the parent's */

/* ---- the thread's last error ---- */

/* Records the sentence for coney_last_error() and returns the status. */
coney_status cny_fail(coney_status status, const char *format, ...) CNY_PRINTF(2, 3);
coney_status cny_fail_code(coney_status status, int broker_code, const char *format, ...) CNY_PRINTF(3, 4);
coney_status cny_fail_memory(void);

/* Of an error reply: CONEY_E_REMOTE_ERROR, whose details are these. */
coney_status cny_fail_remote(const char *code, const char *message, bool retriable);

/* Puts words in front of the recorded sentence: "declare queue 'orders': " in front of the broker's text. Returns the
 * recorded status. */
coney_status cny_fail_in(const char *format, ...) CNY_PRINTF(1, 2);

/* To be called before the program's code runs: a sentence that is recorded after the call is then about that code. */
void cny_forget_failure(void);

const char *cny_errno_text(int number); /* of this thread, until the next call */

/* An error on its way to another thread: reference-counted and constant. */
typedef struct cny_error cny_error;

cny_error *cny_error_new(coney_status status, int broker_code, const char *format, ...) CNY_PRINTF(3, 4);

/* The error of a message that came back. The texts are copied, and coney_error's members give them. */
cny_error *cny_error_new_return(int broker_code, const char *reply_text, const char *exchange, const char *routing_key);
cny_error *cny_error_capture(void); /* what this thread recorded last; none of the three is ever NULL */
cny_error *cny_error_ref(cny_error *error);
void cny_error_unref(cny_error *error);                    /* takes NULL */
coney_status cny_error_raise(const cny_error *error);      /* records it for this thread; NULL: CONEY_OK */
const coney_error *cny_error_view(const cny_error *error); /* NULL stays NULL */

/* The error of a request that was not answered when the broker closed the connection over a request of its kind: the
 * broker does not say over which. The mark stays on errors that are captured and raised. */
cny_error *cny_error_new_suspicion(coney_status status, int broker_code, const char *text); /* never NULL */
bool cny_last_is_suspicion(void); /* what this thread recorded last */

#endif
