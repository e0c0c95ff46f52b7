import java.nio.file.*;
import java.sql.*;
import java.time.*;
import java.util.*;

/** pgjdbc: values by type, binary transfer, batches, metadata, errors. Takes the folder of the lists of types and errors. */
public class Matrix {
    interface Work {
        void run() throws Exception;
    }

    static Connection connection;

    static void topic(String name, Work work) {
        System.out.println("## " + name);
        try {
            work.run();
        } catch (SQLException error) {
            System.out.println("raises " + error.getSQLState());
        } catch (Exception error) {
            System.out.println("raises " + error);
        }
    }

    static List<String> lines(String folder, String name) throws Exception {
        List<String> lines = new ArrayList<>(Files.readAllLines(Path.of(folder, name)));
        lines.removeIf(line -> line.isEmpty() || line.startsWith("#"));
        return lines;
    }

    static String shown(Object value) throws SQLException {
        if (value instanceof byte[]) return Arrays.toString((byte[]) value);
        if (value instanceof Array) return ((Array) value).getBaseTypeName() + Arrays.deepToString((Object[]) ((Array) value).getArray());
        return value == null ? "null" : value.getClass().getSimpleName() + " " + value;
    }

    static void show(ResultSet rows) throws SQLException {
        int columns = rows.getMetaData().getColumnCount();
        while (rows.next()) {
            StringJoiner line = new StringJoiner(", ");
            for (int column = 1; column <= columns; column++) line.add(shown(rows.getObject(column)));
            System.out.println(line);
        }
    }

    static void show(String sql, Object... parameters) throws SQLException {
        try (PreparedStatement query = connection.prepareStatement(sql)) {
            for (int place = 0; place < parameters.length; place++) query.setObject(place + 1, parameters[place]);
            show(query.executeQuery());
        }
    }

