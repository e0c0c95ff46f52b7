"""dbt: a project with models of every kind, built, built again and built anew; what it says of each, and its docs.

Takes the folder of the project, or of a copy of it, in which dbt writes.
"""

import contextlib
import io
import json
import os
import pathlib
import sys

from dbt.cli.main import dbtRunner

from common import topic

folder = sys.argv[1]
pathlib.Path(folder, "profiles.yml").write_text(f"""
shop:
  target: there
  outputs:
    there:
      {{type: postgres, host: {os.environ["PGHOST"]}, port: {os.environ["PGPORT"]}, user: {os.environ["PGUSER"]},
       password: {os.environ["PGPASSWORD"]}, dbname: {os.environ["PGDATABASE"]}, schema: shop, threads: 2}}
""")
os.environ |= {"DBT_PROJECT_DIR": folder, "DBT_PROFILES_DIR": folder, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}


def dbt(*arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        return dbtRunner().invoke(["--log-level", "none", "--log-level-file", "none", *arguments])


COMMANDS = ["seed", "run", "run", "run --full-refresh", "snapshot", "seed", "snapshot", "test", "build", "seed --full-refresh"]
for number, command in enumerate(COMMANDS):
    with topic(number, command):
        done = dbt(*command.split())
        for result in sorted(done.result or [], key=lambda result: result.node.unique_id):
            print(result.node.unique_id, result.status, result.failures, result.adapter_response.get("_message"))
            if result.status == "error":
                print(result.message)
        print(done.success)

with topic("docs generate"):
    print(dbt("docs", "generate").success)
catalog = json.loads(pathlib.Path(folder, "target", "catalog.json").read_text())
for name, node in sorted((catalog["nodes"] | catalog["sources"]).items()):
    with topic("documented", name):
        print(node["metadata"]["type"], node["metadata"]["owner"], node["metadata"]["comment"])
        for column in node["columns"].values():
            print(column["index"], column["name"], column["type"], column["comment"])
for name in ("orders", "totals", "recent", "appended", "merged", "uses_eph", "orders_history"):
    with topic("shown", name):
        inline = f"select * from {{{{ ref('{name}') }}}}"
        if name == "orders_history":
            inline = f"select id, amount, dbt_valid_to is null as valid from {{{{ ref('{name}') }}}}"
        table = dbt("show", "--inline", inline, "--limit", "20").result.results[0].agate_table
        print(sorted(str(list(row)) for row in table.rows))
