"""psycopg 3 as applications use it. Takes a connection string; ends with 0 if everything is as expected."""

import datetime
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
