/* SPDX-License-Identifier: MIT */
/* The threads that run a container's tasks, alone. */
#include "support/test_support.h"

#include "base/workers.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static cny_threads group;
static cny_workers *workers;
static atomic_int holds, begins, releases;

static void hold(void *self)
{
    (void)self;
    atomic_fetch_add(&holds, 1);
}

static void begin(void *self)
{
    (void)self;
    atomic_fetch_add(&begins, 1);
    check(cny_workers_is_current(workers));
}

static void release(void *self)
{
    (void)self;
    atomic_fetch_add(&releases, 1);
}

static int setup(void **state)
{
    (void)state;
    holds = begins = releases = 0;
    const cny_workers_owner owner = {
        .name = "tests", .threads = &group, .hold = hold, .begin = begin, .release = release};
    cny_threads_init(&group);
    workers = cny_workers_new(&owner);
    assert_non_null(workers);
    return 0;
}

static int teardown(void **state)
{
    cny_workers_resize(workers, 0);
    cny_threads_join(&group, NULL, cny_deadline(TEST_PATIENCE_MS));
    bool ended = releases == holds;
    if (ended)
        cny_workers_free(workers);
    cny_threads_free(&group);
    return ended ? test_no_failed_checks(state) : -1;
}

/* One that notes what happens to it. */
typedef struct job {
    cny_task task;
    atomic_int runs, inside, idles;
    atomic_int *gate; /* if not NULL it waits for this to be 1 */
    atomic_llong ran_at;
    atomic_int *order; /* if not NULL, counts up, and place is what it was */
    int place;
} job;

static void run(cny_task *task)
{
    job *one = (job *)(void *)task;
    check(atomic_fetch_add(&one->inside, 1) == 0);
    check(cny_workers_is_current(workers));
    atomic_store(&one->ran_at, cny_now_ms());
    if (one->order)
        one->place = atomic_fetch_add(one->order, 1);
    atomic_fetch_add(&one->runs, 1);
    while (one->gate && !atomic_load(one->gate))
        usleep(500);
    atomic_fetch_sub(&one->inside, 1);
}

/* Nothing but a count can be done here, for the workers' lock is held. */
static void note_idle(cny_task *task)
{
    atomic_fetch_add(&((job *)(void *)task)->idles, 1);
}

static void use_threads(int threads)
{
    assert_ok(cny_workers_resize(workers, threads));
}

static void wait_idle(const job *one)
{
    int64_t deadline = cny_deadline(TEST_PATIENCE_MS);
    while (!cny_workers_is_idle(workers, &one->task)) {
        if (cny_now_ms() >= deadline)
            fail_msg("the task is not idle");
        usleep(500);
    }
}

static void test_task_runs_once_for_each_schedule(void **state)
{
    (void)state;
    job one = {.task.run = run};
    use_threads(3);
    for (int i = 1; i <= 1000; i++) {
        cny_workers_schedule(workers, &one.task);
        wait_idle(&one);
        assert_int_equal(one.runs, i);
    }
}

static void test_schedules_of_a_task_that_has_not_begun_are_one(void **state)
{
    (void)state;
    job one = {.task.run = run};
    for (int i = 0; i < 5; i++)
        cny_workers_schedule(workers, &one.task);
    assert_false(cny_workers_is_idle(workers, &one.task));
    use_threads(2);
    wait_idle(&one);
    assert_int_equal(one.runs, 1);
}

/* Whoever schedules it may have brought something that the run in progress has not seen. */
static void test_schedule_while_it_runs_runs_it_once_more_and_never_twice_at_once(void **state)
{
    (void)state;
    atomic_int gate = 0;
    job one = {.task.run = run, .task.on_idle = note_idle, .gate = &gate};
    use_threads(3);
    cny_workers_schedule(workers, &one.task);
    test_wait_for(&one.runs, 1);
    for (int i = 0; i < 5; i++)
        cny_workers_schedule(workers, &one.task);
    assert_int_equal(one.runs, 1);
    gate = 1;
    wait_idle(&one);
    assert_int_equal(one.runs, 2);
    test_wait_for(&one.idles, 1);
}

