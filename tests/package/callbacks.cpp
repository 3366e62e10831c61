/* SPDX-License-Identifier: MIT */
/* What C++ callbacks may rely on. An exception that leaves one of them ends the process by std::terminate, though main
 * would catch it; a thread_local object of a handler is destroyed when its container has been freed. run.sh expects so.
 *
 *   callbacks URI handler|callback|processor|thread_local
 */
#include <coney/coney.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

static coney_outcome throw_in_handler(coney_delivery *, void *)
{
    throw std::runtime_error("left the handler");
}

static std::atomic<bool> handled;

struct noisy {
    ~noisy()
    {
        std::puts("destroyed");
    }
    void use()
    {
        handled = true;
    }
};

static thread_local noisy of_thread;

static coney_outcome use_thread_local(coney_delivery *, void *) noexcept
{
    of_thread.use();
    return CONEY_ACK;
}

static void throw_in_callback(coney_message *, const coney_error *, void *)
{
    throw std::runtime_error("left the callback");
}

static void throw_it(const char *text)
{
    throw std::runtime_error(text);
}

static coney_status throw_in_processor(coney_message **, const char *, const char *, void *) noexcept
{
    throw_it("left the processor");
    return CONEY_OK;
}

static coney_status listen(coney_container *container, const char *queue, coney_message_handler *handler)
{
    coney_listener listener{};
    listener.queue = queue;
    listener.on_message = handler;
    coney_status status = coney_container_listen(container, &listener);
    return status == CONEY_OK ? coney_container_start(container) : status;
}

static coney_status add_processor(coney_template *sender)
{
    coney_processor processor{};
    processor.name = "throws";
    processor.process = throw_in_processor;
    return coney_template_add_before_publish(sender, &processor);
}

static void free_when_handled(coney_container *container)
{
    while (!handled)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    coney_container_free(container);
    std::puts("freed");
    std::exit(0);
}

static coney_status provoke(coney_connection_factory *factory, const char *where)
{
    coney_admin *admin = nullptr;
    coney_template *sender = nullptr;
    coney_container *container = nullptr;
    coney_message *message = nullptr;
    coney_queue queue{};
    coney_queue_info info{};
    queue.name = ""; /* the broker makes up a name */
    queue.exclusive = true;
    coney_status status = coney_admin_new(&admin, factory, nullptr);
    if (status == CONEY_OK)
        status = coney_admin_declare_queue(admin, &queue, &info);
    if (status == CONEY_OK)
        status = coney_template_new(&sender, factory, nullptr);
    if (status == CONEY_OK)
        status = coney_container_new(&container, factory, nullptr);
    if (status == CONEY_OK)
        status = coney_message_new(&message, "text", 4, nullptr);
    if (status == CONEY_OK && std::strcmp(where, "handler") == 0)
        status = listen(container, info.name, throw_in_handler);
    bool uses_thread_local = std::strcmp(where, "thread_local") == 0;
    if (status == CONEY_OK && uses_thread_local)
        status = listen(container, info.name, use_thread_local);
    if (status == CONEY_OK && std::strcmp(where, "processor") == 0)
        status = add_processor(sender);
    bool calls_back = std::strcmp(where, "callback") == 0;
    if (status == CONEY_OK)
        status = coney_template_send_async(sender, info.name, message, nullptr,
                                           calls_back ? throw_in_callback : nullptr, nullptr);
    if (status == CONEY_OK && uses_thread_local)
        free_when_handled(container);
    return status;
}

int main(int argc, char **argv)
{
    coney_connection_factory *factory = nullptr;
    try {
        coney_status status = argc == 3 ? coney_connection_factory_new(&factory, argv[1], nullptr) : CONEY_E_INVALID;
        if (status == CONEY_OK)
            status = provoke(factory, argv[2]);
        if (status != CONEY_OK)
            std::fprintf(stderr, "%s\n", coney_last_error());
        else
            std::this_thread::sleep_for(std::chrono::seconds(30)); /* which is cut short by the exception */
    } catch (const std::exception &error) {
        std::fprintf(stderr, "main has caught: %s\n", error.what());
    }
    return 1;
}
