// SPDX-License-Identifier: MIT
// Properties and headers. tests/interop/c/property_cases.c is the other side.
package org.coney.interop;

import static org.coney.interop.Case.equal;
import static org.coney.interop.Case.holds;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.UUID;

import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageDeliveryMode;
import org.springframework.amqp.core.MessageProperties;
import org.springframework.beans.PropertyAccessorFactory;

final class PropertyCases {
    static final String TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    private static final Date TIME = new Date(1_700_000_000_000L);
    private static final byte[] BYTES = {0, 1, -1};

    private PropertyCases() {
    }

    static final List<Case> ALL = List.of(
            new Case("properties-all", PropertyCases::sendAll, PropertyCases::checkAll),
            new Case("properties-defaults",
                    (peer, queue) -> peer.template().send(queue, new Message(new byte[0], new MessageProperties())),
                    PropertyCases::checkDefaults),
            new Case("headers-every-type", PropertyCases::sendHeaders, PropertyCases::checkHeaders),
            new Case("headers-long-and-nested", PropertyCases::sendLong, PropertyCases::checkLong),
            new Case("message-ids", PropertyCases::sendId, PropertyCases::checkId),
            new Case("delay", PropertyCases::sendDelay, PropertyCases::checkDelay),
            new Case("retry-count", PropertyCases::sendRetryCount, PropertyCases::checkRetryCount),
            new Case("trace", PropertyCases::sendTrace, PropertyCases::checkTrace));

    static MessageProperties all() {
        var properties = new MessageProperties();
        properties.setContentType("text/plain");
        properties.setContentEncoding("UTF-8");
        properties.setDeliveryMode(MessageDeliveryMode.NON_PERSISTENT);
        properties.setPriority(7);
        properties.setCorrelationId("correlation");
        properties.setReplyTo("exchange/key");
        properties.setExpiration("600000");
        properties.setMessageId("id");
        properties.setTimestamp(TIME);
        properties.setType("type");
        properties.setUserId("guest");
        properties.setAppId("app");
        properties.setClusterId("cluster");
        properties.setHeader("header", "value");
        return properties;
    }

    private static void sendAll(Peer peer, String queue) {
        peer.template().send(queue, new Message("all".getBytes(StandardCharsets.UTF_8), all()));
    }

    private static void checkAll(Peer peer, String queue) {
        var message = peer.receive(queue);
        var got = message.getMessageProperties();
        equal("all", new String(message.getBody(), StandardCharsets.UTF_8), "body");
        equal("text/plain", got.getContentType(), "content type");
        equal("UTF-8", got.getContentEncoding(), "content encoding");
        equal(MessageDeliveryMode.NON_PERSISTENT, got.getReceivedDeliveryMode(), "delivery mode");
        equal(7, got.getPriority(), "priority");
        equal("correlation", got.getCorrelationId(), "correlation id");
        equal("exchange", got.getReplyToAddress().getExchangeName(), "exchange for replies");
        equal("key", got.getReplyToAddress().getRoutingKey(), "routing key for replies");
        equal("600000", got.getExpiration(), "expiration");
        equal("id", got.getMessageId(), "message id");
        equal(TIME, got.getTimestamp(), "timestamp");
        equal("type", got.getType(), "type");
        equal("guest", got.getReceivedUserId(), "user id");
        equal("app", got.getAppId(), "app id");
        equal("cluster", got.getClusterId(), "cluster id");
        equal("value", got.getHeaders().get("header"), "header");
        equal("", got.getReceivedExchange(), "exchange");
        equal(queue, got.getReceivedRoutingKey(), "routing key");
    }

    private static void checkDefaults(Peer peer, String queue) {
        var message = peer.receive(queue);
        var got = message.getMessageProperties();
        equal(0, message.getBody().length, "bytes of the body");
        equal("application/octet-stream", got.getContentType(), "content type");
        equal(MessageDeliveryMode.PERSISTENT, got.getReceivedDeliveryMode(), "delivery mode");
        equal(Map.of(), got.getHeaders(), "headers");
        equal(null, got.getCorrelationId(), "correlation id");
        equal(null, got.getMessageId(), "message id");
        equal(null, got.getTimestamp(), "timestamp");
    }

    private static void sendHeaders(Peer peer, String queue) {
        var properties = new MessageProperties();
        properties.setHeader("bool", true);
        properties.setHeader("byte", Byte.MIN_VALUE);
        properties.setHeader("short", Short.MIN_VALUE);
        properties.setHeader("int", Integer.MIN_VALUE);
        properties.setHeader("long", Long.MIN_VALUE);
        properties.setHeader("float", 0.5f);
        properties.setHeader("double", 0.1);
        properties.setHeader("decimal", new BigDecimal("123.45"));
        properties.setHeader("string", Samples.TEXT);
        properties.setHeader("bytes", BYTES);
        properties.setHeader("time", TIME);
        properties.setHeader("list", Arrays.asList(1, "two", null));
        properties.setHeader("table", Map.of("inner", Map.of("deep", 1L)));
        properties.setHeader("null", null);
        properties.setHeader("uuid", new UUID(1, 2)); // no type of AMQP, so its text
        peer.template().send(queue, new Message(new byte[0], properties));
    }

