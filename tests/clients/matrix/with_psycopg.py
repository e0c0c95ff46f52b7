"""psycopg 3: types by text and binary, prepared statements, pipelines, COPY, cursors, errors, catalogs."""

import psycopg
from psycopg.types.composite import CompositeInfo
from psycopg.types.json import Json, JsonbDumper

from common import ERRORS, KEPT, ROWS, topic, values

connection = psycopg.connect("", autocommit=True)
connection.adapters.register_dumper(dict, JsonbDumper)
connection.execute(KEPT)
connection.execute(ROWS)


def rows(sql, parameters=None, **options):
    return connection.execute(sql, parameters, **options).fetchall()


with topic("settings that the server reports"):
    for name in """server_encoding client_encoding application_name is_superuser session_authorization DateStyle IntervalStyle
        TimeZone integer_datetimes standard_conforming_strings default_transaction_read_only in_hot_standby""".split():
        print(name, connection.info.parameter_status(name))
with topic("version"):
    print(connection.info.server_version // 10000, rows("SELECT split_part(version(), '.', 1)"))

kept, refused = {}, {}
for number, column, type, literal in values():
    with topic("value", number, type, literal):
        select = f"SELECT {column} FROM ws.kept WHERE k = %s"
        cursor = connection.execute(select, (number,))
        print(cursor.description[0].type_code, cursor.description[0].type_display, cursor.description[0].internal_size)
        (kept[number],) = cursor.fetchone()
        print(repr(kept[number]), repr(rows(select, (number,), binary=True)))
    with topic("as text", number, type, literal):
        print(rows(f"SELECT {column}::text FROM ws.kept WHERE k = %s", (number,)))
with topic("values as parameters"), connection.transaction():
    for number, column, type, literal in values():
        sent = Json(kept[number]) if type.startswith("json") and "[" not in type else kept[number]
        try:
            with connection.transaction():
                connection.execute(f"INSERT INTO ws.kept (k, {column}) VALUES (%s, %s)", (1000 + number, sent))
        except psycopg.Error as error:
            refused[number] = error.sqlstate
for number, column, type, literal in values():
    with topic("sent back", number, type, literal):
        found = rows(f"SELECT {column} FROM ws.kept WHERE k = %s", (1000 + number,))
        print(repr(found) == repr([(kept[number],)]), refused.get(number))

with topic("NULL in every type"):
    connection.execute("INSERT INTO ws.kept (k) VALUES (2000)")
    print(rows("SELECT * FROM ws.kept WHERE k = 2000", binary=True))

for value in (1, 40000, 2**40, 2**70, 1.5, True, "hä", b"\0\xff", None, [1, 2], ["a", None], [1.5]):
    with topic("a parameter of its own type", repr(value)):
        cursor = connection.execute("SELECT %s", (value,))
        print(cursor.description[0].type_code, repr(cursor.fetchone()))

with topic("prepared statements"):
    for turn in range(3):
        print(rows("SELECT id, amount, at FROM ws.orders WHERE id = %s", (turn + 1,), prepare=True))
    print(rows("SELECT name FROM ws.customers WHERE id = ANY(%s) ORDER BY id", ([1, 2],), prepare=True))
with topic("pg_prepared_statements"):
    print(rows("SELECT parameter_types, from_sql FROM pg_prepared_statements WHERE statement LIKE 'SELECT id, am%'"))

with topic("executemany, RETURNING and row counts"):
    cursor = connection.cursor()
    insert = "INSERT INTO ws.orders (customer, amount) VALUES (%s, %s) RETURNING id, at"
    cursor.executemany(insert, [(5, 1), (5, 2)], returning=True)
    print(cursor.rowcount, cursor.fetchall(), cursor.nextset(), cursor.fetchall())
    print(connection.execute("UPDATE ws.orders SET amount = amount + 1 WHERE customer = 5").rowcount)
    print(sorted(rows("DELETE FROM ws.orders WHERE customer = 5 RETURNING amount")))

with topic("a pipeline"):
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::integer", (number,)) for number in range(3)]
    print([cursor.fetchone() for cursor in cursors])
with topic("a pipeline with an error"):
    with connection.pipeline():
        connection.execute("SELECT 1")
        connection.execute("SELECT 1 / 0")
        connection.execute("SELECT 2")

with topic("transactions"):
    with connection.transaction():
        connection.execute("INSERT INTO ws.orders (customer) VALUES (6)")
        with connection.transaction(force_rollback=True):
            connection.execute("INSERT INTO ws.orders (customer) VALUES (6)")
        print(rows("SELECT count(*) FROM ws.orders WHERE customer = 6"), connection.info.transaction_status.name)
        connection.execute("SELECT nothing FROM ws.orders")
with topic("after a transaction"):
    print(rows("SELECT count(*) FROM ws.orders WHERE customer = 6"), connection.info.transaction_status.name)

with topic("a server's cursor"), connection.transaction():
    with connection.cursor(name="some", scrollable=True) as cursor:
        cursor.execute("SELECT id FROM ws.orders ORDER BY id")
        print(cursor.fetchmany(3), cursor.fetchone())
        cursor.scroll(-2)
        print(cursor.fetchone())

with topic("COPY"), connection.cursor() as cursor:
    with cursor.copy("COPY (SELECT id, name, code, tstz FROM ws.customers ORDER BY id) TO STDOUT") as copy:
        print([bytes(block) for block in copy])
    select = "COPY (SELECT id, name, code, tstz FROM ws.customers ORDER BY id) TO STDOUT (FORMAT binary)"
    with cursor.copy(select) as copy:
        copy.set_types(["int8", "text", "varchar", "timestamptz"])
        print(list(copy.rows()))
    with cursor.copy("COPY ws.orders (customer, amount) FROM STDIN") as copy:
        copy.write_row((7, 1))
        copy.write_row((7, "2.5"))
    print(cursor.rowcount, cursor.statusmessage)
    print(rows("SELECT customer, amount FROM ws.orders WHERE customer = 7 ORDER BY amount"))

for statement in ERRORS:
    with topic("error", statement):
        print(connection.execute(statement, prepare=False).statusmessage)

for statement in ("INSERT INTO ws.orders (customer) VALUES (NULL)", "INSERT INTO ws.customers (id, name) VALUES (1, 'x')"):
    with topic("an error's fields", statement):
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            diagnosis = error.diag
            print(diagnosis.severity, diagnosis.severity_nonlocalized, diagnosis.sqlstate, diagnosis.message_primary)
            print(diagnosis.schema_name, diagnosis.table_name, diagnosis.column_name, diagnosis.constraint_name)
            print(diagnosis.message_detail.replace("102", "101") if diagnosis.message_detail else None)

for name in ("hstore", "int4", "text"):
    with topic("a type of the catalog", name):
        print(psycopg.types.TypeInfo.fetch(connection, name))
with topic("a row type"):
    found = CompositeInfo.fetch(connection, "ws.orders")
    print(found.field_names, found.field_types)

with topic("notifications"):
    connection.execute("LISTEN news")
    connection.execute("NOTIFY news, 'hello'")
    print([(notice.channel, notice.payload) for notice in connection.notifies(timeout=10, stop_after=1)])
    connection.execute("UNLISTEN *")
