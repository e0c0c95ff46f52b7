SELECT current_database() AS table_catalog, n.nspname AS table_schema, c.relname AS table_name,
  current_database() AS constraint_catalog, nc.nspname AS constraint_schema, co.conname AS constraint_name
FROM pg_constraint co
JOIN pg_namespace nc ON nc.oid = co.connamespace
JOIN pg_class c ON c.oid = CASE co.contype WHEN 'f' THEN co.confrelid ELSE co.conrelid END
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE co.contype IN ('p', 'u', 'f') AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE')
