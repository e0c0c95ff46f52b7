"""The tail of single lookups: alone, beside a writer of 2,000 rows a second, and beside heavy queries, in one server.

    python3 beside.py PATH/granary [--seconds 20] [--keys 200000] [--rate 2000] [--rounds 3]

Needs pgbench and psql. Lookups come at a steady rate from eight connections (pgbench -M prepared --rate), and a lookup's
time counts from when it was due, so that one which holds up others is seen in theirs. Half of them ask a feature view,
half the feature table that is written. Standard library only; everything binds to 127.0.0.1.
"""

import argparse
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from run import ENVIRONMENT, Granary, psql, quantile, read_latencies

LOOKUPS = ["view0", "written"]
# one row of every combination of three, and an aggregate of them
HEAVY = "SELECT count(*), sum(a.x * b.x + c.x) FROM heavy a, heavy b, heavy c WHERE a.x + b.x <> c.x"


def prepare(server, keys):
    rows = f"FROM generate_series(1, {keys}) AS g(i)"
    psql(
        server.port,
        server.user,
        "CREATE FEATURE TABLE written (user_id bigint, ts timestamptz, amount float8, shop text)"
        " ENTITY customer TIMESTAMP ts;"
        f"INSERT INTO written SELECT i, timestamptz '2024-01-01', i * 0.5, 'shop-' || i {rows};"
        "CREATE TABLE heavy AS SELECT i::float8 AS x FROM generate_series(1, 3000) AS g(i);",
    )


def pgbench(server, prefix, scripts, *options):
    """Starts it; its scripts and logs stand beside `prefix`."""
    command = ["pgbench", "-n", "-h", "127.0.0.1", "-p", str(server.port), "-U", server.user, "-j", "1", *options]
    for number, script in enumerate(scripts):
        path = pathlib.Path(f"{prefix}-{number}.sql")
        path.write_text(script)
        command += ["-f", str(path)]
    command.append(server.user)
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def writer(server, folder, arguments):
    """Statements of many rows, as a consumer of a stream writes what it has gathered."""
    variables = "".join(f"\\set k{row} random(1, :keys)\n" for row in range(arguments.batch))
    values = ", ".join(f"(:k{row}, now(), :k{row} * 0.25, 'shop-' || :k{row})" for row in range(arguments.batch))
    rate = arguments.rows / arguments.batch
    options = ["-c", "1", "-T", str(arguments.seconds), "-R", str(rate), "-D", f"keys={arguments.keys}"]
    script = f"{variables}INSERT INTO written VALUES {values};"
    return pgbench(server, f"{folder}/writer", [script], *options)


def heavy(server):
    command = ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(server.port), "-U", server.user, "-d", server.user]
    return subprocess.Popen([*command, "-c", HEAVY], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lookups(server, folder, arguments):
    """Latencies in milliseconds, ascending."""
    scripts = [f"\\set k random(1, :keys)\nSELECT * FROM {name} WHERE user_id = :k;" for name in LOOKUPS]
    for log in glob.glob(f"{folder}/lookups*.[0-9]*"):
        os.remove(log)
    options = ["-M", "prepared", "-c", "8", "-T", str(arguments.seconds), "-R", str(arguments.rate)]
    options += ["-D", f"keys={arguments.keys}", "-l", "--log-prefix", f"{folder}/lookups"]
    running = pgbench(server, f"{folder}/lookups", scripts, *options)
    output, errors = running.communicate()
    assert running.returncode == 0 and "failed transactions: 0 (" in output, output + errors
    return read_latencies(f"{folder}/lookups*.[0-9]*")


def measure(server, folder, arguments, what, writes, queries):
    running = [heavy(server) for _ in range(queries)]
    writing = writer(server, folder, arguments) if writes else None
    if queries or writes:
        # so that they are well under way
        time.sleep(1)
    latencies = lookups(server, folder, arguments)
    ended = [query for query in running if query.poll() is not None]
    for query in running:
        # psql cancels what it has asked
        query.send_signal(signal.SIGINT)
        query.wait()
    assert not ended, "a heavy query ended before the lookups"
    note = ""
    if writing:
        output, errors = writing.communicate()
        assert writing.returncode == 0, errors
        told = next(line for line in output.splitlines() if line.startswith("tps"))
        note = f"  {float(told.split()[2]) * arguments.batch:.0f} rows/s written"
    figures = "  ".join(f"{name} {quantile(latencies, part):7.3f}" for name, part in QUANTILES)
    print(f"{what:34} {len(latencies) / arguments.seconds:6.0f} lookups/s  {figures} ms{note}", flush=True)


QUANTILES = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("most", 1.0)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("granary")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=2_000, help="lookups a second")
    parser.add_argument("--rows", type=int, default=2_000, help="rows written a second")
    parser.add_argument("--batch", type=int, default=200, help="rows of one INSERT")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    # so that what was started is stopped then, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="granary-beside-")
    server = Granary(arguments.granary, folder, arguments.keys)
    try:
        prepare(server, arguments.keys)
        cases = [
            ("alone", False, 0),
            ("beside writes", True, 0),
            ("beside a heavy query", False, 1),
            ("beside two heavy queries", False, 2),
            ("beside both", True, 2),
        ]
        for _ in range(arguments.rounds):
            print(f"load average {os.getloadavg()[0]:.1f}")
            for what, writes, queries in cases:
                measure(server, folder, arguments, what, writes, queries)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
