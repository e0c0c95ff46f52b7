SELECT current_database() AS constraint_catalog, nc.nspname AS constraint_schema, co.conname AS constraint_name,
  current_database() AS unique_constraint_catalog, nu.nspname AS unique_constraint_schema, u.conname AS unique_constraint_name,
  CASE co.confmatchtype WHEN 'f' THEN 'FULL' WHEN 'p' THEN 'PARTIAL' WHEN 's' THEN 'NONE' END AS match_option,
  CASE co.confupdtype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' WHEN 'r' THEN 'RESTRICT' WHEN 'a' THEN 'NO ACTION' END AS update_rule,
  CASE co.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' WHEN 'r' THEN 'RESTRICT' WHEN 'a' THEN 'NO ACTION' END AS delete_rule
FROM pg_constraint co
JOIN pg_namespace nc ON nc.oid = co.connamespace
JOIN pg_class c ON c.oid = co.conrelid
LEFT JOIN pg_constraint u ON u.conindid = co.conindid AND u.contype IN ('p', 'u')
LEFT JOIN pg_namespace nu ON nu.oid = u.connamespace
WHERE co.contype = 'f' AND (pg_has_role(c.relowner, 'USAGE')
  OR has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'))
