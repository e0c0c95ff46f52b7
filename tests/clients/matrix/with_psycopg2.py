"""psycopg2: everything by the simple protocol, values as text; cursors of the server, COPY, errors."""

import io

import psycopg2
import psycopg2.extras

from common import ERRORS, KEPT, ROWS, topic, values

connection = psycopg2.connect("")
connection.autocommit = True
cursor = connection.cursor()
cursor.execute(KEPT)
cursor.execute(ROWS)


def shown(value):
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    return bytes(value) if isinstance(value, memoryview) else repr(value)


def rows(sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


with topic("the connection"):
    print(connection.server_version // 10000, connection.encoding, connection.isolation_level, connection.status)
    print([connection.get_parameter_status(name) for name in ("DateStyle", "TimeZone", "standard_conforming_strings")])

kept, refused = {}, {}
for number, column, type, literal in values():
    with topic("value", number, type, literal):
        (kept[number],) = rows(f"SELECT {column} FROM ws.kept WHERE k = %s", (number,))[0]
        print(shown(kept[number]), cursor.description[0].type_code, cursor.description[0].internal_size)
with topic("values as parameters"):
    connection.autocommit = False
    for number, column, type, literal in values():
        sent = psycopg2.extras.Json(kept[number]) if type.startswith("json") and "[" not in type else kept[number]
        cursor.execute("SAVEPOINT one")
        try:
            cursor.execute(f"INSERT INTO ws.kept (k, {column}) VALUES (%s, %s)", (1000 + number, sent))
        except psycopg2.Error as error:
            refused[number] = error.pgcode
            cursor.execute("ROLLBACK TO one")
    connection.commit()
connection.rollback()
connection.autocommit = True
for number, column, type, literal in values():
    with topic("sent back", number, type, literal):
        found = rows(f"SELECT {column} FROM ws.kept WHERE k = %s", (1000 + number,))
        print(shown(found[0][0]) == shown(kept[number]) if found else None, refused.get(number))

with topic("NULL in every type"):
    cursor.execute("INSERT INTO ws.kept (k) VALUES (2000)")
    print(rows("SELECT * FROM ws.kept WHERE k = 2000"))
with topic("columns of a query"):
    cursor.execute("SELECT id, name, code, n, ai, 1 AS one, count(*) OVER () FROM ws.customers")
    for column in cursor.description:
        print(column.name, column.type_code, column.display_size, column.internal_size, column.precision, column.scale)

with topic("many rows at once"):
    insert = "INSERT INTO ws.orders (customer, amount, at) VALUES %s RETURNING customer, amount, at"
    some = [(5, 1.5, None), (5, None, "2024-01-01"), (5, 3, "2024-01-01 10:00+02")]
    print(psycopg2.extras.execute_values(cursor, insert, [row for row in some if row[1]], fetch=True), cursor.rowcount)
    psycopg2.extras.execute_batch(cursor, "UPDATE ws.orders SET amount = %s WHERE customer = %s", [(7, 5), (8, 6)])
    print(cursor.rowcount, rows("SELECT amount FROM ws.orders WHERE customer = 5"))
    cursor.execute("DELETE FROM ws.orders WHERE customer = 5")
    print(cursor.rowcount, cursor.statusmessage)

with topic("several statements at once"):
    cursor.execute("SELECT 1; SELECT 2 AS two")
    print(cursor.fetchall(), cursor.description[0].name)

with topic("a server's cursor"):
    connection.autocommit = False
    with connection.cursor("some", scrollable=True) as some:
        some.itersize = 10
        some.execute("SELECT id FROM ws.orders WHERE id <= 100 ORDER BY id")
        print(sum(row[0] for row in some))
        some.scroll(0, mode="absolute")
        print(some.fetchmany(3))
    connection.rollback()
connection.autocommit = True

with topic("COPY"):
    out = io.StringIO()
    cursor.copy_expert("COPY ws.customers (id, name, code, tstz) TO STDOUT (FORMAT csv, HEADER)", out)
    print(repr(out.getvalue()))
    cursor.copy_expert("COPY ws.orders (customer, amount) FROM STDIN", io.StringIO("7\t1\n7\t2.5\n"))
    print(cursor.rowcount, rows("SELECT amount FROM ws.orders WHERE customer = 7 ORDER BY amount"))

with topic("transactions"):
    connection.set_session(isolation_level="SERIALIZABLE", readonly=False, autocommit=False)
    cursor.execute("SHOW transaction_isolation")
    print(cursor.fetchall(), connection.get_transaction_status())
    connection.rollback()
    connection.set_session(isolation_level="READ COMMITTED", readonly=True)
    try:
        cursor.execute("INSERT INTO ws.orders (customer) VALUES (1)")
    except psycopg2.Error as error:
        print(error.pgcode, connection.get_transaction_status())
    connection.rollback()
connection.rollback()
connection.set_session(readonly=False, autocommit=True)

for statement in ERRORS:
    with topic("error", statement):
        cursor.execute(statement)
        print(cursor.statusmessage)

with topic("a dictionary of each row"), connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as some:
    some.execute("SELECT id, name FROM ws.customers ORDER BY id")
    print([dict(row) for row in some])
with topic("a type of the catalog"):
    print(psycopg2.extras.HstoreAdapter.get_oids(connection))
