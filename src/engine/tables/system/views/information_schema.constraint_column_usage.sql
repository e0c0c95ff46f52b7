SELECT current_database() AS table_catalog, n.nspname AS table_schema, c.relname AS table_name, a.attname AS column_name,
  current_database() AS constraint_catalog, nc.nspname AS constraint_schema, co.conname AS constraint_name
FROM pg_constraint co
JOIN pg_namespace nc ON nc.oid = co.connamespace
JOIN pg_class c ON c.oid = CASE co.contype WHEN 'f' THEN co.confrelid ELSE co.conrelid END
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (CASE co.contype WHEN 'f' THEN co.confkey ELSE co.conkey END)
WHERE co.contype IN ('c', 'p', 'u', 'f') AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE')
