"""Granary beside DuckDB, Polars and DataFusion: point-in-time joins over the same files, written to Parquet.

run.py GRANARY FOLDER… [--rounds N] [--memory-limit SIZE] [--no-datafusion]

Every task is run by each in turn, in a process or on a server of its own; what is printed is the median of the rounds,
the ratio to DuckDB, CPU seconds and the most memory, then where Granary's time went. The answers are compared first:
counts exactly, sums to 1e-9. Of several folders, it also prints how much longer each took than the one before.
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
PEERS = {
    "windows": ["duckdb_windows", "datafusion_windows"],
    "latest": ["duckdb_latest", "polars_latest", "datafusion_latest"],
}
SETTINGS = {"granary, from source": "on", "granary, from store": "off"}


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

    def cpu(self):
        """CPU seconds of the process until now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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
    """Seconds, CPU seconds and MiB of one run in a process of its own."""
    command = ["/usr/bin/time", "-f", "%M %U %S", sys.executable, HERE / "peers.py", task, folder, output]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, user, system = done.stderr.split()[-3:]
    return float(done.stdout), float(user) + float(system), int(peak) / 1024


def summary(task, output):
    columns = [f"count({c})" if c == "channel" else f"sum({c})" for c in COLUMNS[task]]
    return duckdb.execute(f"SELECT count(*), {', '.join(columns)} FROM '{output}'").fetchone()


def check(task, a, b):
    for mine, theirs in zip(summary(task, a), summary(task, b)):
        assert abs(mine - theirs) <= 1e-9 * abs(theirs), f"{task}: {mine} is not {theirs}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("granary")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-limit")
    parser.add_argument("--no-datafusion", action="store_true")
    arguments = parser.parse_args()
    before = {}
    for folder in arguments.folders:
        print(f"== {folder}")
        medians = measure_folder(str(Path(folder).resolve()), arguments)
        for key, median in medians.items():
            if key in before:
                print(f"{key[0]:8} {key[1]:22} {median / before[key]:5.1f} times as long as with the files before")
        before = medians


def measure_folder(folder, arguments):
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(arguments.granary, f"{scratch}/data", arguments.memory_limit)
        try:
            for statement in (HERE / "declare.sql").read_text().replace("@FOLDER", folder).split(";\n"):
                if statement.strip():
                    server.run(statement)
            for view in ("spend", "latest"):
                print(f"REFRESH {view}: {server.run(f'REFRESH FEATURE VIEW {view}'):.1f} s")
            # what a REFRESH used is not what a query uses
            server.stop()
            server = Server(arguments.granary, f"{scratch}/data", arguments.memory_limit)
            medians = {}
            for task in QUERIES:
                medians.update(measure(task, server, folder, scratch, arguments))
            return medians
        finally:
            server.stop()


def measure(task, server, folder, scratch, arguments):
    query = QUERIES[task].format(columns=", ".join(f"f.{column}" for column in COLUMNS[task]))
    peers = [name for name in PEERS[task] if not (arguments.no_datafusion and name.startswith("datafusion"))]
    runs = {}
    for number in range(arguments.rounds):
        outputs = {}
        for name in peers:
            outputs[name] = f"{scratch}/{name}.parquet"
            # a slow peer once
            if number == 0 or not name.startswith("datafusion"):
                runs.setdefault(name, []).append(peer(name, folder, outputs[name]))
        for name, setting in SETTINGS.items():
            outputs[name] = f"{scratch}/granary_{setting}.parquet"
            server.run(f"SET from_source = {setting}")
            server.forget_peak()
            cpu = server.cpu()
            taken = server.run(f"COPY ({query}) TO '{outputs[name]}' (FORMAT parquet)")
            runs.setdefault(name, []).append((taken, server.cpu() - cpu, server.peak_mib()))
        if number == 0:
            for name, output in outputs.items():
                check(task, output, outputs[peers[0]])
    medians = {name: [statistics.median(column) for column in zip(*taken)] for name, taken in runs.items()}
    for name, (seconds, cpu, _) in medians.items():
        ratio = medians[peers[0]][0] / seconds
        peak = max(peak for _, _, peak in runs[name])
        print(
            f"{task:8} {name:22} {seconds:7.2f} s  {ratio:5.2f} times DuckDB's speed"
            f"  {cpu:6.2f} s CPU  {peak:6.0f} MiB"
        )
    for name, setting in SETTINGS.items():
        phases(task, name, setting, query, server)
    return {(task, name): seconds for name, (seconds, _, _) in medians.items()}


def phases(task, name, setting, query, server):
    """Where the time goes: of all tasks together, in the statement without what writes its rows to a file."""
    server.run(f"SET from_source = {setting}")
    cpu = server.cpu()
    lines = [line for (line,) in server.connection.execute(f"EXPLAIN ANALYZE {query}", prepare=False).fetchall()]
    found = [re.search(r"(\w+ Time): ([\d.]+) ms", line) for line in lines]
    times = ", ".join(f"{match[1].lower()} {float(match[2]) / 1000:.2f} s" for match in found if match)
    print(f"{task:8} {name:22} {server.cpu() - cpu:.2f} s CPU without writing; {times}")


if __name__ == "__main__":
    main()
