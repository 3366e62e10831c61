/* SPDX-License-Identifier: MIT */
/* Threads: started with a stack and a signal mask of Coney's, kept in groups, and joined when their owners end. Any
 * thread.
 *
 * A join is the only sign that a thread has left the library. A thread that reported its own end would still run code
 * after the report, destructors of thread-local data for example, and the program may have unloaded that code. */
#include "base/base.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define SMALLEST_STACK                                                                                                 \
    ((size_t)1 << 20) /* musl's default of 128 KiB is too little for handlers and recursive parsers */
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__)
#if __GLIBC_PREREQ(2, 31)
#define CNY_HAS_CLOCKJOIN
#endif
#endif
#define NAME_SIZE 16 /* the kernel's limit */

/* ---- one thread ---- */

/* Neither Coney's code nor the program's handlers and callbacks may be cancelled on this thread. */
static void *begin(void *argument)
{
    const cny_thread own = *(const cny_thread *)argument;
    cny_free(argument);
    cny_disable_cancel();
    return own.run(own.argument);
}

static int start_with_stack(pthread_t *id, cny_thread *thread)
{
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure)
        return failure;
    size_t system_bytes = 0, stack_bytes = thread->stack_bytes;
    pthread_attr_getstacksize(&attributes, &system_bytes);
    if (stack_bytes < SMALLEST_STACK)
        stack_bytes = SMALLEST_STACK;
    if (stack_bytes > system_bytes)
        failure = pthread_attr_setstacksize(&attributes, stack_bytes);
    if (!failure)
        failure = pthread_create(id, &attributes, begin, thread);
    pthread_attr_destroy(&attributes);
    return failure;
}

/* All signals but those that a thread's own fault raises, which crash handlers want, and the signal of profilers. */
static void fill_internal_mask(sigset_t *mask)
{
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigfillset(mask);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        sigdelset(mask, open[i]);
}

static void shorten(char short_name[NAME_SIZE], const char *name)
{
    size_t size = strnlen(name, NAME_SIZE - 1);
    memcpy(short_name, name, size);
    short_name[size] = '\0';
}

coney_status cny_thread_start(pthread_t *id, const cny_thread *thread)
{
    sigset_t internal, before;
    cny_thread *copy = cny_alloc(sizeof *copy);
    if (!copy)
        return cny_fail_memory();
    *copy = *thread;
    fill_internal_mask(&internal);
    pthread_sigmask(SIG_SETMASK, &internal, &before); /* the new thread inherits the mask */
    int failure = start_with_stack(id, copy);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure) {
        cny_free(copy);
        return cny_fail(CONEY_E_SYSTEM, "cannot start thread '%s': %s", thread->name, cny_errno_text(failure));
    }
    char short_name[NAME_SIZE];
    shorten(short_name, thread->name);
    pthread_setname_np(*id, short_name);
    return CONEY_OK;
}

/* ---- groups ---- */

typedef struct member {
    pthread_t id;
    const void *owner;
    char name[NAME_SIZE];
} member;

static member *members_of(const cny_threads *threads, size_t *count)
{
    *count = threads->running.size / sizeof(member);
    return (member *)(void *)threads->running.data;
}

/* Under lock. */
static void forget(cny_threads *threads, member *one)
{
    size_t count;
    *one = members_of(threads, &count)[count - 1];
    threads->running.size -= sizeof *one;
}

void cny_threads_init(cny_threads *threads)
{
    pthread_mutex_init(&threads->lock, NULL);
    threads->running = (cny_buffer){0};
}

void cny_threads_free(cny_threads *threads)
{
    size_t count;
    const member *all = members_of(threads, &count);
    for (size_t i = 0; i < count; i++)
        pthread_detach(all[i].id);
    cny_buffer_free(&threads->running);
    pthread_mutex_destroy(&threads->lock);
}

/* Under lock. Connections come and go, and the stack of a thread that has ended is freed only when it is joined. */
static void join_ended(cny_threads *threads)
{
    size_t count;
    member *all = members_of(threads, &count);
    for (size_t i = count; i-- > 0;) {
        if (pthread_tryjoin_np(all[i].id, NULL) == 0)
            forget(threads, &all[i]);
    }
}

coney_status cny_threads_start(cny_threads *threads, const void *owner, const cny_thread *thread)
{
    member made = {.owner = owner};
    shorten(made.name, thread->name);
    pthread_mutex_lock(&threads->lock);
    join_ended(threads);
    bool has_room = cny_buffer_reserve(&threads->running, sizeof made);
    coney_status status = has_room ? cny_thread_start(&made.id, thread) : cny_fail_memory();
    if (status == CONEY_OK)
        cny_buffer_append(&threads->running, &made, sizeof made);
    pthread_mutex_unlock(&threads->lock);
    return status;
}

bool cny_threads_is_current(cny_threads *threads, const void *owner)
{
    bool is_current = false;
    size_t count;
    pthread_mutex_lock(&threads->lock);
    const member *all = members_of(threads, &count);
    for (size_t i = 0; i < count; i++)
        is_current |= all[i].owner == owner && pthread_equal(all[i].id, pthread_self());
    pthread_mutex_unlock(&threads->lock);
    return is_current;
}

/* ---- joining ---- */

static bool take_one(cny_threads *threads, const void *owner, member *taken)
{
    pthread_mutex_lock(&threads->lock);
    size_t count;
    member *all = members_of(threads, &count), *found = NULL;
    for (size_t i = 0; i < count && !found; i++) {
        if (!owner || all[i].owner == owner)
            found = &all[i];
    }
    if (found) {
        *taken = *found;
        forget(threads, found);
    }
    pthread_mutex_unlock(&threads->lock);
    return found;
}

/* musl and the thread sanitizer have only the function that waits by the wall clock, and musl's does not refuse a
 * thread that would join itself. */
static bool join_until(pthread_t id, int64_t deadline)
{
    struct timespec until;
    if (pthread_equal(id, pthread_self()))
        return false;
#ifdef CNY_HAS_CLOCKJOIN
    until = (struct timespec){.tv_sec = (time_t)(deadline / 1000), .tv_nsec = (long)(deadline % 1000) * 1000000};
    return pthread_clockjoin_np(id, NULL, CLOCK_MONOTONIC, &until) == 0;
#else
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t end_ms = (int64_t)until.tv_sec * 1000 + until.tv_nsec / 1000000 + deadline - cny_now_ms();
    until = (struct timespec){.tv_sec = (time_t)(end_ms / 1000), .tv_nsec = (long)(end_ms % 1000) * 1000000};
    return pthread_timedjoin_np(id, NULL, &until) == 0;
#endif
}

/* Keeps the file that this function is in loaded until the process ends, even after dlclose(): Coney's shared library,
 * or the plugin that the static library is a part of. dlopen() does not find a program, but a program is never
 * unloaded. */
static void pin(void)
{
    static const char here;
    Dl_info own;
    if (dladdr(&here, &own) != 0)
        dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

void cny_threads_join(cny_threads *threads, const void *owner, int64_t deadline)
{
    char name[NAME_SIZE];
    int late = 0;
    for (member one; take_one(threads, owner, &one);) {
        if (join_until(one.id, deadline))
            continue;
        if (late++ == 0)
            pin();
        memcpy(name, one.name, sizeof name);
        pthread_detach(one.id);
    }
    if (late > 0)
        cny_log(CONEY_LOG_WARN,
                "threads that are still running: %d, '%s' among them; Coney stays loaded until the process ends", late,
                name);
}
