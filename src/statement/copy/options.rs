//! What the options of a COPY say of its rows, refused where PostgreSQL refuses them.

use arrow::datatypes::SchemaRef;
use granary_sql::name::fold;
use granary_sql::statement::{CopyOption, CopySource, CopyValue};
use sqlparser::ast::Ident;

use crate::error::{Error, Kind, Result};

/// What rows look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyForm {
    Lines(CopyFormat),
    Binary,
}

/// PostgreSQL's text format, or its CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    pub is_csv: bool,
    pub header: Header,
    pub delimiter: u8,
    /// what stands for NULL
    pub null: String,
    /// CSV only, as is the escape
    pub quote: u8,
    pub escape: u8,
}

/// Whether the first line has the names of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    No,
    /// and is left out
    Yes,
    /// and they must be those of the table
    Match,
}

impl CopyFormat {
    pub fn text() -> CopyFormat {
        let (quote, escape) = (b'"', b'"');
        CopyFormat { is_csv: false, header: Header::No, delimiter: b'\t', null: "\\N".to_owned(), quote, escape }
    }

    pub fn csv() -> CopyFormat {
        CopyFormat { is_csv: true, delimiter: b',', null: String::new(), ..CopyFormat::text() }
    }
}

/// The columns whose values are always in quotes.
#[derive(Debug, Default)]
pub enum Quoted {
    #[default]
    None,
    Named(Vec<Ident>),
    All,
}

/// See the module.
#[derive(Default)]
pub struct FormatOptions {
    is_csv: bool,
    is_binary: bool,
    header: Option<Header>,
    delimiter: Option<String>,
    null: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Quoted,
    force_not_null: Vec<Ident>,
    force_null: Vec<Ident>,
}

impl FormatOptions {
    pub fn read(options: &[CopyOption]) -> Result<FormatOptions> {
        let mut said = FormatOptions::default();
        for (index, option) in options.iter().enumerate() {
            if options[..index].iter().any(|earlier| earlier.name == option.name) {
                return Err(about(option, Kind::Syntax, "conflicting or redundant options".to_owned()));
            }
            match option.name.as_str() {
                "format" => match text(option)?.as_str() {
                    "text" => {}
                    "csv" => said.is_csv = true,
                    "binary" => said.is_binary = true,
                    other => {
                        let error = about(
                            option,
                            Kind::InvalidParameterValue,
                            format!("COPY format \"{other}\" not recognized"),
                        );
                        return Err(error.with_hint("use FORMAT text, csv or binary"));
                    }
                },
                "header" => said.header = Some(header(option)?),
                "delimiter" => said.delimiter = Some(text(option)?),
                "null" => said.null = Some(text(option)?),
                "quote" => said.quote = Some(text(option)?),
                "escape" => said.escape = Some(text(option)?),
                "force_quote" => {
                    said.force_quote = match &option.value {
                        CopyValue::All => Quoted::All,
                        _ => Quoted::Named(columns(option)?),
                    }
                }
                "force_not_null" => said.force_not_null = columns(option)?,
                "force_null" => said.force_null = columns(option)?,
                "encoding" => check_encoding(option)?,
                "freeze" if !boolean(option)? => {}
                "freeze" => return Err(Error::not_supported("COPY option FREEZE")),
                other => return Err(about(option, Kind::Syntax, format!("option \"{other}\" not recognized"))),
            }
        }
        Ok(said)
    }

    /// Of rows that a client is sent.
    pub fn to_client(mut self) -> Result<(CopyForm, Quoted)> {
        if self.header == Some(Header::Match) {
            return Err(Error::new(Kind::FeatureNotSupported, "cannot use \"match\" with HEADER in COPY TO"));
        }
        let is_used = [("not null", !self.force_not_null.is_empty()), ("null", !self.force_null.is_empty())];
        self.check_used(&is_used, "COPY FROM")?;
        let quoted = std::mem::take(&mut self.force_quote);
        self.check_used(&[("quote", !matches!(quoted, Quoted::None))], "")?;
        Ok((self.checked()?, quoted))
    }

    /// Of rows that a client sends.
    pub fn of_client(self) -> Result<CopyForm> {
        self.check_used(&[("quote", !matches!(self.force_quote, Quoted::None))], "COPY TO")?;
        let is_used = [("not null", !self.force_not_null.is_empty()), ("null", !self.force_null.is_empty())];
        self.check_used(&is_used, "")?;
        self.checked()
    }

    pub fn force_not_null(&self) -> &[Ident] {
        &self.force_not_null
    }

    pub fn force_null(&self) -> &[Ident] {
        &self.force_null
    }

