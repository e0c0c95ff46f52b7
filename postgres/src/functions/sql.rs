//! Functions that are queries over the catalogs.

use sqlparser::ast;

use crate::error::{Error, Result};
use crate::resolve::Proc;

/// By name and number of arguments.
const BODIES: &[(&str, usize, &str)] = &[
    ("obj_description", 2, "SELECT description FROM pg_catalog.pg_description WHERE objoid = $1 AND objsubid = 0
        AND classoid = (SELECT oid FROM pg_catalog.pg_class WHERE relname = $2 AND relnamespace = 11)"),
    ("obj_description", 1, "SELECT description FROM pg_catalog.pg_description WHERE objoid = $1 AND objsubid = 0"),
    ("col_description", 2, "SELECT description FROM pg_catalog.pg_description
        WHERE objoid = $1 AND objsubid = $2 AND classoid = 1259"),
    ("shobj_description", 2, "SELECT description FROM pg_catalog.pg_shdescription WHERE objoid = $1
        AND classoid = (SELECT oid FROM pg_catalog.pg_class WHERE relname = $2 AND relnamespace = 11)"),
    ("pg_get_userbyid", 1, "SELECT coalesce((SELECT rolname FROM pg_catalog.pg_roles WHERE oid = $1), ('unknown (OID=' || $1 || ')')::name)"),
    ("pg_table_is_visible", 1, "SELECT (SELECT min(o.oid) FROM pg_catalog.pg_class o
        WHERE o.relname = c.relname
          AND array_position(current_schemas(true), (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = o.relnamespace))
            = (SELECT min(array_position(current_schemas(true), n.nspname)) FROM pg_catalog.pg_class p
               JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace WHERE p.relname = c.relname)) = c.oid
        FROM pg_catalog.pg_class c WHERE c.oid = $1"),
    ("pg_type_is_visible", 1, "SELECT n.nspname = ANY (current_schemas(true)) FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = $1"),
    ("pg_function_is_visible", 1, "SELECT n.nspname = ANY (current_schemas(true)) FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = $1"),
    ("pg_operator_is_visible", 1, "SELECT true FROM pg_catalog.pg_operator WHERE oid = $1"),
    ("pg_collation_is_visible", 1, "SELECT true FROM pg_catalog.pg_collation WHERE oid = $1"),
    ("pg_opclass_is_visible", 1, "SELECT true FROM pg_catalog.pg_opclass WHERE oid = $1"),
    ("pg_opfamily_is_visible", 1, "SELECT true FROM pg_catalog.pg_opfamily WHERE oid = $1"),
    ("pg_conversion_is_visible", 1, "SELECT true FROM pg_catalog.pg_conversion WHERE oid = $1"),
    ("pg_ts_config_is_visible", 1, "SELECT true FROM pg_catalog.pg_ts_config WHERE oid = $1"),
    ("pg_ts_dict_is_visible", 1, "SELECT true FROM pg_catalog.pg_ts_dict WHERE oid = $1"),
    ("pg_ts_parser_is_visible", 1, "SELECT true FROM pg_catalog.pg_ts_parser WHERE oid = $1"),
    ("pg_ts_template_is_visible", 1, "SELECT true FROM pg_catalog.pg_ts_template WHERE oid = $1"),
    ("pg_statistics_obj_is_visible", 1, "SELECT true FROM pg_catalog.pg_statistic_ext WHERE oid = $1"),
    ("pg_relation_size", 1, "SELECT pg_catalog.pg_relation_size($1, 'main')"),
    ("_pg_char_max_length", 2, "SELECT CASE WHEN $2 = -1 THEN NULL WHEN $1 IN (1042, 1043) THEN $2 - 4 WHEN $1 IN (1560, 1562) THEN $2 END"),
    ("_pg_char_octet_length", 2, "SELECT CASE WHEN $1 IN (25, 1042, 1043)
        THEN CASE WHEN $2 = -1 THEN 1073741824 ELSE (SELECT 4 * ($2 - 4)) END END"),
    ("_pg_numeric_precision", 2, "SELECT CASE $1 WHEN 21 THEN 16 WHEN 23 THEN 32 WHEN 20 THEN 64
        WHEN 1700 THEN CASE WHEN $2 = -1 THEN NULL ELSE (($2 - 4) >> 16) & 65535 END WHEN 700 THEN 24 WHEN 701 THEN 53 END"),
    ("_pg_numeric_precision_radix", 2, "SELECT CASE WHEN $1 IN (21, 23, 20, 700, 701) THEN 2 WHEN $1 = 1700 THEN 10 END"),
    ("_pg_numeric_scale", 2, "SELECT CASE WHEN $1 IN (21, 23, 20) THEN 0
        WHEN $1 = 1700 THEN CASE WHEN $2 = -1 THEN NULL ELSE ($2 - 4) & 65535 END END"),
    ("_pg_datetime_precision", 2, "SELECT CASE WHEN $1 = 1082 THEN 0
        WHEN $1 IN (1083, 1114, 1184, 1266) THEN CASE WHEN $2 < 0 THEN 6 ELSE $2 END
        WHEN $1 = 1186 THEN CASE WHEN $2 < 0 OR $2 & 65535 = 65535 THEN 6 ELSE $2 & 65535 END END"),
    ("_pg_interval_type", 2, "SELECT CASE WHEN $1 = 1186 THEN upper(substring(pg_catalog.format_type($1, $2), 'interval[()0-9]* #\"%#\"', '#')) END"),
    ("_pg_index_position", 2, "SELECT (ss.a).n::int4 FROM (SELECT information_schema._pg_expandarray(indkey) AS a
        FROM pg_catalog.pg_index WHERE indexrelid = $1) ss WHERE (ss.a).x = $2"),
];

/// The query of a function that is written in SQL.
pub fn body(proc: &Proc) -> Option<&'static str> {
    let n_arguments = proc.arguments.len();
    BODIES.iter().find(|(name, n, _)| *name == proc.name && *n == n_arguments).map(|(_, _, body)| *body)
}

/// Errors: 42601.
pub fn parse(text: &str) -> Result<ast::Query> {
    let mut parsed = granary_sql::parse(text).map_err(|error| Error::new("42601", error.to_string()))?;
    match (parsed.pop().map(|parsed| parsed.statement), parsed.is_empty()) {
        (Some(granary_sql::Statement::Query(query)), true) => Ok(*query.ast),
        _ => Err(Error::new("42601", "one query was expected")),
    }
}
