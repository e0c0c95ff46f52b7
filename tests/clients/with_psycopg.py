"""psycopg 3 as applications use it. Takes a connection string; ends with 0 if everything is as expected."""

import datetime
import decimal
import sys

import psycopg

connection = psycopg.connect(sys.argv[1], autocommit=True)


def rows(sql, parameters=None, **options):
    return connection.execute(sql, parameters, **options).fetchall()


assert rows("SELECT 1, 1") == [(1, 1)]
cursor = connection.execute("SELECT count(*), now(), 1 AS x FROM rides")
assert [column.name for column in cursor.description] == ["count", "now", "x"], cursor.description

# parameters of all sizes, prepared after some uses
for number in (1, 2, 3):
    for _ in range(3):
        found = rows("SELECT driver, fare FROM rides WHERE id = %s", (number,), prepare=True)
        assert len(found) == 1, found
assert rows("SELECT %s::text, %s::int8, %s::float8, %s::bool", ("ä", 2**40, 1.5, True)) == [("ä", 2**40, 1.5, True)]
at = datetime.datetime(2024, 1, 1, 10, tzinfo=datetime.timezone.utc)
assert rows("SELECT id FROM rides WHERE at = %s", (at,)) == [(1,)]
assert rows("SELECT id FROM rides WHERE driver = %s ORDER BY id", ("ann",), binary=True) == [(1,), (3,)]

# a lookup, and a point-in-time join; nothing is materialized, so it is computed from the source
connection.execute("SET from_source = on")
assert rows("SELECT fares_1d FROM driver_fares WHERE driver = %s", ("nobody",)) in ([], [(None,)])
spine = rows(
    "SELECT s.driver, f.fares_1d FROM rides AS s LEFT JOIN driver_fares FOR SYSTEM_TIME AS OF s.at AS f"
    " ON f.driver = s.driver WHERE s.id = %s",
    (3,),
)
assert len(spine) == 1 and spine[0][0] == "ann", spine

# COPY in binary, of all types, into a table; what is read back is what was sent
names = "int2 int4 int8 float4 float8 numeric text bytea bool date timestamptz timestamp time int8[] text[] float8[]".split()
columns = ", ".join(f"c{place} {'numeric(12,3)' if name == 'numeric' else name}" for place, name in enumerate(names))
connection.execute(f"CREATE TABLE copied ({columns})")
sent = (
    (1, -2, 2**40, 1.5, 0.1, decimal.Decimal("-12.345"), "hä\t", b"\0\xff", True, datetime.date(1999, 2, 28), at)
    + (datetime.datetime(2024, 1, 2, 3, 4, 5, 6), datetime.time(1, 2, 3, 4), [1, None], ["a", "", None], [0.1, -1e300])
)
with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
    copy.set_types(names)
    copy.write_row(sent)
    copy.write_row((None,) * len(names))
assert rows("SELECT * FROM copied ORDER BY c0") == [sent, (None,) * len(names)]
with connection.cursor() as cursor, cursor.copy("COPY ride_stream FROM STDIN (FORMAT binary)") as copy:
    copy.set_types(["text", "timestamptz", "float8"])
    for number in range(1000):
        copy.write_row((f"d{number % 7}", at, number / 4))
assert rows("SELECT count(*), sum(fare) FROM ride_stream") == [(1000, 124875.0)]
connection.execute("DROP TABLE copied")

# errors, and going on after them
try:
    connection.execute("SELECT 1/0 FROM rides")
    raise AssertionError("no error")
except psycopg.errors.DivisionByZero:
    pass
try:
    connection.execute("SELECT * FROM no_such_table")
    raise AssertionError("no error")
except psycopg.errors.UndefinedTable as error:
    assert error.diag.statement_position == "15", error.diag.statement_position
assert rows("SELECT 1") == [(1,)]

connection.autocommit = False
connection.cursor().executemany(
    "INSERT INTO rides VALUES (%s, %s, %s, %s)", [(10, "cid", 1.0, at), (11, "cid", 2.0, at)]
)
connection.commit()
assert rows("SELECT count(*) FROM rides WHERE driver = 'cid'") == [(2,)]
try:
    connection.execute("SELECT nonsense FROM rides")
except psycopg.errors.UndefinedColumn:
    pass
try:
    connection.execute("SELECT 1")
    raise AssertionError("no error")
except psycopg.errors.InFailedSqlTransaction:
    connection.rollback()

with connection.pipeline():
    first = connection.execute("SELECT 1")
    second = connection.execute("SELECT %s::int8", (2,))
assert first.fetchone() == (1,) and second.fetchone() == (2,)
connection.commit()

connection.autocommit = True
tables = rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
assert ("rides",) in tables and ("driver_fares",) in tables, tables
assert psycopg.types.TypeInfo.fetch(connection, "hstore") is None
print("psycopg: fine")
