#!/usr/bin/env bash
# Prints which file of src uses which function or variable of another one, a line "FROM TO SYMBOL" for each, out of the
# symbol tables of build/dev.
#
#   calls_between_files.sh [DIRECTORY]     of Coney; this one
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"
objects=build/dev/CMakeFiles/coney_objects.dir

# Objects of files that are gone may still be there. coney_management is a library of its own.
compiled() {
    local source
    find src -name '*.c' -not -path 'src/management/*' | sort | while read -r source; do
        [[ -e $objects/$source.o ]] || { echo "$source is not compiled: run ./dev test unit first" >&2; exit 1; }
        echo "$objects/$source.o"
    done
}

files=$(compiled)
xargs nm -A <<<"$files" | awk -v prefix="$objects/" '
    {
        file = substr($1, length(prefix) + 1)
        sub(/\.o:.*/, "", file)
    }
    $(NF - 1) ~ /^[TDBRC]$/ { home[$NF] = file }
    $(NF - 1) == "U" { uses[file, $NF] }
    END {
        for (use in uses) {
            split(use, part, SUBSEP)
            to = home[part[2]]
            if (to != "" && to != part[1])
                print part[1], to, part[2]
        }
    }' | sort
