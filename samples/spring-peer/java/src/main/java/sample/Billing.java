// SPDX-License-Identifier: MIT
// The Spring side: a listener that makes an invoice of each order, and publishes the invoice as an event.
package sample;

import java.math.BigDecimal;
import java.net.URI;
import java.time.Instant;

import org.springframework.amqp.core.Queue;
import org.springframework.amqp.rabbit.annotation.EnableRabbit;
import org.springframework.amqp.rabbit.annotation.RabbitListener;
import org.springframework.amqp.rabbit.config.SimpleRabbitListenerContainerFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.ConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.support.converter.JacksonJsonMessageConverter;
import org.springframework.amqp.support.converter.MessageConverter;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.messaging.handler.annotation.SendTo;

@Configuration
@EnableRabbit
public class Billing {
    static final String ORDERS = "sample.spring.orders";
    static final String INVOICES = "sample.spring.invoices";

    @RabbitListener(queues = ORDERS)
    @SendTo(INVOICES)
    public Invoice bill(Order order) {
        System.out.println("spring: order " + order.id() + " of " + order.customer() + ": " + order.lines());
        int items = order.lines().stream().mapToInt(Line::quantity).sum();
        BigDecimal total = order.lines().stream()
                .map(line -> line.price().multiply(BigDecimal.valueOf(line.quantity())))
                .reduce(BigDecimal.ZERO, BigDecimal::add);
        return new Invoice(order.id(), order.customer(), items, total, order.placedAt(), Instant.now());
    }

    @Bean
    ConnectionFactory connectionFactory() {
        return new CachingConnectionFactory(URI.create(System.getenv("CONEY_URI")));
    }

    @Bean
    MessageConverter converter() {
        return new JacksonJsonMessageConverter();
    }

    @Bean
    SimpleRabbitListenerContainerFactory rabbitListenerContainerFactory() {
        var factory = new SimpleRabbitListenerContainerFactory();
        factory.setConnectionFactory(connectionFactory());
        factory.setMessageConverter(converter());
        return factory;
    }

    @Bean
    RabbitAdmin admin() {
        return new RabbitAdmin(connectionFactory()); // declares the queues; both sides may
    }

    @Bean
    Queue orders() {
        return new Queue(ORDERS);
    }

    @Bean
    Queue invoices() {
        return new Queue(INVOICES);
    }

    public static void main(String[] arguments) {
        new AnnotationConfigApplicationContext(Billing.class).registerShutdownHook();
    }
}
