SELECT current_database() AS foreign_table_catalog, n.nspname AS foreign_table_schema, c.relname AS foreign_table_name,
  current_database() AS foreign_server_catalog, s.srvname AS foreign_server_name
FROM pg_foreign_table t
JOIN pg_foreign_server s ON s.oid = t.ftserver
JOIN pg_class c ON c.oid = t.ftrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' AND (pg_has_role(c.relowner, 'USAGE') OR has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE'))
