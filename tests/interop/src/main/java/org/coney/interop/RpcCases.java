// SPDX-License-Identifier: MIT
// Requests and replies: what RabbitTemplate and AsyncRabbitTemplate ask a C server, and what a C program asks the
// methods of Listeners. tests/interop/c/rpc_cases.c is the other side.
package org.coney.interop;

import static org.coney.interop.Case.equal;
import static org.coney.interop.Case.holds;

import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import org.coney.interop.Samples.Cancellation;
import org.springframework.amqp.core.AmqpReplyTimeoutException;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageProperties;
import org.springframework.amqp.rabbit.AsyncRabbitTemplate;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;

final class RpcCases {
    private static final Object ANSWER = new Cancellation("A-17", "answered");

    private RpcCases() {
    }

    static final List<Case> ALL = List.of(
            new Case("rpc-direct", null, null), // Listeners.answerRequest answers these three,
            new Case("rpc-temporary", null, null),
            new Case("rpc-fixed", null, null),
            new Case("rpc-list", null, null), // and these the methods of the same names
            new Case("rpc-void", null, null),
            new Case("rpc-fails-json", null, null),
            new Case("rpc-fails-java", null, null),
            new Case("rpc-by-fixed-queue", null, RpcCases::askByFixedQueue),
            new Case("rpc-by-own-id", null, RpcCases::askByOwnId),
            new Case("rpc-by-key", null, RpcCases::askByKey),
            new Case("rpc-error", null, RpcCases::askForError),
            new Case("rpc-async", null, RpcCases::askAsync),
            new Case("rpc-async-late", null, RpcCases::askInVain));

    private static String requests(Peer peer, String queue) {
        return queue.replaceFirst("spring$", "coney");
    }

    private static Object ask(Peer peer, RabbitTemplate template, String queue) {
        return template.convertSendAndReceive("", requests(peer, queue), (Object) Samples.ORDER);
    }

    /** The template itself is the listener of its reply queue. */
    private static void askByFixedQueue(Peer peer, String queue) {
        var template = peer.template(Json.converter());
        var replies = new SimpleMessageListenerContainer(peer.factory);
        template.setReplyAddress(queue);
        replies.setQueueNames(queue);
        replies.setMessageListener(template);
        replies.start();
        try {
            equal(ANSWER, ask(peer, template, queue), "the answer");
        } finally {
            replies.stop();
        }
    }

    private static Message askWith(Peer peer, RabbitTemplate template, String queue, String id) {
        var properties = new MessageProperties();
        properties.setCorrelationId(id);
        properties.setContentType("application/json");
        var reply = template.sendAndReceive("", requests(peer, queue),
                new Message("{\"id\":\"A-17\"}".getBytes(), properties));
        holds(reply != null, "there is no reply");
        return reply;
    }

    private static void askByOwnId(Peer peer, String queue) {
        var template = peer.template(Json.converter());
        template.setUserCorrelationId(true);
        var reply = askWith(peer, template, queue, "c-17");
        equal("c-17", reply.getMessageProperties().getCorrelationId(), "correlation id");
    }

    private static void askByKey(Peer peer, String queue) {
        var template = peer.template(Json.converter());
        template.setCorrelationKey("my-key");
        equal(ANSWER, ask(peer, template, queue), "the answer");
    }

    private static void askForError(Peer peer, String queue) {
        var reply = askWith(peer, peer.template(Json.converter()), queue, null);
        equal(true, reply.getMessageProperties().getHeaders().get("x-coney-error"), "x-coney-error");
        var body = new String(reply.getBody());
        holds(body.contains("\"code\":\"OUT_OF_STOCK\"") && body.contains("only 3 are left"), "the body is " + body);
    }

    private static Future<Object> begin(Peer peer, AsyncRabbitTemplate async, String queue) {
        Future<Object> future = async.convertSendAndReceive("", requests(peer, queue), (Object) Samples.ORDER);
        return future;
    }

    private static void askAsync(Peer peer, String queue) throws Exception {
        var async = new AsyncRabbitTemplate(peer.template(Json.converter()));
        async.start();
        try {
            var futures = List.of(begin(peer, async, queue), begin(peer, async, queue), begin(peer, async, queue));
            for (var future : futures) {
                equal(ANSWER, future.get(peer.patienceMs(), TimeUnit.MILLISECONDS), "the answer");
            }
        } finally {
            async.stop();
        }
    }

    /** The C side takes the request and does not answer. */
    private static void askInVain(Peer peer, String queue) throws Exception {
        var async = new AsyncRabbitTemplate(peer.template(Json.converter()));
        async.setReceiveTimeout(500);
        async.start();
        try {
            begin(peer, async, queue).get(peer.patienceMs(), TimeUnit.MILLISECONDS);
            throw new AssertionError("there is an answer");
        } catch (ExecutionException e) {
            holds(e.getCause() instanceof AmqpReplyTimeoutException, "it failed by " + e.getCause());
        } finally {
            async.stop();
        }
    }
}
