// SPDX-License-Identifier: MIT
// Bodies: texts in several charsets, bytes, compressed bodies and batches. tests/interop/c/body_cases.c is the other
// side.
package org.coney.interop;

import static org.coney.interop.Case.equal;

import java.util.ArrayList;
import java.util.List;

import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessagePostProcessor;
import org.springframework.amqp.rabbit.batch.SimpleBatchingStrategy;
import org.springframework.amqp.rabbit.core.BatchingRabbitTemplate;
import org.springframework.amqp.support.converter.SimpleMessageConverter;
import org.springframework.amqp.support.postprocessor.DeflaterPostProcessor;
import org.springframework.amqp.support.postprocessor.DelegatingDecompressingPostProcessor;
import org.springframework.amqp.support.postprocessor.GUnzipPostProcessor;
import org.springframework.amqp.support.postprocessor.GZipPostProcessor;
import org.springframework.amqp.support.postprocessor.InflaterPostProcessor;
import org.springframework.amqp.support.postprocessor.UnzipPostProcessor;
import org.springframework.amqp.support.postprocessor.ZipPostProcessor;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

final class BodyCases {
    private static final byte[] BYTES = {0, 1, 2, -1, -128, 127, 0};
    private static final String LONG_TEXT = (Samples.TEXT + " ").repeat(200);
    private static final List<String> BATCH = List.of("one", "", Samples.TEXT);

    private BodyCases() {
    }

    static final List<Case> ALL = List.of(text("text-utf8", "UTF-8", Samples.TEXT),
            text("text-latin1", "ISO-8859-1", "Zürich à bientôt"), text("text-utf16", "UTF-16", Samples.TEXT),
            new Case("bytes", (peer, queue) -> peer.template().convertAndSend(queue, BYTES),
                    (peer, queue) -> equal(BYTES, peer.receive(queue, new SimpleMessageConverter()), "the bytes")),
            compressed("gzip", new GZipPostProcessor(), new GUnzipPostProcessor()),
            compressed("deflate", new DeflaterPostProcessor(), new InflaterPostProcessor()),
            compressed("zip", new ZipPostProcessor(), new UnzipPostProcessor()),
            new Case("gzip-json", (peer, queue) -> {
                var template = peer.template(Json.converter());
                template.setBeforePublishPostProcessors(new GZipPostProcessor());
                template.convertAndSend(queue, Samples.ORDER);
            }, (peer, queue) -> equal(Samples.ORDER, Json.converter().fromMessage(
                    new DelegatingDecompressingPostProcessor().postProcessMessage(peer.receive(queue))), "the order")),
            new Case("deflate-gzip", BodyCases::sendTwice, BodyCases::checkTwice),
            new Case("batch", BodyCases::sendBatch, BodyCases::checkBatch),
            new Case("batch-gzip", BodyCases::sendBatchCompressed, null),
            new Case("batch-to-listener", BodyCases::sendBatch, BodyCases::checkListener));

    private static Case text(String name, String charset, String text) {
        return new Case(name, (peer, queue) -> {
            var converter = new SimpleMessageConverter();
            converter.setDefaultCharset(charset);
            peer.template(converter).convertAndSend(queue, text);
        }, (peer, queue) -> {
            var message = peer.receive(queue);
            equal("text/plain", message.getMessageProperties().getContentType(), "content type");
            equal(charset, message.getMessageProperties().getContentEncoding(), "content encoding");
            equal(text, new SimpleMessageConverter().fromMessage(message), "the text");
        });
    }

    /** Each way back: by the processor of this kind, which heeds the header, and by the one for all kinds. */
    private static Case compressed(String name, MessagePostProcessor compress, MessagePostProcessor decompress) {
        return new Case(name, (peer, queue) -> {
            var template = peer.template();
            template.setBeforePublishPostProcessors(compress);
            template.convertAndSend(queue, LONG_TEXT);
        }, (peer, queue) -> {
            for (var processor : List.of(decompress, new DelegatingDecompressingPostProcessor())) {
                var message = processor.postProcessMessage(peer.receive(queue));
                equal("UTF-8", message.getMessageProperties().getContentEncoding(), "content encoding");
                equal(LONG_TEXT, new SimpleMessageConverter().fromMessage(message), "the text");
            }
        });
    }

    private static void sendTwice(Peer peer, String queue) {
        var template = peer.template();
        template.setBeforePublishPostProcessors(message -> new GZipPostProcessor()
                .postProcessMessage(new DeflaterPostProcessor().postProcessMessage(message)));
        template.convertAndSend(queue, LONG_TEXT);
    }

    private static void checkTwice(Peer peer, String queue) {
        var message = peer.receive(queue);
        equal("gzip, deflate, UTF-8", message.getMessageProperties().getContentEncoding(), "content encoding");
        var all = new DelegatingDecompressingPostProcessor();
        message = all.postProcessMessage(all.postProcessMessage(message));
        equal(LONG_TEXT, new SimpleMessageConverter().fromMessage(message), "the text");
    }

    private static BatchingRabbitTemplate batching(Peer peer) {
        var scheduler = new ThreadPoolTaskScheduler();
        scheduler.setDaemon(true);
        scheduler.initialize();
        var strategy = new SimpleBatchingStrategy(BATCH.size(), 10_000, 10_000);
        return new BatchingRabbitTemplate(peer.factory, strategy, scheduler);
    }

    private static void sendBatch(Peer peer, String queue) {
        var template = batching(peer);
        BATCH.forEach(text -> template.convertAndSend(queue, text));
    }

    private static void sendBatchCompressed(Peer peer, String queue) {
        var template = batching(peer);
        template.setBeforePublishPostProcessors(new GZipPostProcessor());
        BATCH.forEach(text -> template.convertAndSend(queue, text));
    }

    private static void checkBatch(Peer peer, String queue) {
        Message message = peer.receive(queue);
        var strategy = new SimpleBatchingStrategy(0, 0, 0);
        var texts = new ArrayList<String>();
        Case.holds(strategy.canDebatch(message.getMessageProperties()), "it is no batch");
        strategy.deBatch(message, one -> texts.add((String) new SimpleMessageConverter().fromMessage(one)));
        equal(BATCH, texts, "the texts");
    }

    private static void checkListener(Peer peer, String queue) throws InterruptedException {
        for (var text : BATCH) {
            equal(text, peer.told("batch"), "the text");
        }
    }
}
