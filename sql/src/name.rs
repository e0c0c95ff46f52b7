//! Names: folded as PostgreSQL folds them, printed in quotes only where they need them.
//! Names that come out of this crate's own statements are already folded; those inside queries are as typed.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use crate::keyword;

/// The name that an identifier means: unquoted ones are lower case (ASCII letters only, as in PostgreSQL with UTF-8).
pub fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// A folded name as it must be typed.
pub fn quote(name: &str) -> String {
    if needs_quotes(name) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_string() }
}

/// A text as a string literal.
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn needs_quotes(name: &str) -> bool {
    let mut characters = name.chars();
    let begins_well = characters.next().is_some_and(|first| first.is_ascii_lowercase() || first == '_');
    let is_plain = characters.all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == '_');
    !begins_well || !is_plain || keyword::prints_quoted(name)
}

/// The identifier in the one form that prints and compares canonically.
pub fn canonical(ident: &Ident) -> Ident {
    let value = fold(ident);
    let quote_style = needs_quotes(&value).then_some('"');
    Ident { value, quote_style, span: ident.span }
}

/// The parts of a name, folded, outermost first: `[catalog,] [schema,] name`.
pub fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(ObjectNamePart::as_ident).map(fold).collect()
}

/// A name as messages show it: without quotes, and without the database.
pub fn shown(name: &ObjectName) -> String {
    let parts = parts(name);
    parts[parts.len().saturating_sub(2)..].join(".")
}

/// `catalog.schema.name`, with what was given. Parsing never gives one without a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QualifiedName {
    pub catalog: Option<String>,
    pub schema: Option<String>,
    pub name: String,
}

impl QualifiedName {
    /// None if there are no parts, or more than three.
    pub fn of(name: &ObjectName) -> Option<QualifiedName> {
        let mut parts = parts(name).into_iter().rev();
        let qualified = QualifiedName { name: parts.next()?, schema: parts.next(), catalog: parts.next() };
        parts.next().is_none().then_some(qualified)
    }
}

impl Display for QualifiedName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.catalog, &self.schema].into_iter().flatten() {
            write!(formatter, "{}.", quote(part))?;
        }
        write!(formatter, "{}", quote(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_and_quote() {
        assert_eq!(fold(&Ident::new("User_ID")), "user_id");
        assert_eq!(fold(&Ident::with_quote('"', "User_ID")), "User_ID");
        for (name, printed) in [
            ("user_id", "user_id"),
            ("User", "\"User\""),
            ("user", "\"user\""),
            ("left", "\"left\""),
            ("timestamp", "timestamp"),
            ("source", "source"),
            ("7d", "\"7d\""),
            ("größe", "\"größe\""),
            ("a\"b", "\"a\"\"b\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote(name), printed);
        }
        assert_eq!(quote_literal("it's"), "'it''s'");
    }

    #[test]
    fn names_qualify() {
        let name = ObjectName::from(vec![Ident::new("Prod"), Ident::with_quote('"', "My Schema"), Ident::new("T")]);
        let qualified = QualifiedName::of(&name).unwrap();
        assert_eq!(qualified.to_string(), "prod.\"My Schema\".t");
        let four = ObjectName::from(vec![Ident::new("a"), Ident::new("b"), Ident::new("c"), Ident::new("d")]);
        assert_eq!(QualifiedName::of(&four), None);
    }
}
