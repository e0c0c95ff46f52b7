"""Ingestion beside PostgreSQL, with the same clients: psql for COPY, pgbench for INSERT.

    python3 run.py PATH/granary [--seconds 10] [--rows 1000000] [--rounds 3]

Needs PostgreSQL's programs (initdb, pgbench, psql). Standard library only. Everything binds to 127.0.0.1 and lives in a
temporary folder. Afterwards every event that was acknowledged must be counted, in the stream and by the view over it.
"""

import argparse
import datetime
import glob
import importlib.util
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
specification = importlib.util.spec_from_file_location("serving", HERE.parent / "serving" / "run.py")
serving = importlib.util.module_from_spec(specification)
specification.loader.exec_module(serving)

KEYS = 100_000
COLUMNS = "user_id bigint, ts timestamptz, amount float8, n bigint"
BATCH = 100
# read after write: so many events, each looked up at once
READS = 500
WATCHED = KEYS + 1

VIEW = """CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts FEATURES (
    count(*) OVER (LAST '1 hour') AS count_1h, sum(amount) OVER (LAST '1 hour') AS sum_1h,
    avg(amount) OVER (LAST '1 day') AS avg_1d, max(amount) OVER (LAST '1 day') AS max_1d,
    min(n) OVER (LAST '7 days') AS min_7d, sum(n) OVER (LAST '7 days') AS sum_7d,
    stddev(amount) OVER (LAST '7 days') AS dev_7d, count(*) OVER (LAST '30 days') AS count_30d)
  AS SELECT user_id, ts, amount, n FROM tx"""


class Granary(serving.Granary):
    def __init__(self, program, folder):
        self.port = serving.free_port()
        command = [program, "serve", "--data", f"{folder}/granary", "--listen", f"127.0.0.1:{self.port}"]
        environment = serving.ENVIRONMENT | {"GRANARY_PASSWORD": "benchmark"}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        serving.wait_for(self.port)
        create = f"CREATE STREAM tx ({COLUMNS}) FROM PUSH TIMESTAMP ts; CREATE ENTITY customer (user_id bigint); {VIEW};"
        serving.psql(self.port, self.user, create)


class Postgres(serving.Postgres):
    def __init__(self, folder):
        views, serving.VIEWS = serving.VIEWS, 0
        super().__init__(folder, 0)
        serving.VIEWS = views
        serving.psql(self.port, self.user, f"CREATE TABLE tx ({COLUMNS}); CREATE INDEX ON tx (user_id, ts);")


def ask(server, sql):
    command = ["psql", "-X", "-A", "-t", "-q", "-h", "127.0.0.1", "-p", str(server.port), "-U", server.user]
    command += ["-d", server.user, "-v", "ON_ERROR_STOP=1"]
    answer = subprocess.run(command, input=sql, text=True, check=True, env=serving.ENVIRONMENT, capture_output=True)
    return answer.stdout.split()


def rows(count, seed):
    """Values of so many events of the last ten hours."""
    chosen = random.Random(seed)
    end = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    for _ in range(count):
        ts = end - datetime.timedelta(seconds=chosen.randrange(36_000))
        yield chosen.randint(1, KEYS), ts.strftime("%Y-%m-%d %H:%M:%S+00"), chosen.randrange(100_000) / 4, chosen.randrange(1000)


def copy(server, path, count):
    """Rows a second."""
    begin = time.monotonic()
    ask(server, f"\\copy tx FROM '{path}'")
    return (count / (time.monotonic() - begin),)


def pgbench(server, scripts, seconds, more, folder):
    """Calls, calls a second, and latencies in milliseconds."""
    for log in glob.glob(f"{folder}/log*"):
        os.remove(log)
    command = ["pgbench", "-n", "-h", "127.0.0.1", "-p", str(server.port), "-U", server.user, "-c", "8", "-j", "1"]
    command += ["-T", str(seconds), *more, "-l", "--log-prefix", f"{folder}/log"]
    for script in scripts:
        command += ["-f", str(script)]
    output = subprocess.run([*command, server.user], env=serving.ENVIRONMENT, capture_output=True, text=True)
    if "failed transactions: 0 (" not in output.stdout:
        raise SystemExit(output.stdout + output.stderr)
    latencies = serving.read_latencies(f"{folder}/log*")
    quantiles = [serving.quantile(latencies, part) for part in (0.5, 0.99)]
    return len(latencies), len(latencies) / seconds, *quantiles


