"""Feature vectors over HTTP beside Feast's Python feature server: 50 features of five views by one key.

    python3 -m venv venv && venv/bin/pip install -r feast/requirements.txt
    python3 beside_feast.py PATH/granary venv [--keys 20000] [--clients 8] [--seconds 10] [--rounds 3]

Needs wrk, and redis-server for Feast with its Redis online store, which is left out where there is none. Both servers are
asked by the same wrk with the same number of clients, each for random keys over connections that are kept alive; their
answers are compared first. Everything binds to 127.0.0.1 and lives in a temporary folder.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.request

from run import ENVIRONMENT, VIEWS, Granary, cpu_seconds, free_port, wait_for

HERE = pathlib.Path(__file__).parent / "feast"
TOLD = {"includeNames": True, "includeServingStatus": True, "includeEffectiveTimes": True}


def processes_of(pid):
    """A process and all that it has started."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(inner for child in children for inner in processes_of(int(child)))]


class GranaryHttp(Granary):
    def __init__(self, program, folder, keys):
        self.http = free_port()
        super().__init__(program, folder, keys, ["--http", f"127.0.0.1:{self.http}"])
        sql = "CREATE ROLE app; GRANT SELECT ON service TO app; CREATE API KEY FOR app;"
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", self.user]
        told = subprocess.run(command, input=sql, text=True, check=True, env=ENVIRONMENT, capture_output=True).stdout
        key = next(value for value in told.replace("|", "\n").split("\n") if value.startswith("granary_"))
        self.authorization = f"Tecton-key {key}"
        self.url = f"http://127.0.0.1:{self.http}/api/v1/feature-service/get-features"

    def body(self, key, options):
        params = {"workspaceName": "granary", "featureServiceName": "service", "joinKeyMap": {"user_id": key}}
        return json.dumps({"params": params | ({"metadataOptions": options} if options else {})})

    def values(self, answer):
        names = [feature["name"].replace(".", "__") for feature in answer["metadata"]["features"]]
        assert all(feature["status"] == "PRESENT" for feature in answer["metadata"]["features"])
        read = lambda name, value: int(value) if name.rsplit("__", 1)[1].startswith("n") else value
        return {name: read(name, value) for name, value in zip(names, answer["result"]["features"])}


class Feast:
    authorization = ""

    def __init__(self, venv, folder, keys, store, workers):
        self.name = f"feast, {store}, {workers} workers"
        self.redis = None
        repository = pathlib.Path(folder, f"feast-{store}")
        if not repository.exists():
            repository.mkdir()
            for name in ("definitions.py", "load.py"):
                shutil.copy(HERE / name, repository)
            for view in range(VIEWS):
                # a source has to be there; nothing is read from it
                pathlib.Path(repository, f"view{view}.parquet").touch()
        online = "{type: sqlite, path: online.db}"
        if store == "redis":
            port = free_port()
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
            self.redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            wait_for(port)
            online = f"{{type: redis, connection_string: '127.0.0.1:{port}'}}"
        settings = f"project: serving\nprovider: local\nregistry: registry.db\nonline_store: {online}\n"
        settings += "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
        pathlib.Path(repository, "feature_store.yaml").write_text(settings)
        environment = os.environ | {"FEAST_USAGE": "False", "PATH": f"{venv}/bin:{os.environ['PATH']}"}
        run = lambda *command: subprocess.run(
            command, cwd=repository, env=environment, check=True, capture_output=True, text=True
        ).stdout
        run(f"{venv}/bin/feast", "apply", "--skip-source-validation")
        print(f"{self.name}: {run(f'{venv}/bin/python', 'load.py', str(keys)).strip().splitlines()[-1]}", flush=True)
        self.http = free_port()
        # what slows it down is off: the log of requests, new workers after every 1,000
        command = [f"{venv}/bin/feast", "serve", "-p", str(self.http), "-w", str(workers), "--no-access-log"]
        command += ["--max-requests", "0", "--max-requests-jitter", "0", "-r", "3600"]
        with open(repository / "log", "w") as log:
            self.process = subprocess.Popen(command, cwd=repository, env=environment, stdout=log, stderr=log)
        wait_for(self.http)
        self.url = f"http://127.0.0.1:{self.http}/get-online-features"

    def body(self, key, _):
        return json.dumps({"feature_service": "service", "entities": {"user_id": [key]}, "full_feature_names": True})

    def values(self, answer):
        names = answer["metadata"]["feature_names"]
        assert all(result["statuses"] == ["PRESENT"] for result in answer["results"])
        return {name: result["values"][0] for name, result in zip(names, answer["results"]) if name != "user_id"}

    def cpu(self):
        """Of the server and its workers; Redis beside it."""
        pids = processes_of(self.process.pid) + ([self.redis.pid] if self.redis else [])
        return sum(cpu_seconds(pid, with_children=False) for pid in pids)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        if self.redis:
            self.redis.terminate()
            self.redis.wait()


