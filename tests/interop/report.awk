# Reads the results of both sides, TAP with the line of Spring before each line, and prints a table of all cases. Fails
# if a case failed, if a side ended before its plan, and if what one side sends is not checked by the other side.

function fail(text) { failures[++failed] = text }

$2 ~ /^1\.\.[0-9]+$/ {
    plans[$1]++
    planned[$1] += substr($2, 4)
    next
}

$2 == "ok" || ($2 == "not" && $3 == "ok") {
    is_ok = $2 == "ok"
    name = $NF
    direction = $(NF - 1)
    if (!is_ok && name == "hangs") {
        name = $(NF - 1)
        direction = "any"
    }
    results[$1]++
    # Both sides print "send NAME", so the direction follows from who checks it.
    if (direction == "send")
        sent[$1, name]++
    else
        checked[$1, name]++
    if (!(name in known)) {
        known[name] = 1
        names[++count] = name
    }
    outcome[$1, direction, name] = is_ok ? "ok" : "FAILED"
    if (!is_ok)
        fail($1 " " direction " " name)
    explains = !is_ok
    next
}

# Why the last case failed.
$2 ~ /^#/ && explains && $3 != "ok" && $3 != "not" {
    failures[failed] = failures[failed] "\n    " substr($0, length($1) + 2)
}

function cell(line, direction, name) {
    return (line, direction, name) in outcome ? outcome[line, direction, name] : "-"
}

END {
    lines_count = split(lines, all, " ")
    printf "%-28s", "case"
    for (i = 1; i <= lines_count; i++)
        printf " %-12s %-12s", all[i] " C->S", all[i] " S->C"
    print ""
    for (n = 1; n <= count; n++) {
        printf "%-28s", names[n]
        for (i = 1; i <= lines_count; i++)
            printf " %-12s %-12s", cell(all[i], "C->Spring", names[n]), cell(all[i], "Spring->C", names[n])
        print ""
        for (i = 1; i <= lines_count; i++) {
            if (sent[all[i], names[n]] > checked[all[i], names[n]])
                fail(all[i] " " names[n] ": one side sends what the other side does not check")
        }
    }
    for (i = 1; i <= lines_count; i++) {
        if (plans[all[i]] != 2 || planned[all[i]] != results[all[i]])
            fail(all[i] ": a side has ended early, with " results[all[i]] + 0 " results of " planned[all[i]] + 0)
        total += results[all[i]]
    }
    for (n = 1; n <= failed; n++)
        print "FAILED: " failures[n]
    printf "%d cases, %d results, %d failures\n", count, total, failed
    exit failed > 0
}