    /// Refuses options that only CSV has, and of it only the other direction if that is named.
    fn check_used(&self, options: &[(&str, bool)], only: &str) -> Result<()> {
        let Some((name, _)) = options.iter().find(|(_, is_used)| *is_used) else { return Ok(()) };
        if !self.is_csv {
            let message = format!("COPY force {name} available only in CSV mode");
            return Err(Error::new(Kind::FeatureNotSupported, message));
        }
        if only.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::FeatureNotSupported, format!("COPY force {name} only available using {only}")))
    }

    fn checked(self) -> Result<CopyForm> {
        let FormatOptions { is_csv, is_binary, header, delimiter, null, quote, escape, .. } = self;
        let unsupported = |message: String| Err(Error::new(Kind::FeatureNotSupported, message));
        let wrong = |message: String| Err(Error::new(Kind::InvalidParameterValue, message));
        if is_binary {
            let said = [("DELIMITER", delimiter.is_some()), ("NULL", null.is_some())];
            if let Some((name, _)) = said.iter().find(|(_, said)| *said) {
                return Err(Error::new(Kind::Syntax, format!("cannot specify {name} in BINARY mode")));
            }
        }
        let default = if is_csv { CopyFormat::csv() } else { CopyFormat::text() };
        let delimiter = delimiter.map_or(Ok(default.delimiter), |text| one_byte("delimiter", &text))?;
        let null = null.unwrap_or(default.null);
        if delimiter == b'\n' || delimiter == b'\r' {
            return wrong("COPY delimiter cannot be newline or carriage return".to_owned());
        }
        if null.contains(['\n', '\r']) {
            return wrong("COPY null representation cannot use newline or carriage return".to_owned());
        }
        if !is_csv && (b"\\.".contains(&delimiter) || delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit()) {
            return wrong(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter)));
        }
        let header = header.unwrap_or(Header::No);
        if is_binary && header != Header::No {
            return unsupported("cannot specify HEADER in BINARY mode".to_owned());
        }
        if !is_csv && quote.is_some() {
            return unsupported("COPY quote available only in CSV mode".to_owned());
        }
        let quote = quote.map_or(Ok(default.quote), |text| one_byte("quote", &text))?;
        if is_csv && delimiter == quote {
            return wrong("COPY delimiter and quote must be different".to_owned());
        }
        if !is_csv && escape.is_some() {
            return unsupported("COPY escape available only in CSV mode".to_owned());
        }
        let escape = escape.map_or(Ok(quote), |text| one_byte("escape", &text))?;
        if null.as_bytes().contains(&delimiter) {
            return unsupported("COPY delimiter must not appear in the NULL specification".to_owned());
        }
        if is_csv && null.as_bytes().contains(&quote) {
            return unsupported("CSV quote character must not appear in the NULL specification".to_owned());
        }
        if is_binary {
            return Ok(CopyForm::Binary);
        }
        Ok(CopyForm::Lines(CopyFormat { is_csv, header, delimiter, null, quote, escape }))
    }
}

impl Quoted {
    /// By column of the rows.
    pub fn of(&self, schema: &SchemaRef, source: &CopySource) -> Result<Vec<bool>> {
        let mut quoted = vec![matches!(self, Quoted::All); schema.fields().len()];
        let Quoted::Named(columns) = self else { return Ok(quoted) };
        for column in columns.iter().map(fold) {
            match schema.fields().iter().position(|field| *field.name() == column) {
                Some(at) => quoted[at] = true,
                None if matches!(source, CopySource::Relation { columns, .. } if !columns.is_empty()) => {
                    return Err(not_copied("FORCE_QUOTE", &column));
                }
                None => {
                    return Err(Error::new(Kind::UndefinedColumn, format!("column \"{column}\" does not exist")));
                }
            }
        }
        Ok(quoted)
    }
}

pub fn not_copied(option: &str, column: &str) -> Error {
    Error::new(Kind::InvalidColumnReference, format!("{option} column \"{column}\" not referenced by COPY"))
}

fn about(option: &CopyOption, kind: Kind, message: String) -> Error {
    let error = Error::new(kind, message);
    match u32::try_from(option.position) {
        Ok(position) => error.at(position),
        Err(_) => error,
    }
}

fn text(option: &CopyOption) -> Result<String> {
    match &option.value {
        CopyValue::Text(text) => Ok(text.clone()),
        _ => Err(Error::new(Kind::Syntax, format!("{} requires a parameter", option.name))),
    }
}

fn columns(option: &CopyOption) -> Result<Vec<Ident>> {
    match &option.value {
        CopyValue::Columns(columns) => Ok(columns.clone()),
        _ => {
            let message = format!("argument to option \"{}\" must be a list of column names", option.name);
            Err(about(option, Kind::InvalidParameterValue, message))
        }
    }
}

fn boolean(option: &CopyOption) -> Result<bool> {
    match &option.value {
        CopyValue::None => Ok(true),
        CopyValue::Text(text) if ["true", "on", "1"].contains(&text.to_ascii_lowercase().as_str()) => Ok(true),
        CopyValue::Text(text) if ["false", "off", "0"].contains(&text.to_ascii_lowercase().as_str()) => Ok(false),
        _ => Err(Error::new(Kind::Syntax, format!("{} requires a Boolean value", option.name))),
    }
}

pub fn header(option: &CopyOption) -> Result<Header> {
    match &option.value {
        CopyValue::Text(text) if text.eq_ignore_ascii_case("match") => Ok(Header::Match),
        _ => match boolean(option) {
            Ok(true) => Ok(Header::Yes),
            Ok(false) => Ok(Header::No),
            Err(_) => Err(Error::new(Kind::Syntax, "header requires a Boolean value or \"match\"")),
        },
    }
}

pub fn one_byte(name: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => {
            let message = format!("COPY {name} must be a single one-byte character");
            Err(Error::new(Kind::FeatureNotSupported, message))
        }
    }
}

fn check_encoding(option: &CopyOption) -> Result<()> {
    let name = text(option)?;
    match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" => Ok(()),
        // PostgreSQL has these; to change bytes is not ours
        known
            if known.starts_with("latin")
                || known.starts_with("iso8859")
                || known.starts_with("win")
                || known.starts_with("windows")
                || known.starts_with("euc")
                || ["sqlascii", "koi8r", "koi8u", "big5", "gbk", "gb18030", "sjis", "shiftjis", "uhc", "johab"]
                    .contains(&known) =>
        {
            Err(Error::not_supported(format!("COPY encoding \"{name}\"")).with_hint("use UTF8"))
        }
        _ => {
            let message = "argument to option \"encoding\" must be a valid encoding name".to_owned();
            Err(about(option, Kind::InvalidParameterValue, message))
        }
    }
}
