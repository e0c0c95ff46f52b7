import java.sql.*;

/** pgjdbc as applications use it: parameters, a fetch size, metadata. Takes URL, user, password. */
public class Jdbc {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0], arguments[1], arguments[2])) {
            try (PreparedStatement query = connection.prepareStatement("SELECT driver, fare FROM rides WHERE id = ?")) {
                for (int use = 0; use < 8; use++) {
                    query.setLong(1, 2);
                    ResultSet rows = query.executeQuery();
                    check(rows.next() && rows.getString(1).equals("bob") && rows.getDouble(2) == 7.25, "row of bob");
                    check(!rows.next(), "one row");
                }
            }
            connection.setAutoCommit(false);
            try (Statement query = connection.createStatement()) {
                query.setFetchSize(100);
                ResultSet rows = query.executeQuery("SELECT value FROM generate_series(1, 1050) AS g (value)");
                long sum = 0;
                while (rows.next()) sum += rows.getLong(1);
                check(sum == 1050L * 1051 / 2, "sum of fetched rows");
            }
            connection.commit();
            connection.setAutoCommit(true);
            DatabaseMetaData metadata = connection.getMetaData();
            boolean found = false;
            ResultSet tables = metadata.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"});
            while (tables.next()) found |= tables.getString("TABLE_NAME").equals("rides");
            check(found, "getTables finds rides");
            ResultSet columns = metadata.getColumns(null, "public", "rides", "%");
            int count = 0;
            while (columns.next()) {
                count++;
                if (columns.getString("COLUMN_NAME").equals("id")) {
                    check(columns.getInt("DATA_TYPE") == Types.BIGINT, "type of id");
                }
            }
            check(count == 4, "getColumns gives 4 columns, not " + count);
            ResultSet schemas = metadata.getSchemas();
            boolean hasPublic = false;
            while (schemas.next()) hasPublic |= schemas.getString(1).equals("public");
            check(hasPublic, "getSchemas finds public");
        }
        System.out.println("pgjdbc: fine");
    }
}
