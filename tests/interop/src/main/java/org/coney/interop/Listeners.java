// SPDX-License-Identifier: MIT
// What listens in a Spring service: methods with annotations, for the cases that are about listeners.
package org.coney.interop;

import java.util.List;
import java.util.Map;

import org.coney.interop.Samples.Cancellation;
import org.coney.interop.Samples.Order;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.rabbit.annotation.EnableRabbit;
import org.springframework.amqp.rabbit.annotation.RabbitHandler;
import org.springframework.amqp.rabbit.annotation.RabbitListener;
import org.springframework.amqp.rabbit.config.SimpleRabbitListenerContainerFactory;
import org.springframework.amqp.support.converter.MessageConverter;
import org.springframework.amqp.support.converter.SimpleMessageConverter;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.support.PropertySourcesPlaceholderConfigurer;
import org.springframework.core.env.MapPropertySource;

@Configuration
@EnableRabbit
class Listeners {
    private final Peer peer;

    Listeners(Peer peer) {
        this.peer = peer;
    }

    static AnnotationConfigApplicationContext start(Peer peer) {
        var context = new AnnotationConfigApplicationContext();
        context.getEnvironment().getPropertySources()
                .addFirst(new MapPropertySource("interop", Map.of("prefix", peer.prefix)));
        context.registerBean(Peer.class, () -> peer);
        context.register(Listeners.class, Handlers.class);
        TalkCases.declare(peer);
        context.refresh();
        return context;
    }

    @Bean
    static PropertySourcesPlaceholderConfigurer placeholders() {
        return new PropertySourcesPlaceholderConfigurer();
    }

    private SimpleRabbitListenerContainerFactory containers(MessageConverter converter) {
        var containers = new SimpleRabbitListenerContainerFactory();
        containers.setConnectionFactory(peer.factory);
        containers.setMessageConverter(converter);
        containers.setDefaultRequeueRejected(false); // a failed case fails once
        return containers;
    }

    @Bean
    SimpleRabbitListenerContainerFactory json() {
        return containers(Json.converter());
    }

    @Bean
    SimpleRabbitListenerContainerFactory typeIdFirst() {
        return containers(Json.typeIdFirst());
    }

    @Bean
    SimpleRabbitListenerContainerFactory ids() {
        return containers(Json.withIds(Samples.IDS));
    }

    @Bean
    SimpleRabbitListenerContainerFactory texts() {
        return containers(new SimpleMessageConverter());
    }

    @RabbitListener(queues = "${prefix}json-inferred.spring", containerFactory = "json")
    void inferred(Cancellation cancellation) {
        peer.tell("inferred", cancellation);
    }

    @RabbitListener(queues = "${prefix}json-type-id-first.spring", containerFactory = "typeIdFirst")
    void typeIdFirst(Record any) {
        peer.tell("type-id-first", any);
    }

    @RabbitListener(queues = "${prefix}batch-to-listener.spring", containerFactory = "texts")
    void batch(String text) {
        peer.tell("batch", text);
    }

    @RabbitListener(queues = "${prefix}dead-letter-by-spring.work", containerFactory = "texts")
    void reject(String text) {
        throw new AmqpRejectAndDontRequeueException("not this: " + text);
    }

    @RabbitListener(queues = "${prefix}unreadable-by-spring.work", containerFactory = "json")
    void unreadable(Order order) {
        throw new IllegalStateException("the body was read: " + order);
    }

    @RabbitListener(queues = "${prefix}reply-by-spring.spring", containerFactory = "json")
    Cancellation answer(Order order) {
        return new Cancellation(order.id(), "answered");
    }

    @RabbitListener(queues = {"${prefix}rpc-direct.spring", "${prefix}rpc-temporary.spring",
            "${prefix}rpc-fixed.spring"}, containerFactory = "json")
    Cancellation answerRequest(Order order) {
        return new Cancellation(order.id(), "answered");
    }

    @RabbitListener(queues = "${prefix}rpc-list.spring", containerFactory = "json")
    List<Cancellation> answerByList(Order order) {
        return List.of(new Cancellation(order.id(), "first"), new Cancellation(order.id(), "second"));
    }

    @RabbitListener(queues = "${prefix}rpc-void.spring", containerFactory = "json")
    void answerNothing(Order order) {
        peer.tell("nothing", order);
    }

    @RabbitListener(queues = "${prefix}rpc-fails-json.spring", containerFactory = "json", returnExceptions = "true")
    Cancellation failAsJson(Order order) {
        throw new IllegalStateException("no stock of " + order.id());
    }

    @RabbitListener(queues = "${prefix}rpc-fails-java.spring", containerFactory = "texts", returnExceptions = "true")
    String failAsJava(String text) {
        throw new IllegalStateException("no stock of " + text);
    }

    /** By class. */
    @RabbitListener(queues = "${prefix}json-handler-by-class.spring", containerFactory = "ids")
    static class Handlers {
        private final Peer peer;

        Handlers(Peer peer) {
            this.peer = peer;
        }

        @RabbitHandler
        void order(Order order) {
            peer.tell("handlers", "order " + order.id());
        }

        @RabbitHandler
        void cancellation(Cancellation cancellation) {
            peer.tell("handlers", "cancellation " + cancellation.id());
        }

        @RabbitHandler(isDefault = true)
        void other(Object other) {
            peer.tell("handlers", "other " + other);
        }
    }
}