def answer_of(server, key):
    headers = {"Content-Type": "application/json", "Authorization": server.authorization}
    request = urllib.request.Request(server.url, server.body(key, TOLD).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return server.values(json.load(answer))


def compare(server, peer, keys):
    for key in random.Random(7).sample(range(1, keys + 1), 50):
        ours, theirs = answer_of(server, key), answer_of(peer, key)
        assert len(ours) == 50 and ours == theirs, f"{key}: {ours} is not {theirs}"


def wrk(server, options, clients, seconds, keys, seed):
    """Calls a second, server CPU a call in microseconds, and latencies in milliseconds."""
    environment = os.environ | {
        "ASK_BODY": server.body("KEY", options).replace('"KEY"', "KEY"),
        "ASK_KEYS": str(keys),
        "ASK_SEED": str(seed),
        "ASK_AUTHORIZATION": server.authorization,
    }
    command = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "-s", str(HERE / "ask.lua"), server.url]
    before = server.cpu()
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    used = server.cpu() - before
    line = next(line for line in output.splitlines() if line.startswith("figures "))
    calls, took_us, bad, p50, p99, p999, most = map(int, line.split()[1:])
    assert bad == 0 and calls > 0, output
    return calls / (took_us / 1e6), used / calls * 1e6, p50 / 1e3, p99 / 1e3, p999 / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("granary")
    parser.add_argument("venv", type=os.path.abspath)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1,2,4")
    arguments = parser.parse_args()
    # so that what was started is stopped then, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="granary-http-")
    running = []
    best = 0
    try:
        granary = GranaryHttp(arguments.granary, folder, arguments.keys)
        running.append(granary)

        def measure(server, options, what):
            runs = [
                wrk(server, options, arguments.clients, arguments.seconds, arguments.keys, round)
                for round in range(arguments.rounds + 1)
            ]
            # the first is to warm up
            figures = [statistics.median(values) for values in zip(*runs[1:])]
            rate, cpu, p50, p99, p999 = figures
            print(
                f"{what:34} {rate:9.0f} calls/s  {cpu:8.1f} us CPU a call  p50 {p50:8.3f}  p99 {p99:8.3f}"
                f"  p99.9 {p999:8.3f} ms",
                flush=True,
            )
            return rate

        for store in ["sqlite"] + (["redis"] if shutil.which("redis-server") else []):
            for workers in map(int, arguments.workers.split(",")):
                feast = Feast(arguments.venv, folder, arguments.keys, store, workers)
                running.append(feast)
                compare(granary, feast, arguments.keys)
                best = max(best, measure(feast, None, feast.name))
                running.remove(feast)
                feast.stop()
        for options, what in [(TOLD, "granary, names, statuses and times"), (None, "granary, values alone")]:
            rate = measure(granary, options, what)
            print(f"{'':34} {rate / best:9.1f} times Feast's best")
    finally:
        for server in running:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
