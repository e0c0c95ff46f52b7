"""Granary beside DuckDB and Polars: point-in-time joins over the same files, written to Parquet.

run.py GRANARY FOLDER [--rounds N] [--memory-limit SIZE]

Every task is run by each in turn, in a process or on a server of its own; what is printed is the median of the rounds,
the ratio to DuckDB, and the most memory. The answers are compared first: counts exactly, sums to 1e-9.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import psycopg

HERE = Path(__file__).parent
QUERIES = {
    "windows": "SELECT l.label_id, l.user_id, l.ts, {columns} FROM labels l"
    " LEFT JOIN spend FOR SYSTEM_TIME AS OF l.ts AS f ON f.user_id = l.user_id",
    "latest": "SELECT l.label_id, l.user_id, l.ts, {columns} FROM labels l"
    " LEFT JOIN latest FOR SYSTEM_TIME AS OF l.ts AS f ON f.user_id = l.user_id",
}
COLUMNS = {
    "windows": [f"{function}_{name}" for name in ("1h", "1d", "7d", "30d") for function in ("count", "sum", "avg", "max")],
    "latest": ["amount", "items", "channel"],
}
PEERS = {"windows": ["duckdb_windows"], "latest": ["duckdb_latest", "polars_latest"]}


class Server:
    """A Granary server on a folder of its own, and one connection to it."""

    def __init__(self, binary, folder, memory_limit):
        arguments = [binary, "serve", "--data", folder, "--listen", "127.0.0.1:0"]
        if memory_limit:
            arguments += ["--memory-limit", memory_limit]
        environment = {**os.environ, "GRANARY_PASSWORD": "bench", "GRANARY_LOG": "error"}
        self.process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"ready: psql -h 127.0.0.1 -p (\d+)", line)
            if found:
                break
        self.connection = psycopg.connect(
            host="127.0.0.1", port=int(found[1]), user="granary", dbname="granary", password="bench", autocommit=True
        )

    def run(self, sql):
        begun = time.perf_counter()
        self.connection.execute(sql, prepare=False)
        return time.perf_counter() - begun

    def peak_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self):
        self.connection.close()
        self.process.terminate()
        self.process.wait()


def peer(task, folder, output):
    """Seconds and MiB of one run in a process of its own."""
    command = ["/usr/bin/time", "-f", "%M", sys.executable, HERE / "peers.py", task, folder, output]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout), int(done.stderr.split()[-1]) / 1024


def summary(task, output):
    columns = [f"count({c})" if c == "channel" else f"sum({c})" for c in COLUMNS[task]]
    return duckdb.execute(f"SELECT count(*), {', '.join(columns)} FROM '{output}'").fetchone()


def check(task, a, b):
    for mine, theirs in zip(summary(task, a), summary(task, b)):
        assert abs(mine - theirs) <= 1e-9 * abs(theirs), f"{task}: {mine} is not {theirs}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("granary")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-limit")
    arguments = parser.parse_args()
    folder = str(Path(arguments.folder).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(arguments.granary, f"{scratch}/data", arguments.memory_limit)
        try:
            for statement in (HERE / "declare.sql").read_text().replace("@FOLDER", folder).split(";\n"):
                if statement.strip():
                    server.run(statement)
            for view in ("spend", "latest"):
                print(f"REFRESH {view}: {server.run(f'REFRESH FEATURE VIEW {view}'):.1f} s")
            for task in QUERIES:
                measure(task, server, folder, scratch, arguments.rounds)
        finally:
            server.stop()


def measure(task, server, folder, scratch, rounds):
    query = QUERIES[task].format(columns=", ".join(f"f.{column}" for column in COLUMNS[task]))
    seconds, peaks = {}, {}
    for number in range(rounds):
        outputs = {}
        for name in PEERS[task]:
            outputs[name] = f"{scratch}/{name}.parquet"
            taken, peak = peer(name, folder, outputs[name])
            seconds.setdefault(name, []).append(taken)
            peaks[name] = max(peaks.get(name, 0), peak)
        for name, setting in (("granary, from source", "on"), ("granary, from store", "off")):
            outputs[name] = f"{scratch}/granary_{setting}.parquet"
            server.run(f"SET from_source = {setting}")
            server.forget_peak()
            seconds.setdefault(name, []).append(server.run(f"COPY ({query}) TO '{outputs[name]}' (FORMAT parquet)"))
            peaks[name] = max(peaks.get(name, 0), server.peak_mib())
            if number == 0:
                check(task, outputs[name], outputs[PEERS[task][0]])
    duckdb_seconds = statistics.median(seconds[PEERS[task][0]])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        ratio = duckdb_seconds / median
        print(f"{task:8} {name:22} {median:7.2f} s  {ratio:5.2f} times DuckDB's speed  {peaks[name]:6.0f} MiB")


if __name__ == "__main__":
    main()