def read_after_write(server):
    """How many lookups right after an INSERT did not see it."""
    statements = []
    for number in range(READS):
        statements.append(f"INSERT INTO tx VALUES ({WATCHED}, now(), 1, {number});")
        statements.append(f"SELECT count_30d FROM spend WHERE user_id = {WATCHED};")
    seen = ask(server, "\n".join(statements))
    return sum(1 for number, count in enumerate(seen, 1) if int(count) != number) + abs(len(seen) - READS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("granary")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="granary-ingest-")
    servers = []
    try:
        data = pathlib.Path(folder, "events.txt")
        with data.open("w") as file:
            for row in rows(arguments.rows, 1):
                file.write("\t".join(map(str, row)) + "\n")
        single = pathlib.Path(folder, "single.sql")
        single.write_text(
            f"\\set k random(1, {KEYS})\n\\set v random(1, 100000)\n\\set m random(1, 1000)\n"
            "INSERT INTO tx VALUES (:k, :ts, :v, :m);"
        )
        batches = []
        for number in range(10):
            path = pathlib.Path(folder, f"batch-{number}.sql")
            values = ", ".join(f"({k}, '{ts}', {v}, {m})" for k, ts, v, m in rows(BATCH, number + 2))
            path.write_text(f"INSERT INTO tx VALUES {values};")
            batches.append(path)
        servers = [Granary(arguments.granary, folder), Postgres(folder)]
        stored = {server.name: 0 for server in servers}
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00")
        prepared = ["-M", "prepared", "-D", f"ts={now}"]
        works = {
            f"COPY of {arguments.rows} rows": lambda server: (arguments.rows, *copy(server, data, arguments.rows)),
            f"batches of {BATCH}": lambda server: pgbench(server, batches, arguments.seconds, [], folder),
            "single INSERT": lambda server: pgbench(server, [single], arguments.seconds, prepared, folder),
            "2000 INSERTs/s": lambda server: pgbench(server, [single], arguments.seconds, [*prepared, "-R", "2000"], folder),
        }
        for work, run in works.items():
            rounds = {server.name: [] for server in servers}
            for _ in range(arguments.rounds):
                for server in servers:
                    calls, *measured = run(server)
                    stored[server.name] += calls * (BATCH if work.startswith("batches") else 1) if calls else 0
                    rounds[server.name].append(measured)
            medians = {name: [statistics.median(values) for values in zip(*runs)] for name, runs in rounds.items()}
            for name, (rate, *latencies) in medians.items():
                unit = "rows" if work.startswith("COPY") else "calls"
                text = f"{work:22} {name:10} {rate:9.0f} {unit}/s  {rate / medians['postgresql'][0]:5.2f} times PostgreSQL's"
                if latencies:
                    p50, p99 = latencies
                    text += f"  p50 {p50:.2f}  p99 {p99:.2f} ms, {p99 / medians['postgresql'][2]:.2f} times"
                print(text, flush=True)
        unseen = read_after_write(servers[0])
        print(f"read after write: {unseen} of {READS} events were not seen at once")
        stored["granary"] += READS
        for server in servers:
            count = int(ask(server, "SELECT count(*) FROM tx;")[0])
            assert count == stored[server.name], f"{server.name} has {count} events of {stored[server.name]}"
        served = int(float(ask(servers[0], "SELECT sum(count_30d) FROM spend;")[0]))
        assert served == stored["granary"], f"the view counts {served} events of {stored['granary']}"
        assert unseen == 0
        print("all events are counted:", ", ".join(f"{name} {count}" for name, count in stored.items()))
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
