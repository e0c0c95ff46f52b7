SELECT pg_get_userbyid(g.grantor) AS grantor, CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee) END AS grantee,
  current_database() AS table_catalog, g.nspname AS table_schema, g.relname AS table_name, g.privilege_type,
  CASE WHEN g.is_grantable OR pg_has_role(g.grantee, g.relowner, 'USAGE') THEN 'YES' ELSE 'NO' END AS is_grantable,
  CASE WHEN g.privilege_type = 'SELECT' THEN 'YES' ELSE 'NO' END AS with_hierarchy
FROM (SELECT n.nspname, c.relname, c.relowner, e.*
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) e WHERE c.relkind IN ('r', 'v', 'f', 'p')) g
WHERE g.privilege_type IN ('INSERT', 'SELECT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER') AND (pg_has_role(g.grantor, 'USAGE') OR pg_has_role(g.grantee, 'USAGE') OR g.grantee = 0)
