"""asyncpg: the binary format, prepared statements, cursors, COPY, and its own look into the catalogs for types."""

import asyncio
import io

import asyncpg

from common import ERRORS, KEPT, ROWS, state, topic, values


async def main():
    connection = await asyncpg.connect()
    await connection.execute(KEPT)
    await connection.execute(ROWS)

    with topic("the connection"):
        settings = connection.get_settings()
        print(connection.get_server_version().major, settings.server_encoding, settings.TimeZone, settings.DateStyle)

    kept, refused = {}, {}
    for number, column, type, literal in values():
        with topic("value", number, type, literal):
            statement = await connection.prepare(f"SELECT {column} FROM ws.kept WHERE k = $1")
            print([(column.name, column.type.name, column.type.kind) for column in statement.get_attributes()])
            kept[number] = await statement.fetchval(number)
            print(repr(kept[number]))
    with topic("values as parameters"):
        async with connection.transaction():
            for number, column, type, literal in values():
                insert = f"INSERT INTO ws.kept (k, {column}) VALUES ($1, $2)"
                try:
                    async with connection.transaction():
                        await connection.execute(insert, 1000 + number, kept[number])
                except asyncpg.PostgresError as error:
                    refused[number] = state(error)
    for number, column, type, literal in values():
        with topic("sent back", number, type, literal):
            found = await connection.fetchval(f"SELECT {column} FROM ws.kept WHERE k = $1", 1000 + number)
            print(repr(found) == repr(kept[number]), refused.get(number))
    with topic("NULL in every type"):
        await connection.execute("INSERT INTO ws.kept (k) VALUES (2000)")
        print(list((await connection.fetchrow("SELECT * FROM ws.kept WHERE k = 2000")).items()))

    for sql in ("$1::integer", "$1::text[]", "$1::numeric", "$1", "$1 || 'x'", "$1 + 1", "$1::timestamptz + '1 hour'"):
        with topic("parameters of", sql):
            statement = await connection.prepare(f"SELECT {sql} AS a")
            print([type.name for type in statement.get_parameters()], statement.get_attributes()[0].type.name)
    with topic("parameters of an insert"):
        statement = await connection.prepare("INSERT INTO ws.orders (customer, amount, at) VALUES ($1, $2, $3)")
        print([type.name for type in statement.get_parameters()], statement.get_attributes())
    with topic("parameters of conditions"):
        sql = "SELECT id FROM ws.orders WHERE customer = $1 AND at > $2 AND amount BETWEEN $3 AND $4 ORDER BY id LIMIT $5"
        statement = await connection.prepare(sql)
        print([type.name for type in statement.get_parameters()])

    with topic("many rows at once"):
        rows = [(5, 1, None), (5, 2, None), (6, 3, None)]
        await connection.executemany("INSERT INTO ws.orders (customer, amount, at) VALUES ($1, $2, $3)", rows)
        print(await connection.execute("UPDATE ws.orders SET amount = amount * 2 WHERE customer IN (5, 6)"))
        print(sorted(await connection.fetch("DELETE FROM ws.orders WHERE customer IN (5, 6) RETURNING customer, amount")))
    with topic("transactions"):
        try:
            async with connection.transaction(isolation="serializable"):
                await connection.execute("INSERT INTO ws.orders (customer) VALUES (5)")
                try:
                    async with connection.transaction():
                        await connection.execute("SELECT 1 / 0")
                except asyncpg.DivisionByZeroError as error:
                    print(state(error))
                print(await connection.fetchval("SELECT count(*) FROM ws.orders WHERE customer = 5"))
                raise LookupError
        except LookupError:
            print(await connection.fetchval("SELECT count(*) FROM ws.orders WHERE customer = 5"))
    with topic("a cursor"):
        async with connection.transaction(readonly=True):
            cursor = await connection.cursor("SELECT id FROM ws.orders WHERE id > $1 ORDER BY id", 10)
            print(await cursor.fetch(3), await cursor.forward(5), await cursor.fetchrow())
    with topic("COPY"):
        out = io.BytesIO()
        await connection.copy_from_query("SELECT id, name FROM ws.customers WHERE id > $1", 1, output=out, format="csv")
        print(out.getvalue())
        records = [(7, 1, None), (7, 2, None)]
        columns = ["customer", "amount", "at"]
        print(await connection.copy_records_to_table("orders", schema_name="ws", records=records, columns=columns))
        print(await connection.fetch("SELECT amount FROM ws.orders WHERE customer = 7 ORDER BY amount"))

    for statement in ERRORS:
        with topic("error", statement):
            print(await connection.execute(statement))
    with topic("an error's fields"):
        try:
            await connection.execute("INSERT INTO ws.customers (id, name) VALUES (1, 'x')")
        except asyncpg.UniqueViolationError as error:
            print(error.message, error.detail, error.table_name, error.constraint_name, error.severity)

    with topic("a type of one's own"):
        await connection.set_type_codec("json", encoder=str, decoder=len, schema="pg_catalog")
        print(await connection.fetchval("SELECT '[1, 2]'::json"))
        await connection.reset_type_codec("json", schema="pg_catalog")
    with topic("a row as a value"):
        print(await connection.fetchval("SELECT o FROM ws.orders AS o WHERE id = 1"))
    with topic("a statement that is cancelled"):
        await connection.fetchval("SELECT pg_sleep(100)", timeout=0.2)
    with topic("after a cancel"):
        print(await connection.fetchval("SELECT 1"))
    with topic("reset"):
        await connection.execute("SET application_name = 'x'")
        await connection.reset()
        print(repr(await connection.fetchval("SHOW application_name")))
    with topic("a pool"):
        async with asyncpg.create_pool(min_size=2, max_size=2) as pool:
            print(sorted(await asyncio.gather(*[pool.fetchval("SELECT $1::integer", number) for number in range(10)])))
    with topic("notifications"):
        heard = asyncio.get_running_loop().create_future()
        await connection.add_listener("news", lambda *notice: heard.set_result(notice[2:]))
        await connection.execute("NOTIFY news, 'hello'")
        print(await asyncio.wait_for(heard, 10))
    await connection.close()


asyncio.run(main())