    /** The columns of a list of metadata that are about the schema, not about the database. */
    static void list(ResultSet rows, String... columns) throws SQLException {
        while (rows.next()) {
            StringJoiner line = new StringJoiner(", ");
            for (String column : columns) line.add(String.valueOf(rows.getString(column)));
            System.out.println(line);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> environment = System.getenv();
        String url = "jdbc:postgresql://" + environment.get("PGHOST") + ":" + environment.get("PGPORT") + "/" + environment.get("PGDATABASE");
        connection = DriverManager.getConnection(url, environment.get("PGUSER"), environment.get("PGPASSWORD"));
        List<String[]> values = new ArrayList<>();
        for (String line : lines(arguments[0], "types.txt")) {
            int bar = line.indexOf(" |");
            values.add(new String[] {line.substring(0, bar), line.substring(bar + 2).replaceFirst("^ ", "")});
        }
        List<String> types = new ArrayList<>(new LinkedHashSet<>(values.stream().map(value -> value[0]).toList()));
        StringBuilder kept = new StringBuilder("CREATE TABLE ws.kept (k integer");
        for (int place = 0; place < types.size(); place++) kept.append(", c" + place + " " + types.get(place));
        Statement statement = connection.createStatement();
        statement.execute(kept + ")");
        connection.setAutoCommit(false);
        for (int number = 0; number < values.size(); number++) {
            String column = "c" + types.indexOf(values.get(number)[0]);
            statement.addBatch("INSERT INTO ws.kept (k, " + column + ") VALUES (" + number + ", '" + values.get(number)[1].replace("'", "''") + "')");
        }
        topic("a batch of literals", () -> System.out.println(Arrays.stream(statement.executeBatch()).sum()));
        connection.commit();
        connection.setAutoCommit(true);

        for (int number = 0; number < values.size(); number++) {
            int k = number;
            String[] value = values.get(number);
            String column = "c" + types.indexOf(value[0]);
            topic("value " + number + " " + value[0] + " " + value[1], () -> {
                try (PreparedStatement query = connection.prepareStatement("SELECT " + column + " FROM ws.kept WHERE k = ?")) {
                    query.setInt(1, k);
                    ResultSet rows = query.executeQuery();
                    ResultSetMetaData about = rows.getMetaData();
                    System.out.println(about.getColumnTypeName(1) + " " + about.getColumnType(1) + " " + about.getPrecision(1) + " " + about.getScale(1));
                    rows.next();
                    System.out.println(shown(rows.getObject(1)) + " / " + rows.getString(1));
                }
            });
        }
        topic("the same in the binary format", () -> {
            try (PreparedStatement query = connection.prepareStatement("SELECT id, i4, f8, n, tstz, b FROM ws.customers WHERE id = ?")) {
                query.unwrap(org.postgresql.PGStatement.class).setPrepareThreshold(-1);
                for (long id = 1; id <= 2; id++) {
                    query.setLong(1, id);
                    show(query.executeQuery());
                }
            }
        });
        topic("parameters", () -> {
            show("SELECT ?::int8, ?::text, ?::float8, ?::bool, ?::numeric", 1L, "hä", 1.5, true, new java.math.BigDecimal("1.50"));
            show("SELECT ?::date, ?::timestamp, ?::timestamptz, ?::time", LocalDate.of(2024, 2, 29), LocalDateTime.of(2024, 2, 29, 1, 2, 3),
                OffsetDateTime.of(2024, 2, 29, 1, 2, 3, 0, ZoneOffset.ofHours(2)), LocalTime.of(1, 2, 3));
            show("SELECT ?::uuid, ?::bytea, ?::int[]", new UUID(0, 7), new byte[] {0, -1}, connection.createArrayOf("int4", new Integer[] {1, null}));
        });
        topic("columns of a query", () -> {
            ResultSetMetaData about = statement.executeQuery("SELECT o.id, o.amount AS a, name, 1 AS one, count(*) OVER () FROM ws.orders o, ws.customers c").getMetaData();
            for (int column = 1; column <= about.getColumnCount(); column++)
                System.out.println(about.getColumnLabel(column) + " " + about.getTableName(column) + " " + about.getColumnTypeName(column) + " "
                    + about.isNullable(column) + " " + about.isAutoIncrement(column) + " " + about.getColumnDisplaySize(column));
        });
        topic("a prepared statement's parameters", () -> {
            ParameterMetaData about = connection.prepareStatement("INSERT INTO ws.orders (customer, amount, at) VALUES (?, ?, ?)").getParameterMetaData();
            for (int place = 1; place <= about.getParameterCount(); place++) System.out.println(about.getParameterTypeName(place));
        });
        topic("a batch, and the keys that it makes", () -> {
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO ws.orders (customer, amount) VALUES (?, ?)", new String[] {"id"})) {
                for (int amount = 1; amount <= 3; amount++) {
                    insert.setLong(1, 5);
                    insert.setBigDecimal(2, new java.math.BigDecimal(amount));
                    insert.addBatch();
                }
                System.out.println(Arrays.toString(insert.executeBatch()));
                ResultSet keys = insert.getGeneratedKeys();
                keys.next();
                System.out.println(keys.getInt(1) > 100);
            }
            System.out.println(statement.executeUpdate("UPDATE ws.orders SET amount = 7 WHERE customer = 5") + " " + statement.executeUpdate("DELETE FROM ws.orders WHERE customer = 5"));
        });
        topic("a cursor", () -> {
            connection.setAutoCommit(false);
            try (Statement query = connection.createStatement()) {
                query.setFetchSize(7);
                ResultSet rows = query.executeQuery("SELECT id FROM ws.orders WHERE id <= 50 ORDER BY id");
                int sum = 0;
                while (rows.next()) sum += rows.getInt(1);
                System.out.println(sum);
            }
            connection.rollback();
        });
        connection.rollback();
        connection.setAutoCommit(true);
        topic("savepoints", () -> {
            connection.setAutoCommit(false);
            statement.executeUpdate("INSERT INTO ws.orders (customer) VALUES (6)");
            Savepoint savepoint = connection.setSavepoint();
            statement.executeUpdate("INSERT INTO ws.orders (customer) VALUES (6)");
            connection.rollback(savepoint);
            show("SELECT count(*) FROM ws.orders WHERE customer = 6");
            connection.rollback();
        });
        connection.rollback();
        connection.setAutoCommit(true);
        topic("isolation", () -> {
            System.out.println(connection.getTransactionIsolation() + " " + connection.isReadOnly() + " " + connection.getSchema() + " " + connection.getCatalog());
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            connection.setReadOnly(true);
            System.out.println(connection.getTransactionIsolation());
            connection.setReadOnly(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        });
        topic("COPY", () -> {
            org.postgresql.copy.CopyManager copy = connection.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
            java.io.StringWriter out = new java.io.StringWriter();
            System.out.println(copy.copyOut("COPY (SELECT id, name FROM ws.customers ORDER BY id) TO STDOUT (FORMAT csv)", out) + " " + out);
            System.out.println(copy.copyIn("COPY ws.orders (customer, amount) FROM STDIN", new java.io.StringReader("7\t1\n7\t2\n")));
            statement.executeUpdate("DELETE FROM ws.orders WHERE customer = 7");
        });

        DatabaseMetaData about = connection.getMetaData();
        topic("the database", () -> System.out.println(about.getDatabaseProductName() + " " + about.getDatabaseMajorVersion() + " " + about.getMaxColumnsInTable() + " " + about.supportsSavepoints()));
        topic("schemas", () -> list(about.getSchemas(), "TABLE_SCHEM"));
        topic("kinds of tables", () -> list(about.getTableTypes(), "TABLE_TYPE"));
        topic("tables", () -> list(about.getTables(null, "ws", "%", null), "TABLE_NAME", "TABLE_TYPE", "REMARKS"));
        for (String table : List.of("customers", "orders", "lines", "totals", "newest")) {
            topic("columns of " + table, () -> list(about.getColumns(null, "ws", table, "%"), "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE",
                "DECIMAL_DIGITS", "NULLABLE", "REMARKS", "COLUMN_DEF", "ORDINAL_POSITION", "IS_AUTOINCREMENT", "IS_GENERATEDCOLUMN"));
            topic("primary key of " + table, () -> list(about.getPrimaryKeys(null, "ws", table), "COLUMN_NAME", "KEY_SEQ", "PK_NAME"));
            topic("indexes of " + table, () -> list(about.getIndexInfo(null, "ws", table, false, false), "NON_UNIQUE", "INDEX_NAME", "TYPE", "ORDINAL_POSITION", "COLUMN_NAME", "ASC_OR_DESC"));
        }
        topic("foreign keys", () -> list(about.getImportedKeys(null, "ws", "orders"), "FK_NAME"));
        topic("rights", () -> list(about.getTablePrivileges(null, "ws", "orders"), "GRANTEE", "PRIVILEGE", "IS_GRANTABLE"));
        topic("best row identifier", () -> list(about.getBestRowIdentifier(null, "ws", "orders", 2, true), "COLUMN_NAME", "TYPE_NAME"));
        topic("types", () -> list(about.getUDTs(null, "ws", "%", null), "TYPE_NAME"));
        topic("types that there are", () -> {
            ResultSet rows = about.getTypeInfo();
            Set<String> names = new TreeSet<>();
            while (rows.next()) names.add(rows.getString("TYPE_NAME") + " " + rows.getInt("DATA_TYPE"));
            names.removeIf(name -> !name.matches("(bool|int.|float.|numeric|text|varchar|bpchar|bytea|date|time|timestamp|timestamptz|uuid|json|jsonb|_int4) .*"));
            System.out.println(names);
        });
        topic("functions", () -> list(about.getFunctions(null, "pg_catalog", "lower"), "FUNCTION_NAME", "SPECIFIC_NAME"));

        for (String sql : lines(arguments[0], "errors.txt"))
            topic("error " + sql, () -> {
                if (!sql.startsWith("COPY ws")) System.out.println(statement.execute(sql));
            });
        topic("an error's fields", () -> {
            try {
                statement.execute("INSERT INTO ws.customers (id, name) VALUES (1, 'x')");
            } catch (org.postgresql.util.PSQLException error) {
                org.postgresql.util.ServerErrorMessage message = error.getServerErrorMessage();
                System.out.println(message.getSQLState() + " " + message.getSchema() + " " + message.getTable() + " " + message.getConstraint() + " " + message.getMessage());
            }
        });
        topic("a statement that takes too long", () -> {
            try (Statement query = connection.createStatement()) {
                query.setQueryTimeout(1);
                query.execute("SELECT pg_sleep(100)");
            }
        });
        topic("notifications", () -> {
            statement.execute("LISTEN news");
            statement.execute("NOTIFY news, 'hello'");
            for (org.postgresql.PGNotification notice : connection.unwrap(org.postgresql.PGConnection.class).getNotifications(10000))
                System.out.println(notice.getName() + " " + notice.getParameter());
        });
        connection.close();
    }
}
