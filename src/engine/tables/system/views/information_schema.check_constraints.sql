SELECT current_database() AS constraint_catalog, nc.nspname AS constraint_schema, co.conname AS constraint_name,
  substring(pg_get_constraintdef(co.oid) FROM 7) AS check_clause
FROM pg_constraint co
JOIN pg_namespace nc ON nc.oid = co.connamespace
JOIN pg_class c ON c.oid = co.conrelid
WHERE co.contype = 'c' AND pg_has_role(c.relowner, 'USAGE')
UNION ALL
SELECT current_database(), n.nspname, n.oid::text || '_' || c.oid::text || '_' || a.attnum::text || '_not_null',
  a.attname || ' IS NOT NULL'
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE')
