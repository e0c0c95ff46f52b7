"""Bulk pulls beside PostgreSQL: the same million rows of ten columns out of both, by what is fastest over each.

    python3 benches/bulk/run.py target/release/granary [--rows 1000000] [--rounds 3]

It needs PostgreSQL's programs, and of Python psycopg, adbc-driver-postgresql, adbc-driver-flightsql and pyarrow.
"""

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import adbc_driver_flightsql.dbapi
import adbc_driver_postgresql.dbapi
import psycopg

POSTGRES = "/usr/lib/postgresql/15/bin"
COLUMNS = (
    "id bigint, user_id text, amount double precision, price numeric(12, 2), ts timestamptz, "
    "day date, count integer, flag boolean, ratio real, note text"
)
ROWS = (
    "i, 'user ' || (i % 100000), i * 0.37, (i % 1000000) * 0.01, "
    "timestamptz '2024-01-01 00:00:00+00' + i * interval '1 second', date '2024-01-01' + (i % 365)::int, "
    "(i % 1000)::int, i % 2 = 0, (i % 97)::real, CASE WHEN i % 3 > 0 THEN 'note of ' || i END"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """PostgreSQL in a folder of its own, as a user that is not root."""

    def __init__(self, folder):
        self.port = free_port()
        self.data = os.path.join(folder, "postgres")
        os.chmod(folder, 0o777)
        as_user = ["su", "nobody", "-s", "/bin/sh", "-c"] if os.geteuid() == 0 else ["sh", "-c"]
        self.run = lambda command: subprocess.run([*as_user, command], check=True, stdout=subprocess.DEVNULL)
        self.run(f"{POSTGRES}/initdb -D {self.data} -U postgres -A trust")
        options = f"-p {self.port} -k {folder} -c listen_addresses=127.0.0.1"
        self.run(f'{POSTGRES}/pg_ctl -w -D {self.data} -l {self.data}/log -o "{options}" start')
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def stop(self):
        self.run(f"{POSTGRES}/pg_ctl -w -D {self.data} -m fast stop")


class Granary:
    def __init__(self, program, folder):
        self.port, self.flight = free_port(), free_port()
        arguments = ["serve", "--data", os.path.join(folder, "granary"), "--listen", f"127.0.0.1:{self.port}"]
        arguments += ["--flight-listen", f"127.0.0.1:{self.flight}"]
        environment = {**os.environ, "GRANARY_PASSWORD": "bench", "GRANARY_LOG": "error"}
        self.process = subprocess.Popen([program, *arguments], env=environment, stderr=subprocess.DEVNULL)
        self.url = f"postgresql://granary:bench@127.0.0.1:{self.port}/granary"
        for _ in range(100):
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise SystemExit("the server did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def drained(url, sql):
    """Seconds to read all of a COPY, and its rows; what it gives is thrown away."""
    with contextlib.closing(psycopg.connect(url)) as connection:
        pgconn = connection.pgconn
        start = time.perf_counter()
        result = pgconn.exec_(sql.encode())
        assert result.status == psycopg.pq.ExecStatus.COPY_OUT, result.error_message
        while pgconn.get_copy_data(0)[0] > 0:
            pass
        done = pgconn.get_result()
        seconds = time.perf_counter() - start
        assert done.status == psycopg.pq.ExecStatus.COMMAND_OK, done.error_message
        return seconds, done.command_tuples


def pulled(connection, sql):
    """Seconds to an Arrow table, and its rows."""
    with connection.cursor() as cursor:
        start = time.perf_counter()
        cursor.execute(sql)
        table = cursor.fetch_arrow_table()
        return time.perf_counter() - start, table.num_rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="granary-bulk-")
    postgres, granary = Postgres(folder), None
    try:
        granary = Granary(os.path.abspath(given.program), folder)
        with psycopg.connect(postgres.url, autocommit=True) as source, psycopg.connect(granary.url) as target:
            source.execute(f"CREATE TABLE pulled ({COLUMNS})")
            source.execute(f"INSERT INTO pulled SELECT {ROWS} FROM generate_series(1, {given.rows}) AS i")
            source.execute("VACUUM ANALYZE pulled")
            target.execute(f"CREATE TABLE pulled ({COLUMNS})")
            copy_out = source.cursor().copy("COPY pulled TO STDOUT (FORMAT binary)")
            copy_in = target.cursor().copy("COPY pulled FROM STDIN (FORMAT binary)")
            with copy_out as rows, copy_in as taken:
                for chunk in rows:
                    taken.write(chunk)
        flight_url = f"grpc://127.0.0.1:{granary.flight}"
        password = {"username": "granary", "password": "bench"}
        adbc = {
            "PostgreSQL": adbc_driver_postgresql.dbapi.connect(postgres.url, autocommit=True),
            "Granary": adbc_driver_postgresql.dbapi.connect(granary.url, autocommit=True),
            "Granary, Flight SQL": adbc_driver_flightsql.dbapi.connect(flight_url, password, autocommit=True),
        }
        times = {}
        for _ in range(given.rounds):
            for form in ["binary", "text"]:
                sql = f"COPY pulled TO STDOUT (FORMAT {form})"
                for name, url in [("PostgreSQL", postgres.url), ("Granary", granary.url)]:
                    seconds, rows = drained(url, sql)
                    assert rows == given.rows, rows
                    times.setdefault((f"COPY, {form}", name), []).append(seconds)
            for name, connection in adbc.items():
                seconds, rows = pulled(connection, "SELECT * FROM pulled")
                assert rows == given.rows, rows
                times.setdefault(("ADBC", name), []).append(seconds)
        for connection in adbc.values():
            connection.close()
        for (work, name), seconds in times.items():
            base = statistics.median(times[(work, "PostgreSQL")])
            median = statistics.median(seconds)
            rate = given.rows / median / 1000
            print(f"{work:14} {name:20} {median:7.3f} s {rate:9,.0f} k rows/s {base / median:6.2f} times PostgreSQL")
    finally:
        if granary:
            granary.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


main()
