//! System views that are queries over other system relations: a file each, in `views/`.

use super::layout::Relation;

macro_rules! views {
    ($($schema:literal . $name:literal),* $(,)?) => {
        const VIEWS: &[(&str, &str, &str)] =
            &[$(($schema, $name, include_str!(concat!("views/", $schema, ".", $name, ".sql")))),*];
    };
}

views! {
    "information_schema"."applicable_roles",
    "information_schema"."character_sets",
    "information_schema"."check_constraints",
    "information_schema"."collations",
    "information_schema"."columns",
    "information_schema"."constraint_column_usage",
    "information_schema"."constraint_table_usage",
    "information_schema"."enabled_roles",
    "information_schema"."foreign_tables",
    "information_schema"."information_schema_catalog_name",
    "information_schema"."key_column_usage",
    "information_schema"."referential_constraints",
    "information_schema"."role_table_grants",
    "information_schema"."schemata",
    "information_schema"."sequences",
    "information_schema"."table_constraints",
    "information_schema"."table_privileges",
    "information_schema"."tables",
    "information_schema"."view_table_usage",
    "information_schema"."views",
    "pg_catalog"."pg_group",
    "pg_catalog"."pg_indexes",
    "pg_catalog"."pg_matviews",
    "pg_catalog"."pg_policies",
    "pg_catalog"."pg_roles",
    "pg_catalog"."pg_sequences",
    "pg_catalog"."pg_shadow",
    "pg_catalog"."pg_stat_all_indexes",
    "pg_catalog"."pg_stat_all_tables",
    "pg_catalog"."pg_stat_sys_indexes",
    "pg_catalog"."pg_stat_sys_tables",
    "pg_catalog"."pg_stat_user_indexes",
    "pg_catalog"."pg_stat_user_tables",
    "pg_catalog"."pg_tables",
    "pg_catalog"."pg_user",
    "pg_catalog"."pg_views",
}

/// The query of a system view.
pub fn view_text(relation: &Relation) -> Option<&'static str> {
    VIEWS
        .iter()
        .find(|(schema, name, _)| *schema == relation.schema && *name == relation.name)
        .map(|(_, _, text)| *text)
}
