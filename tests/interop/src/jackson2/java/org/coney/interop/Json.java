// SPDX-License-Identifier: MIT
// The JSON converters of Spring 3.2 and 2.4, by Jackson 2. src/jackson3 has the same for newer Spring.
package org.coney.interop;

import java.util.Map;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import org.springframework.amqp.support.converter.DefaultClassMapper;
import org.springframework.amqp.support.converter.DefaultJackson2JavaTypeMapper;
import org.springframework.amqp.support.converter.Jackson2JavaTypeMapper.TypePrecedence;
import org.springframework.amqp.support.converter.Jackson2JsonMessageConverter;

final class Json {
    private static final String OURS = "org.coney.interop";

    private Json() {
    }

    /** Writes and reads class names in the type headers. */
    static Jackson2JsonMessageConverter converter() {
        return new Jackson2JsonMessageConverter(OURS);
    }

    /** Writes and reads these ids in the type headers instead of class names. */
    static Jackson2JsonMessageConverter withIds(Map<String, Class<?>> ids) {
        var mapper = new DefaultJackson2JavaTypeMapper();
        mapper.setTrustedPackages(OURS);
        mapper.setIdClassMapping(ids);
        var converter = converter();
        converter.setJavaTypeMapper(mapper);
        return converter;
    }

    /** The type headers win over the type of the listener's parameter. */
    static Jackson2JsonMessageConverter typeIdFirst() {
        var converter = converter();
        converter.setTypePrecedence(TypePrecedence.TYPE_ID);
        return converter;
    }

    /** Maps are called Hashtable, as by the oldest peers. */
    static Jackson2JsonMessageConverter withOldNames() {
        var converter = converter();
        converter.setClassMapper(new DefaultClassMapper());
        return converter;
    }

    /** Knows all of Java's types. Times are numbers, or ISO 8601 texts as in Spring Boot. */
    static Jackson2JsonMessageConverter withTimes(boolean numbers) {
        var mapper = new ObjectMapper().findAndRegisterModules()
                .configure(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS, numbers)
                .configure(SerializationFeature.WRITE_DURATIONS_AS_TIMESTAMPS, numbers);
        return new Jackson2JsonMessageConverter(mapper, OURS);
    }
}