    private static void checkHeaders(Peer peer, String queue) {
        var got = peer.receive(queue).getMessageProperties().getHeaders();
        equal(true, got.get("bool"), "bool");
        equal(Byte.MIN_VALUE, got.get("int8"), "int8");
        equal(255L, ((Number) got.get("uint8")).longValue(), "uint8");
        equal(Short.MIN_VALUE, got.get("int16"), "int16");
        equal(65_535L, ((Number) got.get("uint16")).longValue(), "uint16");
        equal(Integer.MIN_VALUE, got.get("int32"), "int32");
        equal(4_294_967_295L, ((Number) got.get("uint32")).longValue(), "uint32");
        equal(Long.MIN_VALUE, got.get("int64"), "int64");
        equal(0.5f, got.get("float"), "float");
        equal(0.1, got.get("double"), "double");
        equal(new BigDecimal("123.45"), got.get("decimal"), "decimal");
        equal(Samples.TEXT, got.get("string"), "string");
        equal(BYTES, got.get("bytes"), "bytes");
        equal(TIME, got.get("time"), "time");
        equal(Arrays.asList(1L, "two", null), got.get("list"), "list");
        equal(Map.of("inner", Map.of("deep", 1L)), got.get("table"), "table");
        holds(got.containsKey("null") && got.get("null") == null, "null is not null");
    }

    private static void sendLong(Peer peer, String queue) {
        var properties = new MessageProperties();
        properties.setHeader("long", "x".repeat(5000));
        properties.setHeader("lists", List.of(List.of(List.of("deep")), Map.of("list", List.of(true))));
        peer.template().send(queue, new Message(new byte[0], properties));
    }

    /** Spring keeps a text over 1,024 bytes as it came. */
    private static void checkLong(Peer peer, String queue) {
        var got = peer.receive(queue).getMessageProperties().getHeaders();
        equal("x".repeat(5000), String.valueOf(got.get("long")), "long");
        equal(List.of(List.of(List.of("deep")), Map.of("list", List.of(true))), got.get("lists"), "lists");
    }

    private static void sendId(Peer peer, String queue) {
        var converter = Json.converter();
        converter.setCreateMessageIds(true);
        peer.template(converter).convertAndSend(queue, Samples.CANCELLATION);
    }

    private static void checkId(Peer peer, String queue) {
        var id = peer.receive(queue).getMessageProperties().getMessageId();
        equal(4, UUID.fromString(id).version(), "version of the UUID");
    }

    /** Spring 2.4 has delays of type Integer, Spring 4.1 has Long, under another name. */
    private static void sendDelay(Peer peer, String queue) {
        var properties = new MessageProperties();
        var bean = PropertyAccessorFactory.forBeanPropertyAccess(properties);
        bean.setPropertyValue(bean.isWritableProperty("delayLong") ? "delayLong" : "delay", 5000);
        peer.template().send(queue, new Message(new byte[0], properties));
    }

    private static void checkDelay(Peer peer, String queue) {
        var bean = PropertyAccessorFactory.forBeanPropertyAccess(peer.receive(queue).getMessageProperties());
        var name = bean.isReadableProperty("receivedDelayLong") ? "receivedDelayLong" : "receivedDelay";
        equal("5000", String.valueOf(bean.getPropertyValue(name)), name);
    }

    /** Spring 2.4 has no such property; there it is a header like others. */
    private static void sendRetryCount(Peer peer, String queue) {
        var properties = new MessageProperties();
        var bean = PropertyAccessorFactory.forBeanPropertyAccess(properties);
        if (bean.isWritableProperty("retryCount")) {
            bean.setPropertyValue("retryCount", 2);
        } else {
            properties.setHeader("retry-count", 2L);
        }
        peer.template().send(queue, new Message(new byte[0], properties));
    }

    private static void checkRetryCount(Peer peer, String queue) {
        var properties = peer.receive(queue).getMessageProperties();
        var bean = PropertyAccessorFactory.forBeanPropertyAccess(properties);
        var count = bean.isReadableProperty("retryCount") ? bean.getPropertyValue("retryCount")
                : properties.getHeaders().get("retry-count");
        equal("2", String.valueOf(count), "retry count");
    }

    private static void sendTrace(Peer peer, String queue) {
        peer.template(Json.converter()).convertAndSend(queue, (Object) Samples.CANCELLATION, message -> {
            message.getMessageProperties().setHeader("traceparent", TRACE);
            message.getMessageProperties().setHeader("tracestate", "coney=1");
            return message;
        });
    }

    private static void checkTrace(Peer peer, String queue) {
        var got = peer.receive(queue).getMessageProperties();
        equal(TRACE, got.getHeader("traceparent"), "traceparent");
        equal("coney=1", got.getHeader("tracestate"), "tracestate");
    }
}
