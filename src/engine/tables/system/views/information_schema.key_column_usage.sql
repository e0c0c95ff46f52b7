SELECT current_database() AS constraint_catalog, k.constraint_schema, k.constraint_name, current_database() AS table_catalog,
  k.table_schema, k.table_name, a.attname AS column_name, (k.key).n AS ordinal_position,
  CASE WHEN k.contype = 'f' THEN information_schema._pg_index_position(k.conindid, k.confkey[(k.key).n]) END AS position_in_unique_constraint
FROM (SELECT c.oid, c.relname AS table_name, c.relowner, n.nspname AS table_schema, nc.nspname AS constraint_schema,
        co.conname AS constraint_name, co.contype, co.conindid, co.confkey,
        information_schema._pg_expandarray(co.conkey) AS key
      FROM pg_namespace n
      JOIN pg_class c ON c.relnamespace = n.oid
      JOIN pg_constraint co ON co.conrelid = c.oid
      JOIN pg_namespace nc ON nc.oid = co.connamespace
      WHERE co.contype IN ('p', 'u', 'f') AND c.relkind IN ('r', 'p')) k
JOIN pg_attribute a ON a.attrelid = k.oid AND a.attnum = (k.key).x
WHERE NOT a.attisdropped
  AND (pg_has_role(k.relowner, 'USAGE') OR has_column_privilege(k.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES'))
