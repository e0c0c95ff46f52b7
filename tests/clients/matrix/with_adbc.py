"""ADBC's driver for PostgreSQL, or with the argument `flight` that for Flight SQL: rows as Arrow, ingest, catalogs.

The answers over Flight SQL are compared with those that the driver for PostgreSQL gets of PostgreSQL.
"""

import os
import sys
from urllib.parse import quote

import adbc_driver_flightsql.dbapi
import adbc_driver_postgresql.dbapi
import pyarrow
import pyarrow.compute

from common import ERRORS, KEPT, ROWS, topic, values

# where Flight SQL is served: of Granary alone
flight = os.environ.get("FLIGHT") if sys.argv[1:] == ["flight"] else None


def connect(autocommit=True):
    user, password, database = (os.environ[name] for name in ("PGUSER", "PGPASSWORD", "PGDATABASE"))
    if flight:
        options = {"username": user, "password": password, "adbc.flight.sql.rpc.call_header.database": database}
        return adbc_driver_flightsql.dbapi.connect(f"grpc://{flight}", db_kwargs=options, autocommit=autocommit)
    uri = f"postgresql://{user}@{os.environ['PGHOST']}:{os.environ['PGPORT']}/{database}?password={quote(password)}"
    return adbc_driver_postgresql.dbapi.connect(uri, autocommit=autocommit)


connection = connect()
cursor = connection.cursor()


def table(sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetch_arrow_table()


def show(found):
    print(*[f"{field.name} {field.type} {field.nullable}" for field in found.schema], sep=", ")
    for row in found.to_pylist():
        print(row)


cursor.execute(KEPT)
cursor.execute(ROWS)
for number, column, type, literal in values():
    with topic("value", number, type, literal):
        found = table(f"SELECT {column} FROM ws.kept WHERE k = {number}")
        print(found.schema.field(0).type, found.column(0).to_pylist())
with topic("NULL in every type"):
    cursor.execute("INSERT INTO ws.kept (k) VALUES (2000)")
    print(table("SELECT * FROM ws.kept WHERE k = 2000").to_pylist())
with topic("a table's rows"):
    show(table("SELECT id, name, code, i4, f8, b, d, tstz, by FROM ws.customers ORDER BY id"))
with topic("no rows"):
    show(table("SELECT id, name FROM ws.customers WHERE false"))
with topic("many rows"):
    found = table("SELECT g AS number, 'row ' || g AS text FROM generate_series(1, 100000) AS g")
    print(found.num_rows, pyarrow.compute.sum(found["number"]).as_py(), found.schema.types)

for value, type in ((1, "int8"), (1.5, "float8"), ("hä", "text"), (b"\0\xff", "bytea"), (True, "bool"), (None, "text")):
    with topic("a parameter", value):
        show(table(f"SELECT $1::{type} AS p", (value,)))
with topic("parameters of a condition"):
    show(table("SELECT id, amount::float8 FROM ws.orders WHERE customer = $1 AND id < $2 ORDER BY id", (1, 10)))
with topic("rows of parameters"):
    cursor.executemany("INSERT INTO ws.orders (customer, amount) VALUES ($1, $2::float8)", [(5, 1.5), (5, 2.5), (6, 3.5)])
    show(table("SELECT customer, count(*) AS n FROM ws.orders WHERE customer IN (5, 6) GROUP BY customer ORDER BY customer"))
with topic("an update's count"):
    cursor.execute("UPDATE ws.orders SET amount = 0 WHERE customer = 5")
    print(cursor.rowcount)
    cursor.execute("DELETE FROM ws.orders WHERE customer IN (5, 6)")

rows = pyarrow.table(
    {
        "id": pyarrow.array([1, 2, None], pyarrow.int64()),
        "small": pyarrow.array([1, -2, None], pyarrow.int16()),
        "double": [1.5, None, -1e300],
        "text": ["a", "hä'", None],
        "flag": [True, None, False],
        "bytes": pyarrow.array([b"\0\xff", b"", None], pyarrow.binary()),
        "day": pyarrow.array([0, 19000, None], pyarrow.date32()),
        "moment": pyarrow.array([0, 10**15, None], pyarrow.timestamp("us")),
        "zoned": pyarrow.array([0, 10**15, None], pyarrow.timestamp("us", "UTC")),
    }
)
for mode in ("create", "append", "replace", "create_append"):
    with topic("ingest", mode):
        print(cursor.adbc_ingest("ingested", rows, mode=mode))
        print(table("SELECT count(*) AS n FROM ingested").to_pylist())
with topic("ingest into what there is"):
    cursor.adbc_ingest("ingested", rows, mode="create")
with topic("what was ingested"):
    show(table("SELECT * FROM ingested WHERE id = 2"))
with topic("types of what was ingested"):
    show(table("SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute "
               "WHERE attrelid = 'ingested'::regclass AND attnum > 0 ORDER BY attnum"))  # fmt: skip

with topic("transactions"):
    with connect(autocommit=False) as other, other.cursor() as some:
        some.execute("INSERT INTO ws.orders (customer) VALUES (7)")
        other.rollback()
        some.execute("INSERT INTO ws.orders (customer) VALUES (8)")
        other.commit()
        some.execute("SELECT customer FROM ws.orders WHERE customer IN (7, 8)")
        print(some.fetchall())

with topic("the schema of a table"):
    schema = connection.adbc_get_table_schema("customers", db_schema_filter="ws")
    print(*[f"{field.name} {field.type}" for field in schema], sep=", ")
with topic("the schema of a query"):
    print(cursor.adbc_execute_schema("SELECT id, amount::float8 AS a, at FROM ws.orders").types)
with topic("objects"):
    for catalog in connection.adbc_get_objects(depth="all", db_schema_filter="ws").read_all().to_pylist():
        for schema in catalog["catalog_db_schemas"] or []:
            for found in sorted(schema["db_schema_tables"], key=lambda found: found["table_name"]):
                columns = [column["column_name"] for column in found["table_columns"]]
                print(schema["db_schema_name"], found["table_name"], found["table_type"], columns)
with topic("constraints"):
    for catalog in connection.adbc_get_objects(depth="all", db_schema_filter="ws").read_all().to_pylist():
        for schema in catalog["catalog_db_schemas"] or []:
            for found in sorted(schema["db_schema_tables"], key=lambda found: found["table_name"]):
                for constraint in sorted(found["table_constraints"], key=lambda one: one["constraint_type"]):
                    print(found["table_name"], constraint["constraint_type"], constraint["constraint_column_names"])
with topic("kinds of tables"):
    print(sorted(connection.adbc_get_table_types()))

for statement in ERRORS:
    if statement not in ("SAVEPOINT s", "COPY ws.orders TO STDOUT"):
        with topic("error", statement):
            try:
                table(statement)
                print("none")
            except Exception as error:
                state = getattr(error, "sqlstate", None)
                print(state or dict(error.details)[b"sqlstate"].decode())

cursor.close()
connection.close()
