# Reads lines "FROM TO ..." and prints the circles, a line for each: how many files call each other, then their names.
{
    if (!($1 in number)) name[number[$1] = ++count] = $1
    if (!($2 in number)) name[number[$2] = ++count] = $2
    reaches[number[$1], number[$2]] = 1
}
END {
    for (k = 1; k <= count; k++)
        for (i = 1; i <= count; i++)
            if ((i, k) in reaches)
                for (j = 1; j <= count; j++)
                    if ((k, j) in reaches) reaches[i, j] = 1
    for (i = 1; i <= count; i++) {
        if (i in told) continue
        size = 0
        names = ""
        for (j = i; j <= count; j++)
            if ((i, j) in reaches && (j, i) in reaches) {
                told[j] = 1
                size++
                names = names " " name[j]
            }
        if (size > 1) print size names
    }
}
