// SPDX-License-Identifier: MIT
// The JSON converters of Spring 4.1, by Jackson 3. src/jackson2 has the same for older Spring.
package org.coney.interop;

import java.util.Map;

import org.springframework.amqp.support.converter.DefaultClassMapper;
import org.springframework.amqp.support.converter.DefaultJacksonJavaTypeMapper;
import org.springframework.amqp.support.converter.JacksonJavaTypeMapper.TypePrecedence;
import org.springframework.amqp.support.converter.JacksonJsonMessageConverter;
import tools.jackson.databind.cfg.DateTimeFeature;
import tools.jackson.databind.json.JsonMapper;

final class Json {
    private static final String OURS = "org.coney.interop";

    private Json() {
    }

    /** Writes and reads class names in the type headers. */
    static JacksonJsonMessageConverter converter() {
        return new JacksonJsonMessageConverter(OURS);
    }

    /** Writes and reads these ids in the type headers instead of class names. */
    static JacksonJsonMessageConverter withIds(Map<String, Class<?>> ids) {
        var mapper = new DefaultJacksonJavaTypeMapper();
        mapper.setTrustedPackages(OURS);
        mapper.setIdClassMapping(ids);
        var converter = converter();
        converter.setJavaTypeMapper(mapper);
        return converter;
    }

    /** The type headers win over the type of the listener's parameter. */
    static JacksonJsonMessageConverter typeIdFirst() {
        var converter = converter();
        converter.setTypePrecedence(TypePrecedence.TYPE_ID);
        return converter;
    }

    /** Maps are called Hashtable, as by the oldest peers. */
    static JacksonJsonMessageConverter withOldNames() {
        var converter = converter();
        converter.setClassMapper(new DefaultClassMapper());
        return converter;
    }

    /** Knows all of Java's types. Times are numbers, or ISO 8601 texts as in Spring Boot. */
    static JacksonJsonMessageConverter withTimes(boolean numbers) {
        var mapper = JsonMapper.builder().configure(DateTimeFeature.WRITE_DATES_AS_TIMESTAMPS, numbers)
                .configure(DateTimeFeature.WRITE_DURATIONS_AS_TIMESTAMPS, numbers).build();
        return new JacksonJsonMessageConverter(mapper, OURS);
    }
}
