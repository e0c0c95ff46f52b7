"""Feature lookups beside PostgreSQL and Redis, with the same client: pgbench -M prepared.

    python3 run.py PATH/granary [--seconds 10] [--keys 1000000] [--rounds 3]

Needs PostgreSQL's programs (initdb, pgbench, psql) and redis-server with redis-benchmark; peers that are not there are
left out. Standard library only. Everything binds to 127.0.0.1 and lives in a temporary folder.
"""

import argparse
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

VIEWS = 5
FLOATS, INTEGERS, TEXTS = 6, 2, 2
# what the realtime view computes of a view and the request
CHECKS = "amount > v.x0 AS is_large, amount / v.x1 AS share, v.n0 + 1 AS nth, abs(amount - v.x2) AS distance"
TICKS = os.sysconf("SC_CLK_TCK")
ENVIRONMENT = os.environ | {"PGPASSWORD": "benchmark"}


def features(view):
    """The ten features of a view, as SQL over `i`."""
    floats = [f"(i * 0.25 + {view * 10 + n})::float8 AS x{n}" for n in range(FLOATS)]
    integers = [f"(i * {n + 3} + {view})::bigint AS n{n}" for n in range(INTEGERS)]
    texts = [f"'text-{view}-{n}-' || i AS t{n}" for n in range(TEXTS)]
    return floats + integers + texts


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def psql(port, user, sql):
    command = ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", user, "-v", "ON_ERROR_STOP=1"]
    subprocess.run(command, input=sql, text=True, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)


def wait_for(port):
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def cpu_seconds(pid, with_children):
    """What a process has used, and its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11 : 15 if with_children else 13]) / TICKS


class Granary:
    name, user = "granary", "granary"

    def __init__(self, program, folder, keys, more=()):
        self.port = free_port()
        command = [program, "serve", *more, "--data", f"{folder}/granary", "--listen", f"127.0.0.1:{self.port}"]
        environment = ENVIRONMENT | {"GRANARY_PASSWORD": "benchmark"}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        wait_for(self.port)
        statements = ["CREATE ENTITY customer (user_id bigint);"]
        for view in range(VIEWS):
            columns = ", ".join(features(view)).replace("i ", "value ").replace("|| i", "|| value")
            statements.append(
                f"CREATE TABLE raw{view} AS SELECT value AS user_id, timestamptz '2024-01-01' AS ts, {columns} "
                f"FROM generate_series(1, {keys}) AS g(value);"
                f"CREATE SOURCE source{view} AS SELECT * FROM raw{view} TIMESTAMP ts;"
                f"CREATE FEATURE VIEW view{view} ENTITY customer TIMESTAMP ts "
                f"WITH (schedule = '1 day', start = '2024-01-01', trigger = manual, online = true, offline = false) "
                f"AS SELECT * FROM source{view};"
                f"REFRESH FEATURE VIEW view{view} FROM '2024-01-01' TO '2024-01-02';"
            )
        members = ", ".join(f"view{view}" for view in range(VIEWS))
        statements.append(f"CREATE FEATURE SERVICE service AS {members};")
        statements.append(
            f"CREATE REALTIME FEATURE VIEW checked REQUEST (amount float8) AS SELECT {CHECKS} FROM view0 v;"
        )
        psql(self.port, self.user, "\n".join(statements))

    def cpu(self):
        return cpu_seconds(self.process.pid, with_children=False)

    def statement(self, work):
        return {
            "one view": "\\set k random(1, :keys)\nSELECT * FROM view0 WHERE user_id = :k;",
            "service": "\\set k random(1, :keys)\nSELECT * FROM service WHERE user_id = :k;",
            "100 keys": "SELECT * FROM view0 WHERE user_id = ANY (:many);",
            "realtime": "\\set k random(1, :keys)\n\\set amount random(1, 1000)\n"
            "SELECT * FROM checked WHERE user_id = :k AND amount = :amount::float8;",
        }[work]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Postgres:
    name, user = "postgresql", "postgres"

    def __init__(self, folder, keys):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [os.path.dirname(shutil.which("initdb") or "")]
        self.programs = programs[-1]
        self.port = free_port()
        data = pathlib.Path(folder, "postgresql")
        data.mkdir()
        # it refuses to run as root
        self.as_user = {}
        if os.getuid() == 0:
            someone = pwd.getpwnam("postgres")
            os.chmod(folder, 0o755)
            shutil.chown(data, "postgres", "postgres")
            self.as_user = {"user": someone.pw_uid, "group": someone.pw_gid, "cwd": "/"}
        initdb = [f"{self.programs}/initdb", "-D", str(data), "-U", "postgres", "-A", "trust"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **self.as_user)
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "shared_buffers=2GB"]
        command = [f"{self.programs}/postgres", "-D", str(data), "-p", str(self.port), *settings]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **self.as_user)
        wait_for(self.port)
        time.sleep(1)
        for view in range(VIEWS):
            psql(
                self.port,
                self.user,
                f"CREATE TABLE view{view} AS SELECT i::bigint AS user_id, {', '.join(features(view))} "
                f"FROM generate_series(1, {keys}) AS g(i); ALTER TABLE view{view} ADD PRIMARY KEY (user_id); "
                f"VACUUM ANALYZE view{view};",
            )

    def cpu(self):
        return cpu_seconds(self.process.pid, with_children=True)

    def statement(self, work):
        joins = " ".join(f"LEFT JOIN view{view} USING (user_id)" for view in range(1, VIEWS))
        return {
            "one view": "\\set k random(1, :keys)\nSELECT * FROM view0 WHERE user_id = :k;",
            "service": f"\\set k random(1, :keys)\nSELECT * FROM view0 {joins} WHERE view0.user_id = :k;",
            "100 keys": "SELECT * FROM view0 WHERE user_id = ANY (:many);",
            "realtime": "\\set k random(1, :keys)\n\\set amount random(1, 1000)\n"
            f"SELECT user_id, amount, {CHECKS} FROM view0 v, (SELECT :amount::float8 AS amount) r WHERE user_id = :k;",
        }[work]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def read_latencies(pattern):
    """Milliseconds, ascending, out of pgbench's logs."""
    latencies = []
    for log in glob.glob(pattern):
        with open(log) as lines:
            latencies += [int(line.split()[2]) / 1000 for line in lines]
    return sorted(latencies)


