#!/bin/sh
# pg_dump of tables without their rows, and of their rows; then what psql makes of it in another schema.
topic() {
    printf '## %s\n' "$1"
    shift
    "$@" 2>&1 | grep -v -E '^(--|.restrict|.unrestrict|SET |SELECT pg_catalog.set_config|$)'
}
for table in customers orders lines; do
    topic "schema of $table" pg_dump --schema-only --table="ws.$table"
done
topic "schema of a view" pg_dump --schema-only --table=ws.totals
topic "schema of a sequence" pg_dump --schema-only --table=ws.numbers
topic "without owners" pg_dump --schema-only --no-owner --no-privileges --table=ws.orders
topic "rows as inserts" pg_dump --data-only --inserts --rows-per-insert=50 --table=ws.customers
topic "rows by COPY" pg_dump --data-only --table=ws.orders
topic "everything of a schema" pg_dump --schema-only --schema=ws
pg_dump --table=ws.orders --table=ws.customers | sed 's/\bws\./again./g' >"${TMPDIR:-/tmp}/dump.$$"
psql -X -q -c 'CREATE SCHEMA again'
topic "restored" psql -X -q -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate -f "${TMPDIR:-/tmp}/dump.$$"
rm "${TMPDIR:-/tmp}/dump.$$"
topic "what was restored" psql -X -q -c 'SELECT sum(amount), max(id), max(at) FROM again.orders' -c '\d again.orders'
topic "goes on" psql -X -q -c 'INSERT INTO again.orders (customer) VALUES (1) RETURNING id'
