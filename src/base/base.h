/* SPDX-License-Identifier: MIT */
/* What every other folder stands on: memory, time, threads, bytes, the log and the thread's
 * last error. Knows nothing of AMQP but the statuses and log levels of the public headers. */
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

/* For tests: the next allocations succeed, the one after them and all later ones fail; below 0
 * switches that off. */
void cny_alloc_fail_after(int successes);

/* ---- arena: many small pieces, freed together ---- */

typedef struct cny_arena {
    struct cny_chunk *chunks;
    char *next;
    char *end;
    size_t held; /* bytes of memory, used or not */
} cny_arena;

/* Starts in memory of the caller's, which may be NULL; goes on in chunks of its own. */
void cny_arena_init(cny_arena *arena, void *memory, size_t size);
void cny_arena_free(cny_arena *arena);
void *cny_arena_alloc(cny_arena *arena, size_t size);                         /* not zeroed */
char *cny_arena_copy(cny_arena *arena, const void *bytes, size_t size);       /* with a NUL behind */
bool cny_arena_strdup(cny_arena *arena, const char **copy, const char *text); /* NULL stays NULL */

/* ---- buffer: bytes that grow ---- */

typedef struct cny_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool borrowed; /* data is not ours to free: an array on someone's stack */
} cny_buffer;

/* Begins in an array of the caller's, so that short contents cost no allocation. */
void cny_buffer_on_stack(cny_buffer *buffer, void *array, size_t capacity);
bool cny_buffer_reserve(cny_buffer *buffer, size_t extra); /* false: no memory, nothing changed */
bool cny_buffer_append(cny_buffer *buffer, const void *bytes, size_t size);
void cny_buffer_swap(cny_buffer *a, cny_buffer *b);
void cny_buffer_free(cny_buffer *buffer); /* and empty again */

/* ---- hashes ---- */

uint32_t cny_hash(const void *bytes, size_t size); /* spreads them evenly; not for secrets */

/* With a key of this process: nobody outside can choose bytes that have the same hash. */
uint64_t cny_hash_keyed(const void *bytes, size_t size);

/* ---- time: milliseconds of the monotonic clock ---- */

int64_t cny_now_ms(void);
int64_t cny_now_us(void);             /* the same clock */
int64_t cny_deadline(int timeout_ms); /* that many from now */

static inline int64_t cny_sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The same and at most CNY_COARSE_MS later, for a fifth of the price. */
enum { CNY_COARSE_MS = 10 };
int64_t cny_deadline_about(int timeout_ms);

/* ---- threads ---- */

/* For a mutex that several threads want all the time and hold for less than a switch of threads takes. */
void cny_busy_mutex_init(pthread_mutex_t *mutex);

bool cny_cond_init(pthread_cond_t *cond);

/* Waits as pthread_cond_wait does; false if the deadline has passed. */
bool cny_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline);

/* What a thread does. Its stack has at least that many bytes, 1 MiB, and what the system gives by default. */
typedef struct cny_thread {
    const char *name;
    size_t stack_bytes;
    void *(*run)(void *argument);
    void *argument;
} cny_thread;

/* Starts one, to be joined or detached by the caller. It cannot be cancelled, and begins with all signals blocked but
 * those that are about the thread itself (SIGSEGV and so on) and SIGPROF. A thread that runs the program's code then
 * takes the program's mask. CONEY_E_SYSTEM, CONEY_E_NO_MEMORY. */
coney_status cny_thread_start(pthread_t *id, const cny_thread *thread);

/* A group of threads (docs/threading.md). Each has an owner, at whose end it is joined. The threads do not know the
 * group, so they may free it. */
typedef struct cny_threads {
    pthread_mutex_t lock;
    cny_buffer running; /* those that are neither joined nor detached; under lock */
} cny_threads;

void cny_threads_init(cny_threads *threads);
void cny_threads_free(cny_threads *threads); /* detaches who is left */

/* CONEY_E_SYSTEM, CONEY_E_NO_MEMORY. May be called under any lock. */
coney_status cny_threads_start(cny_threads *threads, const void *owner, const cny_thread *thread);

/* Is the calling thread one of the owner's? */
bool cny_threads_is_current(cny_threads *threads, const void *owner);

