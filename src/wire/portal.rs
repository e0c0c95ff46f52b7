//! Prepared statements and portals of one connection, by name; and a portal's rows on their way.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};

use granary_postgres::datetime::Zone;

use super::description::Columns;
use super::encode::{Format, Formats, LineForm, Rows, Shape, formats_of};
use super::types::{Column, ShownType, parameter_data_type};
use crate::engine::ValueRows;
use crate::error::{Error, Kind, Result};
use crate::session::{BatchStream, CopyForm, CopyOut, Parameter, Prepared, RowsTag};

/// A prepared statement with what its clients are told of it.
pub struct Statement {
    pub prepared: Prepared,
    /// what each parameter is decoded as, and what it was planned as
    pub parameters: Vec<(ShownType, DataType)>,
    /// `None`: it returns no rows
    pub columns: Option<Arc<Columns>>,
    /// OIDs told to clients: the ones they declared, else inferred ones
    pub parameter_oids: Vec<u32>,
}

impl Statement {
    /// `declared`: the OIDs of the Parse message; 0 or none leaves a type to the session.
    pub fn new(prepared: Prepared, declared: &[u32]) -> Result<Statement> {
        let description = prepared.description();
        let count = description.parameters.len().max(declared.len());
        let mut parameters = Vec::with_capacity(count);
        let mut parameter_oids = Vec::with_capacity(count);
        for index in 0..count {
            let oid = declared.get(index).copied().unwrap_or(0);
            let declared_type = parameter_data_type(oid);
            let planned = description.parameters.get(index).cloned().or_else(|| declared_type.clone());
            let own = description.parameter_oids.get(index).and_then(|own| ShownType::of_oid(*own));
            let shown = match (declared_type, &planned) {
                _ if own.is_some() => own.expect("just seen"),
                (Some(_), _) => ShownType::of_oid(oid).expect("parameter_data_type knows it"),
                (None, Some(planned)) => ShownType::of_data_type(planned)?,
                (None, None) => {
                    let message = format!("could not determine data type of parameter ${}", index + 1);
                    return Err(Error::new(Kind::IndeterminateDatatype, message));
                }
            };
            parameter_oids.push(shown.oid());
            parameters.push((shown, planned.unwrap_or(DataType::Utf8)));
        }
        let columns = description.columns.as_ref().map(|schema| Columns::of(schema)).transpose()?;
        Ok(Statement { parameters, parameter_oids, columns: columns.map(Arc::new), prepared })
    }
}

/// A statement with its parameters.
pub struct Portal {
    pub statement: Arc<Statement>,
    pub result_formats: Vec<i16>,
    pub state: PortalState,
}

pub enum PortalState {
    Bound(Vec<Parameter>),
    Open(RowSource),
    /// all rows were sent; asking again gives none
    Exhausted(RowsTag),
    /// a command that returns no rows runs once
    Done,
}

/// What RowDescription tells.
pub struct Described {
    pub columns: Arc<Columns>,
    pub formats: Formats,
}

impl Portal {
    /// `None`: it returns no rows.
    pub fn described(&self) -> Result<Option<Described>> {
        let Some(columns) = &self.statement.columns else { return Ok(None) };
        let formats = result_formats(&self.result_formats, columns.len())?;
        Ok(Some(Described { columns: Arc::clone(columns), formats }))
    }
}

pub fn result_formats(codes: &[i16], columns: usize) -> Result<Formats> {
    formats_of(codes, columns, || {
        format!("bind message has {} result formats but query has {columns} columns", codes.len())
    })
}

/// Rows that are being sent.
pub struct RowSource {
    /// those behind the batch at hand
    pub stream: Option<BatchStream>,
    pub columns: Arc<Columns>,
    pub formats: Formats,
    /// what is left of the batch at hand
    pub batch: Option<Rows>,
    pub shape: Shape,
    pub tag: RowsTag,
}

impl RowSource {
    /// `promised`: the columns that a client was told of; a plan must not change them.
    pub fn new(
        rows: (SchemaRef, BatchStream, RowsTag),
        promised: Option<&Arc<Columns>>,
        (format_codes, zone): (&[i16], Zone),
    ) -> Result<RowSource> {
        let (schema, stream, tag) = rows;
        let columns = match promised {
            None => Columns::of(&schema)?.into(),
            Some(promised) => {
                let actual = schema.fields().iter().map(|field| Column::of_field(field).map(|column| column.shown));
                let actual: Vec<ShownType> = actual.collect::<Result<_>>()?;
                if !promised.iter().map(|column| column.shown).eq(actual) {
                    let message = "cached plan must not change result type";
                    return Err(Error::new(Kind::FeatureNotSupported, message));
                }
                Arc::clone(promised)
            }
        };
        let formats = result_formats(format_codes, columns.len())?;
        let columns = columns.in_zone(zone);
        Ok(RowSource { stream: Some(stream), columns, formats, batch: None, shape: Shape::Data, tag })
    }

    /// Of what a lookup found: as [`RowSource::new`].
    pub fn of_values(
        schema: &SchemaRef,
        rows: ValueRows,
        promised: Option<&Arc<Columns>>,
        (format_codes, zone): (&[i16], Zone),
    ) -> Result<RowSource> {
        // a lookup shows the columns that were described, or it is not done
        let columns = match promised {
            None => Arc::new(Columns::of(schema)?).in_zone(zone),
            Some(promised) => promised.in_zone(zone),
        };
        let formats = result_formats(format_codes, columns.len())?;
        let rows = Rows::of_values(rows, schema, &columns, &formats)?;
        let (batch, shape, tag) = (Some(rows), Shape::Data, RowsTag::Select);
        Ok(RowSource { stream: None, columns, formats, batch, shape, tag })
    }

    /// Of a COPY.
    pub fn of_copy(copy: CopyOut, zone: Zone) -> Result<RowSource> {
        let columns = Arc::new(Columns::of(&copy.schema)?).in_zone(zone);
        let (format, shape) = match copy.form {
            CopyForm::Binary => (Format::Binary, Shape::CopyBinary { begun: false }),
            CopyForm::Lines(format) => {
                (Format::Text, Shape::CopyLines(LineForm { format, force_quote: copy.force_quote }))
            }
        };
        let (stream, formats, tag) = (Some(copy.rows), Formats::All(format), RowsTag::Copy);
        Ok(RowSource { stream, columns, formats, batch: None, shape, tag })
    }
}

/// All of one connection, by name; the unnamed ones have the name "".
#[derive(Default)]
pub struct Named {
    pub statements: HashMap<String, Arc<Statement>>,
    pub portals: HashMap<String, Portal>,
}

impl Named {
    pub fn statement(&self, name: &str) -> Result<Arc<Statement>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            Error::new(Kind::InvalidStatementName, message)
        })
    }

    pub fn add_statement(&mut self, name: String, statement: Statement) -> Result<()> {
        self.check_statement_name(&name)?;
        self.statements.insert(name, Arc::new(statement));
        Ok(())
    }

    /// A named statement is never replaced, the unnamed one always is.
    pub fn check_statement_name(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.statements.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(Kind::DuplicatePreparedStatement, message));
        }
        Ok(())
    }

    pub fn add_portal(&mut self, name: String, portal: Portal) -> Result<()> {
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Error::new(Kind::DuplicateCursor, format!("cursor \"{name}\" already exists")));
        }
        self.portals.insert(name, portal);
        Ok(())
    }
}

pub fn no_such_portal(name: &str) -> Error {
    Error::new(Kind::InvalidCursorName, format!("portal \"{name}\" does not exist"))
}
