#!/bin/sh
# psql: each of its commands in psql.txt, and what it prints.
folder=$(dirname "$0")
grep -v '^#' "$folder/psql.txt" | while IFS= read -r command; do
    printf '## %s\n' "$command"
    printf '%s\n' "$command" | psql -X -q -P pager=off -v VERBOSITY=sqlstate 2>&1
done
