//! `OPTIMIZE [FEATURE VIEW | FEATURE TABLE | TABLE] name`: merge the small files of stored rows.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;

use crate::cursor::{Cursor, Result};

/// What has stored rows, by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoredKind {
    FeatureView,
    FeatureTable,
    Table,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optimize {
    /// None: whichever the name is of.
    pub kind: Option<StoredKind>,
    pub name: ObjectName,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Optimize> {
    cursor.expect(&["optimize"])?;
    Ok(Optimize { kind: StoredKind::take(cursor), name: cursor.object_name()? })
}

impl StoredKind {
    pub(crate) fn take(cursor: &mut Cursor) -> Option<StoredKind> {
        let kinds: [(&[&str], StoredKind); 3] = [
            (&["feature", "view"], StoredKind::FeatureView),
            (&["feature", "table"], StoredKind::FeatureTable),
            (&["table"], StoredKind::Table),
        ];
        kinds.into_iter().find_map(|(words, kind)| cursor.take(words).then_some(kind))
    }
}

impl Display for StoredKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            StoredKind::FeatureView => "FEATURE VIEW",
            StoredKind::FeatureTable => "FEATURE TABLE",
            StoredKind::Table => "TABLE",
        })
    }
}

impl Display for Optimize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OPTIMIZE ")?;
        if let Some(kind) = self.kind {
            write!(formatter, "{kind} ")?;
        }
        write!(formatter, "{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("optimize V", "OPTIMIZE v");
        check("OPTIMIZE feature view public.v", "OPTIMIZE FEATURE VIEW public.v");
        check("OPTIMIZE FEATURE TABLE v", "OPTIMIZE FEATURE TABLE v");
        check("OPTIMIZE TABLE \"T\"", "OPTIMIZE TABLE \"T\"");
    }

    #[test]
    fn errors_have_places() {
        check_error("OPTIMIZE", "syntax error at end of input", 9);
        check_error("OPTIMIZE v w", "syntax error at or near \"w\"", 12);
        check_error("OPTIMIZE FEATURE VIEW", "syntax error at end of input", 22);
    }
}
