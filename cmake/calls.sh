#!/usr/bin/env bash
# Checks that every public function begins with CNY_DISABLE_CANCEL(), so that no thread is cancelled within a call.
# Those listed here need not: they neither lock, wait, log or read files, nor run the program's code; or they leave that
# to a function that begins so. management_read, of another library, does the same by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unguarded="address_* value_* table_* array_* topology_*
    message_new message_with message_with_header message_ref message_unref message_body message_size message_properties
    message_header message_exchange message_routing_key message_received_* message_redelivered
    message_delivery_tag message_count message_retry_count message_with_retry_count message_next_death message_describe
    message_is_batch message_new_error message_is_error message_error remote_error_free
    message_batch
    compress_processor decompress_processor message_id_processor timestamp_processor
    object_free text_free content_free map_string types_find
    bytes_converter text_converter json_converter conversion_failed json_set_limits
    match_headers inventory_* management_read plan_free plan_size plan_at plan_state_name
    fail status_name last_error last_error_details version version_number log_set_level log_level_name
    container_event_name
    delivery_ref delivery_message delivery_payload delivery_type delivery_queue delivery_listener_id
    delivery_time_left_ms delivery_attempt delivery_is_last_in_batch"

is_unguarded() {
    local pattern
    for pattern in $unguarded; do
        # shellcheck disable=SC2053 # a pattern
        [[ $1 != $pattern ]] || return 0
    done
    return 1
}

declared() {
    grep -rhoP '^CONEY_API [^(]*\bconey_\K\w+(?=\()' include | sort
}

guarded() {
    find src -name '*.c' -print0 | xargs -0 cat |
        awk '/^[a-z].*coney_[a-z0-9_]+\(/ {
                 match($0, /coney_[a-z0-9_]+\(/)
                 name = substr($0, RSTART + 6, RLENGTH - 7)
             }
             /^    CNY_DISABLE_CANCEL\(\);/ && before == "{" { print name }
             { before = $0 }' | sort
}

status=0
set -f
while read -r name; do
    is_unguarded "$name" && continue
    echo "coney_$name() does not begin with CNY_DISABLE_CANCEL()" >&2
    status=1
done < <(comm -23 <(declared) <(guarded))
exit $status