static void test_tasks_run_in_the_order_in_which_they_were_scheduled(void **state)
{
    (void)state;
    atomic_int order = 0;
    job jobs[50];
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        jobs[i] = (job){.task.run = run, .order = &order};
        cny_workers_schedule(workers, &jobs[i].task);
    }
    use_threads(1);
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        wait_idle(&jobs[i]);
        assert_int_equal(jobs[i].place, i);
    }
}

static void test_sleeping_tasks_run_in_the_order_of_their_times_and_not_before(void **state)
{
    (void)state;
    atomic_int order = 0;
    job jobs[20];
    int64_t now = cny_now_ms();
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        size_t rank = i * 7 % COUNT_OF(jobs);
        jobs[i] = (job){.task.run = run, .order = &order};
        cny_workers_schedule_at(workers, &jobs[i].task, now + 50 + (int64_t)rank * 3);
    }
    use_threads(1);
    test_wait_for(&order, COUNT_OF(jobs));
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        size_t rank = i * 7 % COUNT_OF(jobs);
        wait_idle(&jobs[i]);
        assert_int_equal(jobs[i].place, rank);
        assert_true(jobs[i].ran_at >= now + 50 + (int64_t)rank * 3);
    }
}

enum { FAR_MS = 3600000, NEAR_MS = 50 };

static void test_sooner_time_wins_whichever_comes_first(void **state)
{
    (void)state;
    job later = {.task.run = run}, sooner = {.task.run = run};
    int64_t now = cny_now_ms();
    cny_workers_schedule_at(workers, &later.task, now + FAR_MS);
    cny_workers_schedule_at(workers, &later.task, now + NEAR_MS);
    cny_workers_schedule_at(workers, &sooner.task, now + NEAR_MS);
    cny_workers_schedule_at(workers, &sooner.task, now + FAR_MS);
    use_threads(1);
    test_wait_for(&later.runs, 1);
    test_wait_for(&sooner.runs, 1);
    assert_true(later.ran_at >= now + NEAR_MS);
    assert_true(sooner.ran_at >= now + NEAR_MS);
    wait_idle(&sooner); /* the later time went with the run */
    wait_idle(&later);
}

/* The thread that waits for the first sleeper must not go on waiting for it. */
static void test_sleeper_that_is_due_sooner_wakes_a_thread_that_waits_for_another(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        job far_away = {.task.run = run}, near_by = {.task.run = run};
        use_threads(threads);
        test_wait_for(&begins, threads);
        cny_workers_schedule_at(workers, &far_away.task, cny_deadline(FAR_MS));
        usleep(2000); /* likely the thread waits for it by now; if not, nothing is tested but nothing fails */
        cny_workers_schedule_at(workers, &near_by.task, cny_deadline(NEAR_MS));
        test_wait_for(&near_by.runs, 1);
        cny_workers_schedule(workers, &far_away.task);
        test_wait_for(&far_away.runs, 1);
        wait_idle(&far_away);
        wait_idle(&near_by);
    }
}

static void test_schedule_wakes_a_task_that_sleeps(void **state)
{
    (void)state;
    job one = {.task.run = run};
    use_threads(1);
    cny_workers_schedule_at(workers, &one.task, cny_deadline(FAR_MS));
    assert_false(cny_workers_is_idle(workers, &one.task));
    cny_workers_schedule(workers, &one.task);
    wait_idle(&one);
    assert_int_equal(one.runs, 1);
}

typedef struct self_timer {
    cny_task task;
    atomic_int runs;
} self_timer;

static void run_three_times(cny_task *task)
{
    self_timer *self = (self_timer *)(void *)task;
    if (atomic_fetch_add(&self->runs, 1) < 2) {
        cny_workers_schedule_at(workers, task, cny_deadline(FAR_MS));
        cny_workers_schedule_at(workers, task, cny_deadline(5));
    }
}

static void test_task_may_ask_for_its_next_time_while_it_runs(void **state)
{
    (void)state;
    self_timer timer = {.task.run = run_three_times};
    use_threads(2);
    cny_workers_schedule(workers, &timer.task);
    test_wait_for(&timer.runs, 3);
    for (int64_t deadline = cny_deadline(TEST_PATIENCE_MS); !cny_workers_is_idle(workers, &timer.task);)
        assert_true(cny_now_ms() < deadline);
}

