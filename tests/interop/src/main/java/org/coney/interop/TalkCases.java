// SPDX-License-Identifier: MIT
// Cases with several steps, and with the broker between them: replies, dead letters, republished messages, and things
// that both sides declare. tests/interop/c/talk_cases.c is the other side.
package org.coney.interop;

import static org.coney.interop.Case.equal;
import static org.coney.interop.Case.holds;

import java.util.List;
import java.util.Map;

import org.coney.interop.Samples.Cancellation;
import org.coney.interop.Samples.Order;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageDeliveryMode;
import org.springframework.amqp.core.MessageProperties;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.retry.RepublishMessageRecoverer;
import org.springframework.amqp.rabbit.support.ListenerExecutionFailedException;

final class TalkCases {
    private static final Object ANSWER = new Cancellation("A-17", "answered");

    private TalkCases() {
    }

    static final List<Case> ALL = List.of(new Case("reply-by-listener", null, TalkCases::ask),
            new Case("typed-reply", null, TalkCases::ask),
            new Case("reply-by-receive-and-reply", null, TalkCases::ask),
            new Case("reply-to-exchange", TalkCases::askByExchange, TalkCases::checkReplyToExchange),
            new Case("reply-by-spring", null, null), // Listeners.answer sends it
            new Case("dead-letter-by-spring", null, null), // Listeners.reject rejects it
            new Case("unreadable-by-spring", null, null), // Listeners.unreadable is not called
            new Case("unreadable-by-coney",
                    (peer, queue) -> peer.template().convertAndSend(peer.prefix + "unreadable-by-coney.work",
                            "no JSON"),
                    (peer, queue) -> expectDeath(peer.receive(queue), peer.prefix + "unreadable-by-coney.work")),
            new Case("typed-unknown-type",
                    (peer, queue) -> peer.template(Json.withIds(Map.of("no.such.type", Order.class)))
                            .convertAndSend(peer.prefix + "typed-unknown-type.work", Samples.ORDER),
                    (peer, queue) -> expectDeath(peer.receive(queue), peer.prefix + "typed-unknown-type.work")),
            new Case("forwarded-by-coney", TalkCases::sendToBeForwarded, TalkCases::checkForwarded),
            new Case("dead-letter-by-coney", TalkCases::sendToBeRejected, TalkCases::checkDeath),
            new Case("republished-by-spring", TalkCases::republish, null),
            new Case("republished-by-coney",
                    (peer, queue) -> peer.template().convertAndSend(queue, "no stock"), TalkCases::checkRepublished),
            new Case("declared", Declarations::declareFirst, Declarations::declareSecond));

    /** The queues beside those that each case has. */
    static void declare(Peer peer) {
        declareDeadLettering(peer, "typed-unknown-type.work", peer.toSpring("typed-unknown-type"));
        for (var name : List.of("dead-letter", "unreadable")) {
            declareDeadLettering(peer, name + "-by-spring.work", peer.toConey(name + "-by-spring"));
            declareDeadLettering(peer, name + "-by-coney.work", peer.toSpring(name + "-by-coney"));
        }
    }

    private static void declareDeadLettering(Peer peer, String name, String deadLetters) {
        peer.admin.declareQueue(QueueBuilder.durable(peer.prefix + name).expires(600_000).deadLetterExchange("")
                .deadLetterRoutingKey(deadLetters).build());
    }

    /** By direct reply-to, then by a temporary queue. */
    private static void ask(Peer peer, String queue) {
        var requests = queue.replaceFirst("spring$", "coney");
        for (boolean temporary : List.of(false, true)) {
            var template = peer.template(Json.converter());
            template.setUseTemporaryReplyQueues(temporary);
            var reply = template.convertSendAndReceive("", requests, Samples.ORDER, message -> {
                message.getMessageProperties().setMessageId("request");
                return message;
            });
            equal(ANSWER, reply, temporary ? "by a temporary queue" : "by direct reply-to");
        }
    }

    /** To "exchange/routing key", and without a correlation id, for which the message id stands then. */
    private static void askByExchange(Peer peer, String queue) {
        var exchange = new DirectExchange(peer.prefix + "answers");
        peer.admin.declareExchange(exchange);
        peer.admin.declareBinding(
                BindingBuilder.bind(new Queue(peer.toSpring("reply-to-exchange"))).to(exchange).with("key"));
        peer.template(Json.converter()).convertAndSend("", queue, Samples.ORDER, message -> {
            message.getMessageProperties().setReplyTo(exchange.getName() + "/key");
            message.getMessageProperties().setMessageId("m-17");
            return message;
        });
    }

    private static void checkReplyToExchange(Peer peer, String queue) {
        var message = peer.receive(queue);
        equal("m-17", message.getMessageProperties().getCorrelationId(), "correlation id");
        equal(ANSWER, Json.converter().fromMessage(message), "the answer");
    }

    private static void sendToBeForwarded(Peer peer, String queue) {
        var properties = PropertyCases.all();
        properties.setHeader("list", List.of(1, "two"));
        peer.template().send(queue, new Message("forward me".getBytes(), properties));
    }

    /** The user id is the sender's own, and a message that is sent on is persistent unless its program says no. */
    private static void checkForwarded(Peer peer, String queue) {
        var message = peer.receive(queue);
        var got = message.getMessageProperties();
        equal("forward me", new String(message.getBody()), "body");
        equal(MessageDeliveryMode.PERSISTENT, got.getReceivedDeliveryMode(), "delivery mode");
        equal(null, got.getReceivedUserId(), "user id");
        equal("id", got.getMessageId(), "message id");
        equal("correlation", got.getCorrelationId(), "correlation id");
        equal(7, got.getPriority(), "priority");
        equal(List.of(1, "two"), got.getHeaders().get("list"), "list");
    }

    private static void sendToBeRejected(Peer peer, String queue) {
        peer.template().convertAndSend(peer.prefix + "dead-letter-by-coney.work", "reject me");
    }

    private static void checkDeath(Peer peer, String queue) {
        var message = peer.receive(queue);
        equal("reject me", new String(message.getBody()), "body");
        expectDeath(message, peer.prefix + "dead-letter-by-coney.work");
    }

    private static void expectDeath(Message message, String queue) {
        var deaths = message.getMessageProperties().getXDeathHeader();
        equal(1, deaths.size(), "number of deaths");
        equal("rejected", deaths.get(0).get("reason"), "reason");
        equal(queue, deaths.get(0).get("queue"), "queue");
        equal(1L, deaths.get(0).get("count"), "count");
    }

    private static void republish(Peer peer, String queue) {
        var properties = new MessageProperties();
        properties.setReceivedExchange("orders");
        properties.setReceivedRoutingKey("orders.new");
        properties.setContentType("text/plain");
        properties.setHeader("own", "kept");
        var failure = new ListenerExecutionFailedException("the listener failed", new IllegalStateException("no stock"),
                new Message[0]);
        var message = new Message("no stock".getBytes(), properties);
        new RepublishMessageRecoverer(peer.template(), "", queue).recover(message, failure);
    }

    private static void checkRepublished(Peer peer, String queue) {
        var message = peer.receive(queue);
        var got = message.getMessageProperties();
        equal("no stock", new String(message.getBody()), "body");
        holds(String.valueOf((Object) got.getHeader("x-exception-message")).contains("no stock of bolts"),
                "x-exception-message is " + got.getHeader("x-exception-message"));
        equal("", got.getHeader("x-original-exchange"), "x-original-exchange");
        equal(peer.toConey("republished-by-coney"), got.getHeader("x-original-routingKey"), "x-original-routingKey");
    }
}
