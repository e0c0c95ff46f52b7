// node-pg: the client of most programs in JavaScript. Values as text, parameters, prepared statements, pools, errors.
const fs = require("fs");
const path = require("path");
const { Client, Pool } = require("pg");

const lines = (name) =>
  fs.readFileSync(path.join(__dirname, name), "utf8").split("\n").filter((line) => line && !line.startsWith("#"));
const values = lines("types.txt").map((line) => [line.split(" |")[0], line.slice(line.indexOf(" |") + 2).replace(/^ /, "")]);
const types = [...new Set(values.map(([type]) => type))];

const shown = (value) =>
  JSON.stringify(value, (_, inner) => (typeof inner === "number" && !Number.isFinite(inner) ? String(inner) : inner));

async function topic(name, work) {
  console.log("## " + name);
  try {
    await work();
  } catch (error) {
    console.log("raises", error.code);
  }
}

async function main() {
  const client = new Client();
  await client.connect();
  await client.query(`CREATE TABLE ws.kept (k integer, ${types.map((type, place) => `c${place} ${type}`).join(", ")})`);
  const quoted = (text) => "'" + text.replaceAll("'", "''") + "'";
  const row = ([type, literal], number) =>
    `(${number}, ${types.map((other) => (other === type ? quoted(literal) : "NULL")).join(", ")})`;
  await client.query(`INSERT INTO ws.kept VALUES ${values.map(row).join(", ")}`);

  for (const [number, [type, literal]] of values.entries()) {
    await topic(`value ${number} ${type} ${literal}`, async () => {
      const column = `c${types.indexOf(type)}`;
      const found = await client.query(`SELECT ${column} FROM ws.kept WHERE k = $1`, [number]);
      const { dataTypeID, dataTypeSize, dataTypeModifier, format } = found.fields[0];
      console.log(dataTypeID, dataTypeSize, dataTypeModifier, format, shown(found.rows[0][column]));
    });
  }
  await topic("columns that say where they are from", async () => {
    const found = await client.query("SELECT o.id, o.amount AS a, 1 AS one FROM ws.orders o LIMIT 1");
    console.log(found.fields.map((field) => [field.name, field.tableID > 0, field.columnID]));
  });
  await topic("parameters", async () => {
    const parameters = [1, "x", 1.5, true, null, new Date(0), Buffer.from([0, 255]), [1, 2], { a: 1 }];
    const casts = ["int", "text", "float8", "bool", "text", "timestamptz", "bytea", "int[]", "jsonb"];
    const sql = "SELECT " + casts.map((type, place) => `$${place + 1}::${type} AS p${place}`).join(", ");
    console.log(shown((await client.query(sql, parameters)).rows[0]));
  });
  await topic("a named statement", async () => {
    for (const id of [1, 2, 3]) {
      const found = await client.query({ name: "one", text: "SELECT amount FROM ws.orders WHERE id = $1", values: [id] });
      console.log(shown(found.rows), found.command, found.rowCount);
    }
  });
  await topic("rows as arrays, in the binary format", async () => {
    const found = await client.query({ text: "SELECT id, i4 FROM ws.customers ORDER BY id", rowMode: "array", binary: true });
    console.log(shown(found.rows));
  });
  await topic("several statements", async () => {
    const found = await client.query("SELECT 1 AS a; SELECT 2 AS b; CREATE TEMP TABLE t (a int); DROP TABLE t");
    console.log(found.map((one) => [one.command, one.rowCount, one.rows]));
  });
  await topic("counts", async () => {
    const insert = "INSERT INTO ws.orders (customer, amount) VALUES ($1, $2), ($1, $3) RETURNING customer, amount";
    const inserted = await client.query(insert, [5, 1, 2]);
    console.log(inserted.command, inserted.rowCount, shown(inserted.rows));
    const deleted = await client.query("DELETE FROM ws.orders WHERE customer = $1", [5]);
    console.log(deleted.command, deleted.rowCount);
  });
  await topic("a transaction", async () => {
    await client.query("BEGIN");
    await client.query("INSERT INTO ws.orders (customer) VALUES (6)");
    await client.query("SELECT nothing").catch((error) => console.log(error.code));
    await client.query("SELECT 1").catch((error) => console.log(error.code));
    await client.query("ROLLBACK");
    console.log((await client.query("SELECT count(*) FROM ws.orders WHERE customer = 6")).rows);
  });
  await topic("an error's fields", async () => {
    await client.query("SELECT nothing FROM ws.orders").catch((error) =>
      console.log(error.severity, error.code, error.position, error.message));
    await client.query("INSERT INTO ws.customers (id, name) VALUES (1, 'x')").catch((error) =>
      console.log(error.code, error.schema, error.table, error.constraint, error.detail));
  });
  for (const statement of lines("errors.txt")) {
    await topic(`error ${statement}`, async () => {
      if (!/^COPY ws/.test(statement)) console.log((await client.query(statement)).command);
    });
  }
  await topic("a pool", async () => {
    const pool = new Pool({ max: 3 });
    const found = await Promise.all([...Array(9).keys()].map((number) => pool.query("SELECT $1::int AS n", [number])));
    console.log(found.map((one) => one.rows[0].n));
    await pool.end();
  });
  await topic("notifications", async () => {
    const heard = new Promise((resolve) => client.once("notification", resolve));
    await client.query("LISTEN news");
    await client.query("NOTIFY news, 'hello'");
    const { channel, payload } = await heard;
    console.log(channel, payload);
  });
  await client.end();
}

main();
