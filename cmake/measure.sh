#!/usr/bin/env bash
# Measures how the code of src is built: sizes, circles of files, booleans. Reads build/dev for the circles.
#
#   measure.sh [DIRECTORY]     of Coney; this one
set -euo pipefail
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
cd "${1:-$here/..}"

# A function's body begins and ends with a brace in the first column: "LINES FILE NAME" for each.
functions() {
    find src -name '*.[ch]' -print0 | xargs -0 awk '
        FNR == 1 { body = 0 }
        /^\{$/ { body = FNR; name = before }
        /^\}$/ && body { print FNR - body - 1, FILENAME, name; body = 0 }
        /^[a-z]/ { before = $0; sub(/\(.*/, "", before); sub(/.*[ *]/, "", before) }'
}

# "NUMBER STRUCT" for each struct that has booleans.
booleans() {
    find src -name '*.[ch]' -print0 | xargs -0 awk '
        /^(typedef )?struct [a-z_]+ \{/ { name = $0; sub(/ \{.*/, "", name); sub(/.* /, "", name); count = 0; open = 1 }
        open && /^    (atomic_)?bool [^(]/ {
            text = $0
            sub(/;.*/, "", text)
            count += gsub(/,/, ",", text) + 1
        }
        open && /^\}/ { if (count) print count, name; open = 0 }' | sort -k1,1nr -k2
}

circles_of() {
    "$here/calls_between_files.sh" "$PWD" | awk -v in_room="^src/$1/" '$1 ~ in_room && $2 ~ in_room' |
        awk -f "$here/circles.awk"
}

rooms() { find src -name '*.c' -printf '%P\n' | awk -F/ '{ NF--; print }' OFS=/ | sort -u; }

lines=$(find src -name '*.[ch]' -print0 | xargs -0 wc -l | grep -v ' total$')
all=$(functions | sort -n)
echo "files $(wc -l <<<"$lines"), lines $(awk '{ sum += $1 } END { print sum }' <<<"$lines"), functions $(wc -l <<<"$all")"
echo "lines of a function: median $(awk '{ print $1 }' <<<"$all" | sed -n "$(($(wc -l <<<"$all") / 2 + 1))p"), longest $(tail -1 <<<"$all")"
echo "functions over 40 lines: $(awk '$1 > 40' <<<"$all" | wc -l)"
echo "files over 500 lines: $(awk '$1 > 500' <<<"$lines" | wc -l)"
awk '$1 > 500 { print "    " $1, $2 }' <<<"$lines" | sort -k1,1nr
echo "private headers over 250 lines:"
awk '$1 > 250 && /\.h$/ { print "    " $1, $2 }' <<<"$lines" | sort -k1,1nr
echo "the headers of rabbit and wire that most files include:"
grep -rhoP '^#include "\K(rabbit|wire)/[^"]+' src | sort | uniq -c | sort -k1,1nr | head -5 | awk '{ print "    " $1, $2 }'
echo "circles of files that call each other, inside a room:"
for room in $(rooms); do
    circles_of "$room" | sed "s|src/$room/||g; s|^|    $room: |"
done
echo "circles of folders:"
"$here/calls_between_files.sh" "$PWD" | awk '{ sub(/\/[^\/]*$/, "", $1); sub(/\/[^\/]*$/, "", $2) } $1 != $2' |
    sort -u | awk -f "$here/circles.awk" | sed 's|^|    |'
echo "booleans of structs (those with three or more):"
booleans | awk '$1 > 2 { print "    " $1, $2 }'
