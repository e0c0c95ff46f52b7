//! `REFRESH FEATURE VIEW v [FROM … TO …] [ONLINE|OFFLINE] [OVERWRITE] [NOWAIT]`: materialize a range of a view.

use std::fmt::{self, Display};

use sqlparser::ast::{Expr, ObjectName};

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::text::SqlText;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefreshStores {
    Both,
    OnlineOnly,
    OfflineOnly,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Refresh {
    pub view: ObjectName,
    /// Inclusive.
    pub from: Option<SqlText<Expr>>,
    /// Exclusive.
    pub to: Option<SqlText<Expr>>,
    pub stores: RefreshStores,
    pub overwrite: bool,
    /// Return the job instead of waiting for it.
    pub nowait: bool,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Refresh> {
    cursor.expect(&["refresh", "feature", "view"])?;
    let view = cursor.object_name()?;
    let mut refresh =
        Refresh { view, from: None, to: None, stores: RefreshStores::Both, overwrite: false, nowait: false };
    while !cursor.at_end() {
        let Some(word) = WORDS.into_iter().find(|word| cursor.sees(&[word])) else {
            return Err(cursor.expected("FROM, TO, ONLINE, OFFLINE, OVERWRITE, NOWAIT or end of statement"));
        };
        let is_repeated = match word {
            "from" => refresh.from.is_some(),
            "to" => refresh.to.is_some(),
            "online" | "offline" => refresh.stores != RefreshStores::Both,
            "overwrite" => refresh.overwrite,
            _ => refresh.nowait,
        };
        if is_repeated {
            let message = format!("conflicting or redundant {}", word.to_uppercase());
            return Err(cursor
                .error(ParseErrorKind::Syntax, message)
                .with_hint("without ONLINE and OFFLINE both stores are refreshed"));
        }
        cursor.advance();
        match word {
            "from" => refresh.from = Some(cursor.expression()?),
            "to" => refresh.to = Some(cursor.expression()?),
            "online" => refresh.stores = RefreshStores::OnlineOnly,
            "offline" => refresh.stores = RefreshStores::OfflineOnly,
            "overwrite" => refresh.overwrite = true,
            _ => refresh.nowait = true,
        }
    }
    Ok(refresh)
}

const WORDS: [&str; 6] = ["from", "to", "online", "offline", "overwrite", "nowait"];

impl Display for Refresh {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "REFRESH FEATURE VIEW {}", self.view)?;
        if let Some(from) = &self.from {
            write!(formatter, " FROM {from}")?;
        }
        if let Some(to) = &self.to {
            write!(formatter, " TO {to}")?;
        }
        formatter.write_str(match self.stores {
            RefreshStores::Both => "",
            RefreshStores::OnlineOnly => " ONLINE",
            RefreshStores::OfflineOnly => " OFFLINE",
        })?;
        formatter.write_str(if self.overwrite { " OVERWRITE" } else { "" })?;
        formatter.write_str(if self.nowait { " NOWAIT" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("refresh feature view V", "REFRESH FEATURE VIEW v");
        check(
            "REFRESH FEATURE VIEW v NOWAIT OVERWRITE ONLINE FROM '2024-01-01' TO now() - interval '1 day'",
            "REFRESH FEATURE VIEW v FROM '2024-01-01' TO now() - interval '1 day' ONLINE OVERWRITE NOWAIT",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("REFRESH FEATURE VIEW v ONLINE OFFLINE", "conflicting or redundant OFFLINE", 31);
        check_error("REFRESH FEATURE VIEW v FROM", "syntax error at end of input", 28);
        check_error("REFRESH FEATURE SERVICE v", "syntax error at or near \"SERVICE\"", 17);
    }
}
