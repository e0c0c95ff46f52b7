SELECT current_database() AS table_catalog, n.nspname AS table_schema, c.relname AS table_name, a.attname AS column_name,
  a.attnum::int4 AS ordinal_position,
  CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS column_default,
  CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END AS is_nullable,
  CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN 'ARRAY'
    WHEN t.typnamespace = 11 THEN format_type(a.atttypid, NULL) ELSE 'USER-DEFINED' END AS data_type,
  information_schema._pg_char_max_length(a.atttypid, a.atttypmod) AS character_maximum_length,
  information_schema._pg_char_octet_length(a.atttypid, a.atttypmod) AS character_octet_length,
  information_schema._pg_numeric_precision(a.atttypid, a.atttypmod) AS numeric_precision,
  information_schema._pg_numeric_precision_radix(a.atttypid, a.atttypmod) AS numeric_precision_radix,
  information_schema._pg_numeric_scale(a.atttypid, a.atttypmod) AS numeric_scale,
  information_schema._pg_datetime_precision(a.atttypid, a.atttypmod) AS datetime_precision,
  NULL::varchar AS interval_type, NULL::int4 AS interval_precision,
  NULL::name AS character_set_catalog, NULL::name AS character_set_schema, NULL::name AS character_set_name,
  CASE WHEN co.collname <> 'default' THEN current_database() END AS collation_catalog,
  CASE WHEN co.collname <> 'default' THEN 'pg_catalog' END AS collation_schema,
  CASE WHEN co.collname <> 'default' THEN co.collname END AS collation_name,
  NULL::name AS domain_catalog, NULL::name AS domain_schema, NULL::name AS domain_name,
  current_database() AS udt_catalog, nt.nspname AS udt_schema, t.typname AS udt_name,
  NULL::name AS scope_catalog, NULL::name AS scope_schema, NULL::name AS scope_name, NULL::int4 AS maximum_cardinality,
  a.attnum::text AS dtd_identifier, 'NO' AS is_self_referencing,
  CASE WHEN a.attidentity IN ('a', 'd') THEN 'YES' ELSE 'NO' END AS is_identity,
  CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END AS identity_generation,
  s.seqstart::varchar AS identity_start, s.seqincrement::varchar AS identity_increment, s.seqmax::varchar AS identity_maximum,
  s.seqmin::varchar AS identity_minimum, CASE WHEN s.seqcycle THEN 'YES' ELSE 'NO' END AS identity_cycle,
  CASE WHEN a.attgenerated <> '' THEN 'ALWAYS' ELSE 'NEVER' END AS is_generated,
  CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS generation_expression,
  CASE WHEN c.relkind IN ('r', 'p') THEN 'YES' ELSE 'NO' END AS is_updatable
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_namespace nt ON nt.oid = t.typnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_depend dep ON dep.refclassid = 1259 AND dep.refobjid = a.attrelid AND dep.refobjsubid = a.attnum
  AND dep.classid = 1259 AND dep.deptype = 'i'
LEFT JOIN pg_sequence s ON s.seqrelid = dep.objid
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'f', 'p') AND NOT pg_is_other_temp_schema(n.oid)
  AND (pg_has_role(c.relowner, 'USAGE') OR has_column_privilege(c.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES'))
