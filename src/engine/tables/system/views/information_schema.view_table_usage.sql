SELECT DISTINCT current_database() AS view_catalog, nv.nspname AS view_schema, v.relname AS view_name,
  current_database() AS table_catalog, nt.nspname AS table_schema, t.relname AS table_name
FROM pg_class v
JOIN pg_namespace nv ON nv.oid = v.relnamespace
JOIN pg_rewrite r ON r.ev_class = v.oid
JOIN pg_depend d ON d.classid = 2618 AND d.objid = r.oid AND d.refclassid = 1259
JOIN pg_class t ON t.oid = d.refobjid
JOIN pg_namespace nt ON nt.oid = t.relnamespace
WHERE v.relkind = 'v' AND t.relkind IN ('r', 'v', 'f', 'p') AND t.oid <> v.oid AND pg_has_role(t.relowner, 'USAGE')