/* Joins the owner's threads, or all of them if that is NULL. Those that run at the deadline are detached, and this code
 * stays mapped then, for they return to it. Not under a lock. */
void cny_threads_join(cny_threads *threads, const void *owner, int64_t deadline);

/* The first line of every public function that may lock, wait, log, read files or run the program's code
 * (cmake/calls.sh checks that): until the function returns its thread cannot be cancelled. A thread that ended at one
 * of the cancellation points in between would keep locks for ever, and leave things half done. */
#define CNY_DISABLE_CANCEL()                                                                                           \
    const int cny_cancel_state __attribute__((unused, cleanup(cny_restore_cancel))) = cny_disable_cancel()
int cny_disable_cancel(void); /* the state before */
void cny_restore_cancel(const int *state);

/* How many forks away from the process that loaded the library this one is: threads and sockets
 * do not come along, so what was made at another count cannot be used. */
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

uint32_t cny_random(uint32_t below); /* 0 to below - 1; not for secrets */

/* ---- text ---- */

/* The character that the text begins with: its bytes, 0 if they are no UTF-8. The size is 1 or more. */
size_t cny_utf8_next(const char *text, size_t size, uint32_t *character);

/* Whether a log line may show what the text begins with, and how many bytes that has: a character, or one byte that is
 * no UTF-8. Not to be shown are control characters, line separators, what turns the reading order around, and what is
 * no UTF-8. */
bool cny_text_step(const char *text, size_t size, size_t *length);

/* Replaces all that may not be shown by '?'. All log lines and errors pass through here, so their authors need not
 * know which words come from outside. */
void cny_text_make_safe(char *text);

/* ---- log ---- */

bool cny_log_wanted(coney_log_level level);
void cny_log(coney_log_level level, const char *format, ...) CNY_PRINTF(2, 3);
bool cny_log_goes_to_stderr(void); /* no sink is set; waits for no lock, and says false instead */

/* ---- the end of the process ---- */

/* Counts the messages that wait for their outcome. How many they are is told when the process ends. */
void cny_outcome_awaited(void); /* one more waits */
void cny_outcome_known(void);   /* one of them waits no more */
void cny_outcomes_forget(void); /* in a child of fork(): they are the parent's */

/* ---- the thread's last error ---- */

/* Records the sentence for coney_last_error() and returns the status. */
coney_status cny_fail(coney_status status, const char *format, ...) CNY_PRINTF(2, 3);
coney_status cny_fail_code(coney_status status, int broker_code, const char *format, ...) CNY_PRINTF(3, 4);
coney_status cny_fail_memory(void);

/* Puts words in front of what is recorded: "declare queue 'orders': " and the broker's text.
 * Returns the status recorded. */
coney_status cny_fail_in(const char *format, ...) CNY_PRINTF(1, 2);

/* Before the program's code runs: a sentence that is recorded afterwards is about that. */
void cny_forget_failure(void);

const char *cny_errno_text(int number); /* of this thread, until the next call */

/* An error on its way to another thread: reference-counted and constant. */
typedef struct cny_error cny_error;

cny_error *cny_error_new(coney_status status, int broker_code, const char *format, ...) CNY_PRINTF(3, 4);

/* A message came back: all of it is copied, and part of the error. */
cny_error *cny_error_new_return(int broker_code, const char *reply_text, const char *exchange, const char *routing_key);
cny_error *cny_error_capture(void); /* what this thread recorded last. Neither is ever NULL */
cny_error *cny_error_ref(cny_error *error);
void cny_error_unref(cny_error *error);                    /* takes NULL */
coney_status cny_error_raise(const cny_error *error);      /* records it for this thread; NULL is CONEY_OK */
const coney_error *cny_error_view(const cny_error *error); /* NULL stays NULL */

/* The broker closed the connection, over this request or over another one of its kind: it does not say. The mark
 * stays on what is captured and raised. */
cny_error *cny_error_new_suspicion(coney_status status, int broker_code, const char *text); /* never NULL */
bool cny_error_is_suspicion(const cny_error *error);                                        /* NULL is none */
bool cny_last_is_suspicion(void); /* what this thread recorded last */

#endif