static void test_so_many_tasks_run_at_once_as_there_are_threads(void **state)
{
    (void)state;
    atomic_int gate = 0, order = 0;
    job jobs[6];
    use_threads(3);
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        jobs[i] = (job){.task.run = run, .gate = &gate, .order = &order};
        cny_workers_schedule(workers, &jobs[i].task);
    }
    test_wait_for(&order, 3);
    assert_true(cny_workers_busy(workers));
    use_threads(5);
    test_wait_for(&order, 5);
    assert_true(cny_workers_busy(workers));
    use_threads(1); /* four of the five end when they are free */
    gate = 1;
    for (size_t i = 0; i < COUNT_OF(jobs); i++)
        wait_idle(&jobs[i]);
    assert_false(cny_workers_busy(workers));
    test_wait_for(&releases, 4);
    assert_int_equal(holds, 5);
}

static void test_sleeper_that_is_due_makes_them_busy(void **state)
{
    (void)state;
    job one = {.task.run = run};
    cny_workers_schedule_at(workers, &one.task, cny_deadline(FAR_MS));
    assert_false(cny_workers_busy(workers));
    cny_workers_schedule_at(workers, &one.task, cny_now_ms());
    assert_true(cny_workers_busy(workers));
    use_threads(1);
    wait_idle(&one);
    assert_false(cny_workers_busy(workers));
}

/* Or a task that is scheduled again and again would have two turns before it. */
static void test_sleeper_that_is_due_runs_before_a_task_that_runs_again(void **state)
{
    (void)state;
    atomic_int gate = 0, order = 0;
    job again = {.task.run = run, .gate = &gate, .order = &order}, sleeper = {.task.run = run, .order = &order};
    use_threads(1);
    cny_workers_schedule(workers, &again.task);
    test_wait_for(&again.runs, 1);
    cny_workers_schedule_at(workers, &sleeper.task, cny_now_ms());
    cny_workers_schedule(workers, &again.task);
    gate = 1;
    wait_idle(&again);
    wait_idle(&sleeper);
    assert_int_equal(sleeper.place, 1);
    assert_int_equal(again.place, 2);
}

static void test_thread_that_hangs_in_a_task_stops_no_other(void **state)
{
    (void)state;
    atomic_int gate = 0;
    job stuck = {.task.run = run, .gate = &gate}, other = {.task.run = run};
    use_threads(2);
    cny_workers_schedule(workers, &stuck.task);
    test_wait_for(&stuck.runs, 1);
    for (int i = 1; i <= 100; i++) {
        cny_workers_schedule(workers, &other.task);
        wait_idle(&other);
    }
    cny_workers_schedule_at(workers, &other.task, cny_deadline(5));
    test_wait_for(&other.runs, 101);
    wait_idle(&other);
    use_threads(0);
    test_wait_for(&releases, 1); /* the free one ends although the other does not */
    gate = 1;
    test_wait_for(&releases, 2);
    wait_idle(&stuck);
}

static void test_without_threads_all_end_and_tasks_wait_for_the_next(void **state)
{
    (void)state;
    job one = {.task.run = run};
    use_threads(4);
    test_wait_for(&begins, 4);
    use_threads(0);
    test_wait_for(&releases, 4);
    assert_int_equal(holds, 4);
    cny_workers_schedule(workers, &one.task);
    assert_int_equal(one.runs, 0);
    use_threads(1);
    wait_idle(&one);
    assert_int_equal(one.runs, 1);
    assert_false(cny_workers_is_current(workers));
}

/* ---- everything at once ---- */

enum { TASKS = 40, SCHEDULERS = 3, ROUNDS = 20000 };

typedef struct counted {
    cny_task task;
    atomic_int wanted; /* counted up before it is scheduled */
    atomic_int seen;   /* what wanted was when it ran last */
    atomic_int inside;
} counted;

static counted crowd[TASKS];

