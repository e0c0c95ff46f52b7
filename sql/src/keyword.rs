//! PostgreSQL's reserved words: the only ones that a bare name cannot be.
//! Words of feature objects (ENTITY, SOURCE, FEATURE, …) are not reserved and must never be added.

use crate::grammar::keywords::is_column_name;

/// Words that sqlparser cannot read as a name in an expression, though PostgreSQL could; sorted.
const QUOTED_FOR_SAFETY: &[&str] = &["exists", "struct", "trim"];

/// Whether a name must be quoted to be a column or a table; `folded` is in lower case.
pub(crate) fn is_reserved(folded: &str) -> bool {
    // PostgreSQL has reserved this one since 16
    folded == "system_user" || !is_column_name(folded)
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
        assert!(QUOTED_FOR_SAFETY.is_sorted());
    }

    #[test]
    fn words_of_feature_objects_are_free() {
        for word in ["entity", "source", "stream", "feature", "view", "service", "online", "last", "timestamp", "sum"] {
            assert!(!is_reserved(word), "{word}");
        }
    }
}
