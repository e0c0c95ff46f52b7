//! PostgreSQL's reserved words: the only ones that a bare name cannot be.
//! Words of feature objects (ENTITY, SOURCE, FEATURE, …) are not reserved and must never be added.

/// Reserved words of PostgreSQL 17, sorted: neither a column nor a table can be named so without quotes.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "system_user",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

/// Words that PostgreSQL lets name functions and types, but not columns or tables; sorted.
const RESERVED_FOR_FUNCTIONS: &[&str] = &[
    "authorization",
    "binary",
    "collation",
    "concurrently",
    "cross",
    "current_schema",
    "freeze",
    "full",
    "ilike",
    "inner",
    "is",
    "isnull",
    "join",
    "left",
    "like",
    "natural",
    "notnull",
    "outer",
    "overlaps",
    "right",
    "similar",
    "tablesample",
    "verbose",
];

/// Words that sqlparser cannot read as a name in an expression, though PostgreSQL could; sorted.
const QUOTED_FOR_SAFETY: &[&str] = &["exists", "struct", "trim"];

/// Whether a name must be quoted to be a column or a table; `folded` is in lower case.
pub(crate) fn is_reserved(folded: &str) -> bool {
    RESERVED.binary_search(&folded).is_ok() || RESERVED_FOR_FUNCTIONS.binary_search(&folded).is_ok()
}

/// Whether a name is better printed in quotes.
pub(crate) fn prints_quoted(folded: &str) -> bool {
    is_reserved(folded) || QUOTED_FOR_SAFETY.binary_search(&folded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(RESERVED.is_sorted());
        assert!(RESERVED_FOR_FUNCTIONS.is_sorted());
        assert!(QUOTED_FOR_SAFETY.is_sorted());
    }

    #[test]
    fn words_of_feature_objects_are_free() {
        for word in ["entity", "source", "stream", "feature", "view", "service", "online", "last", "timestamp", "sum"] {
            assert!(!is_reserved(word), "{word}");
        }
    }
}