static void run_counted(cny_task *task)
{
    counted *one = (counted *)(void *)task;
    check(atomic_fetch_add(&one->inside, 1) == 0);
    int seen = atomic_load(&one->wanted);
    if (seen % 11 == 0 && seen != atomic_load(&one->seen)) /* once, or it would never end */
        cny_workers_schedule_at(workers, task, cny_deadline(seen % 5));
    if (seen % 7 == 0)
        usleep((unsigned)seen % 100);
    atomic_store(&one->seen, seen);
    atomic_fetch_sub(&one->inside, 1);
}

static void *schedule_at_random(void *seed)
{
    unsigned random = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < ROUNDS; i++) {
        counted *one = &crowd[rand_r(&random) % TASKS];
        atomic_fetch_add(&one->wanted, 1);
        if (rand_r(&random) % 3 == 0)
            cny_workers_schedule_at(workers, &one->task, cny_deadline(rand_r(&random) % 4));
        else
            cny_workers_schedule(workers, &one->task);
        check(rand_r(&random) % 50 || (cny_workers_is_idle(workers, &one->task), true));
        check(rand_r(&random) % 50 || (cny_workers_busy(workers), true));
    }
    return NULL;
}

static void *resize_at_random(void *go_on)
{
    unsigned random = 17;
    while (atomic_load((atomic_int *)go_on)) {
        check(cny_workers_resize(workers, rand_r(&random) % 5) == CONEY_OK);
        usleep(300);
    }
    return NULL;
}

/* A run that began after the last schedule has seen all of them. */
static bool is_honoured(counted *one)
{
    return atomic_load(&one->seen) == atomic_load(&one->wanted);
}

static void test_every_schedule_is_honoured_while_threads_come_and_go(void **state)
{
    (void)state;
    pthread_t schedulers[SCHEDULERS], resizer;
    atomic_int go_on = 1;
    for (int i = 0; i < TASKS; i++)
        crowd[i] = (counted){.task.run = run_counted};
    assert_int_equal(pthread_create(&resizer, NULL, resize_at_random, &go_on), 0);
    for (uintptr_t i = 0; i < SCHEDULERS; i++)
        assert_int_equal(pthread_create(&schedulers[i], NULL, schedule_at_random, (void *)(i + 1)), 0);
    for (int i = 0; i < SCHEDULERS; i++)
        pthread_join(schedulers[i], NULL);
    go_on = 0;
    pthread_join(resizer, NULL);
    use_threads(2);
    int64_t deadline = cny_deadline(TEST_PATIENCE_MS);
    for (int i = 0; i < TASKS; i++) {
        while (!is_honoured(&crowd[i]) || !cny_workers_is_idle(workers, &crowd[i].task)) {
            if (cny_now_ms() >= deadline)
                fail_msg("task %d has seen %d of %d", i, crowd[i].seen, crowd[i].wanted);
            usleep(500);
        }
    }
}

int main(void)
{
#define with_workers(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_workers(test_task_runs_once_for_each_schedule),
        with_workers(test_schedules_of_a_task_that_has_not_begun_are_one),
        with_workers(test_schedule_while_it_runs_runs_it_once_more_and_never_twice_at_once),
        with_workers(test_tasks_run_in_the_order_in_which_they_were_scheduled),
        with_workers(test_sleeping_tasks_run_in_the_order_of_their_times_and_not_before),
        with_workers(test_sooner_time_wins_whichever_comes_first),
        with_workers(test_sleeper_that_is_due_sooner_wakes_a_thread_that_waits_for_another),
        with_workers(test_schedule_wakes_a_task_that_sleeps),
        with_workers(test_task_may_ask_for_its_next_time_while_it_runs),
        with_workers(test_so_many_tasks_run_at_once_as_there_are_threads),
        with_workers(test_sleeper_that_is_due_makes_them_busy),
        with_workers(test_sleeper_that_is_due_runs_before_a_task_that_runs_again),
        with_workers(test_thread_that_hangs_in_a_task_stops_no_other),
        with_workers(test_without_threads_all_end_and_tasks_wait_for_the_next),
        with_workers(test_every_schedule_is_honoured_while_threads_come_and_go),
    };
    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
