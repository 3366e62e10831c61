// SPDX-License-Identifier: MIT
// The Spring side: sends what the C side reads, then checks what the C side has sent. Each result is a line of TAP on
// standard output; tests/interop/report.awk reads them. With the argument "record" it only sends.
package org.coney.interop;

import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;

import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.support.converter.MessageConverter;
import org.springframework.amqp.support.converter.SimpleMessageConverter;

public final class Peer {
    /** All checks together may take so long, because they run at the same time; the C side does one after another. */
    private static final Duration PATIENCE = Duration.ofSeconds(90);

    final CachingConnectionFactory factory;
    final RabbitAdmin admin;
    final String prefix;
    private final Instant end = Instant.now().plus(PATIENCE);
    private final Map<String, BlockingQueue<Object>> seen = new ConcurrentHashMap<>();
    private final ExecutorService executor = Executors.newCachedThreadPool();
    private int results;

    Peer(String uri, String line) {
        factory = new CachingConnectionFactory(URI.create(uri));
        admin = new RabbitAdmin(factory);
        prefix = "interop." + line + ".";
    }

    static List<Case> cases() {
        return Stream.of(JsonCases.ALL, ValueCases.ALL, PropertyCases.ALL, BodyCases.ALL, TalkCases.ALL, RpcCases.ALL)
                .flatMap(List::stream).toList();
    }

    public static void main(String[] arguments) {
        var peer = new Peer(System.getenv("CONEY_TEST_URI"), arguments[0]);
        boolean records = arguments.length > 1 && arguments[1].equals("record");
        for (var one : cases()) {
            peer.declare(peer.toConey(one.name()));
            peer.declare(peer.toSpring(one.name()));
        }
        peer.declare(peer.prefix + "end");
        var listeners = records ? null : Listeners.start(peer);
        for (var one : cases()) {
            peer.report("send " + one.name(), peer.start(one.sends(), peer.toConey(one.name())));
        }
        var checks = new LinkedHashMap<String, Future<?>>();
        for (var one : records ? List.<Case>of() : cases()) {
            checks.put("C->Spring " + one.name(), peer.start(one.checks(), peer.toSpring(one.name())));
        }
        checks.forEach(peer::report);
        System.out.println("1.." + peer.results);
        if (!records) {
            peer.template().receive(peer.prefix + "end", peer.patience()); // the C side needs the listeners until then
            listeners.close();
        }
        peer.factory.destroy();
        System.exit(0);
    }

    private Future<?> start(Case.Action action, String queue) {
        return action == null ? null : executor.submit(() -> {
            action.run(this, queue);
            return null;
        });
    }

    private void report(String what, Future<?> result) {
        if (result == null) {
            return;
        }
        results++;
        String problem = null;
        try {
            result.get(patience() + 5000, TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            result.cancel(true);
            problem = "hangs";
        } catch (Exception e) {
            problem = String.valueOf(e.getCause() == null ? e : e.getCause());
            e.printStackTrace();
        }
        System.out.println((problem == null ? "ok " : "not ok ") + results + " - " + what);
        if (problem != null) {
            System.out.println("# " + problem.replace('\n', ' '));
        }
    }

    // ---- for cases ----

    String toConey(String name) {
        return prefix + name + ".coney";
    }

    String toSpring(String name) {
        return prefix + name + ".spring";
    }

    /** A queue that the C side declares in the same way. It goes by itself, because the broker may not be private. */
    void declare(String queue) {
        admin.declareQueue(QueueBuilder.durable(queue).expires(600_000).build());
    }

    RabbitTemplate template() {
        return template(new SimpleMessageConverter());
    }

    RabbitTemplate template(MessageConverter converter) {
        var template = new RabbitTemplate(factory);
        template.setMessageConverter(converter);
        template.setReplyTimeout(patience());
        return template;
    }

    /** What the C side has sent to the queue. */
    Message receive(String queue) {
        var message = template().receive(queue, patience());
        if (message == null) {
            throw new AssertionError("no message came to " + queue);
        }
        return message;
    }

    Object receive(String queue, MessageConverter converter) {
        return converter.fromMessage(receive(queue));
    }

    /** Listeners tell what they have got. */
    void tell(String name, Object what) {
        seenBy(name).add(what);
    }

    Object told(String name) throws InterruptedException {
        var what = seenBy(name).poll(patience(), TimeUnit.MILLISECONDS);
        if (what == null) {
            throw new AssertionError("the listener got nothing");
        }
        return what;
    }

    private BlockingQueue<Object> seenBy(String name) {
        return seen.computeIfAbsent(name, any -> new LinkedBlockingQueue<>());
    }

    long patienceMs() {
        return patience();
    }

    private long patience() {
        return Math.max(500, Duration.between(Instant.now(), end).toMillis());
    }
}