def quantile(ascending, part):
    return ascending[min(len(ascending) - 1, int(len(ascending) * part))]


def pgbench(server, work, clients, seconds, keys, folder):
    """Calls a second, server CPU a call in microseconds, and latencies in milliseconds."""
    scripts = []
    count = 10 if work == "100 keys" else 1
    many = []
    for number in range(count):
        path = pathlib.Path(folder, f"script-{number}.sql")
        path.write_text(server.statement(work).replace(":many", f":many{number}"))
        scripts += ["-f", str(path)]
        # spread over all keys, and the same for every server
        chosen = [(number * 104729 + step * 7919 * 13) % keys + 1 for step in range(100)]
        many += ["-D", f"many{number}={{{','.join(map(str, chosen))}}}"]
    for log in glob.glob(f"{folder}/log*"):
        os.remove(log)
    command = ["pgbench", "-n", "-M", "prepared", "-h", "127.0.0.1", "-p", str(server.port), "-U", server.user]
    command += ["-c", str(clients), "-j", "1", "-T", str(seconds), "-D", f"keys={keys}", *many, *scripts]
    command += ["-l", "--log-prefix", f"{folder}/log", server.user]
    before = server.cpu()
    output = subprocess.run(command, check=True, env=ENVIRONMENT, capture_output=True, text=True).stdout
    if "failed transactions: 0 (" not in output:
        raise SystemExit(output)
    latencies = read_latencies(f"{folder}/log*")
    # backends are counted when they have ended
    time.sleep(0.5)
    used = server.cpu() - before
    quantiles = [quantile(latencies, part) for part in (0.5, 0.99, 0.9999)]
    return len(latencies) / seconds, used / len(latencies) * 1e6, *quantiles


def redis(folder, seconds, keys):
    """The same ten values in a hash, by redis-benchmark: HGETALL at 8 clients."""
    if not shutil.which("redis-server"):
        return
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    wait_for(port)
    lines = []
    for i in range(1, keys + 1):
        values = [f"x{n} {i * 0.25 + n}" for n in range(FLOATS)] + [f"n{n} {i * (n + 3)}" for n in range(INTEGERS)]
        values += [f"t{n} text-0-{n}-{i}" for n in range(TEXTS)]
        lines.append(f"HSET view0:{i:012d} {' '.join(values)}")
    load = subprocess.run(["redis-cli", "-p", str(port), "--pipe"], input="\n".join(lines), text=True, capture_output=True)
    assert load.returncode == 0, load.stderr
    before = cpu_seconds(server.pid, with_children=False)
    calls = 40_000 * seconds
    command = ["redis-benchmark", "-p", str(port), "-c", "8", "-n", str(calls), "-r", str(keys), "--csv"]
    output = subprocess.run([*command, "HGETALL", "view0:__rand_int__"], capture_output=True, text=True).stdout
    used = cpu_seconds(server.pid, with_children=False) - before
    rate = float(output.splitlines()[-1].split(",")[1].strip('"'))
    print(f"one view    8 clients  redis        {rate:9.0f} calls/s  {used / calls * 1e6:6.1f} us CPU a call (redis-benchmark)")
    server.terminate()
    server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("granary")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="granary-serving-")
    servers = []
    try:
        servers = [Granary(arguments.granary, folder, arguments.keys), Postgres(folder, arguments.keys)]
        cases = [("one view", 1), ("one view", 8), ("one view", 16), ("service", 8), ("100 keys", 1), ("realtime", 8)]
        for work, clients in cases:
            rounds = {server.name: [] for server in servers}
            for _ in range(arguments.rounds):
                for server in servers:
                    measured = pgbench(server, work, clients, arguments.seconds, arguments.keys, folder)
                    rounds[server.name].append(measured)
            medians = {name: [statistics.median(values) for values in zip(*runs)] for name, runs in rounds.items()}
            peer = medians["postgresql"]
            for name, (rate, cpu, p50, p99, p9999) in medians.items():
                print(
                    f"{work:9} {clients:3} clients  {name:10} {rate:9.0f} calls/s  {rate / peer[0]:5.2f} times PostgreSQL's"
                    f"  {cpu:6.1f} us CPU a call  p50 {p50:.3f}  p99 {p99:.3f}  p99.99 {p9999:.3f} ms",
                    flush=True,
                )
        for server in servers:
            server.stop()
        servers = []
        redis(folder, arguments.seconds, arguments.keys)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
