// SPDX-License-Identifier: MIT
// Cases with several steps, and with the broker between them: replies, dead letters, republished messages, and things
// that both sides declare. tests/interop/c/talk_cases.c is the other side.
package org.coney.interop;

import static org.coney.interop.Case.equal;
import static org.coney.interop.Case.holds;

import java.util.List;

import org.coney.interop.Samples.Cancellation;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageProperties;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.retry.RepublishMessageRecoverer;
import org.springframework.amqp.rabbit.support.ListenerExecutionFailedException;

final class TalkCases {
    private static final Object ANSWER = new Cancellation("A-17", "answered");

    private TalkCases() {
    }

    static final List<Case> ALL = List.of(new Case("reply-by-listener", null, TalkCases::ask),
            new Case("reply-by-receive-and-reply", null, TalkCases::ask),
            
            new Case("reply-by-spring", null, null), // Listeners.answer sends it
            new Case("dead-letter-by-spring", null, null), // Listeners.reject rejects it
            new Case("dead-letter-by-coney", TalkCases::sendToBeRejected, TalkCases::checkDeath),
            new Case("republished-by-spring", TalkCases::republish, null),
            new Case("republished-by-coney",
                    (peer, queue) -> peer.template().convertAndSend(queue, "no stock"), TalkCases::checkRepublished),
            new Case("declared", Declarations::declareFirst, Declarations::declareSecond));

    /** The queues beside those that each case has. */
    static void declare(Peer peer) {
        declareDeadLettering(peer, "dead-letter-by-spring.work", peer.toConey("dead-letter-by-spring"));
        declareDeadLettering(peer, "dead-letter-by-coney.work", peer.toSpring("dead-letter-by-coney"));
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

    private static void sendToBeRejected(Peer peer, String queue) {
        peer.template().convertAndSend(peer.prefix + "dead-letter-by-coney.work", "reject me");
    }

    private static void checkDeath(Peer peer, String queue) {
        var message = peer.receive(queue);
        equal("reject me", new String(message.getBody()), "body");
        var deaths = message.getMessageProperties().getXDeathHeader();
        equal(1, deaths.size(), "number of deaths");
        equal("rejected", deaths.get(0).get("reason"), "reason");
        equal(peer.prefix + "dead-letter-by-coney.work", deaths.get(0).get("queue"), "queue");
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
