// SPDX-License-Identifier: MIT
// Things that both sides declare, in either order; the second one fails with 406 if they differ. The same list is in
// tests/interop/c/declarations.c.
package org.coney.interop;

import java.util.List;
import java.util.Map;

import org.springframework.amqp.core.Binding;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Exchange;
import org.springframework.amqp.core.ExchangeBuilder;
import org.springframework.amqp.core.FanoutExchange;
import org.springframework.amqp.core.HeadersExchange;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.QueueBuilder.Overflow;
import org.springframework.amqp.core.TopicExchange;

final class Declarations {
    private Declarations() {
    }

    /** Spring is the first to declare these. */
    static void declareFirst(Peer peer, String queue) {
        declare(peer, peer.prefix + "spring-first.");
        peer.template().convertAndSend(queue, "declared");
    }

    /** Coney has declared these, and says so. */
    static void declareSecond(Peer peer, String queue) {
        peer.receive(queue);
        declare(peer, peer.prefix + "coney-first.");
    }

    private static void declare(Peer peer, String prefix) {
        exchanges(prefix).forEach(peer.admin::declareExchange);
        queues(prefix).forEach(peer.admin::declareQueue);
        bindings(prefix).forEach(peer.admin::declareBinding);
    }

    private static List<Exchange> exchanges(String prefix) {
        return List.of(ExchangeBuilder.directExchange(prefix + "direct").build(),
                ExchangeBuilder.topicExchange(prefix + "topic").alternate(prefix + "fanout").build(),
                ExchangeBuilder.fanoutExchange(prefix + "fanout").build(),
                ExchangeBuilder.headersExchange(prefix + "headers").internal().build(),
                ExchangeBuilder.directExchange(prefix + "brief").autoDelete().durable(false).build());
    }

    private static QueueBuilder queue(String name) {
        return QueueBuilder.durable(name).expires(600_000);
    }

    private static List<Queue> queues(String prefix) {
        return List.of(queue(prefix + "plain").build(), queue(prefix + "auto-delete").autoDelete().build(),
                queue(prefix + "ttl").ttl(60_000).build(),
                queue(prefix + "limited").maxLength(1000).maxLengthBytes(1_000_000).overflow(Overflow.dropHead).build(),
                queue(prefix + "refusing").maxLength(1000).overflow(Overflow.rejectPublish).build(),
                queue(prefix + "dead").deadLetterExchange(prefix + "direct").deadLetterRoutingKey("dead").build(),
                queue(prefix + "priorities").maxPriority(10).build(),
                queue(prefix + "single").singleActiveConsumer().build(),
                queue(prefix + "quorum").quorum().deliveryLimit(5).build(),
                queue(prefix + "quorum-dead").quorum().deadLetterExchange("").deadLetterRoutingKey(prefix + "plain")
                        .build(),
                queue(prefix + "located").quorum().withArgument("x-queue-leader-locator", "client-local").build(),
                QueueBuilder.durable(prefix + "stream").stream().maxLengthBytes(1_000_000).build(),
                queue(prefix + "arguments").withArgument("x-max-age-of-ours", 5).withArgument("x-flag", true)
                        .withArgument("x-text", "text").build());
    }

    private static List<Binding> bindings(String prefix) {
        var plain = new Queue(prefix + "plain");
        return List.of(BindingBuilder.bind(plain).to(new TopicExchange(prefix + "topic")).with("orders.#"),
                BindingBuilder.bind(plain).to(new FanoutExchange(prefix + "fanout")),
                BindingBuilder.bind(plain).to(new HeadersExchange(prefix + "headers"))
                        .whereAll(Map.of("colour", "red", "size", 3)).match(),
                BindingBuilder.bind(new FanoutExchange(prefix + "fanout")).to(new TopicExchange(prefix + "topic"))
                        .with("a.*"));
    }
}
