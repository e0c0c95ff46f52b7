//! Keys, constraints, indexes, defaults and what depends on what. An entity's keys are the primary key of its feature
//! relations: as of now there is one row for each.

use std::hash::{Hash, Hasher};

use granary_catalog::{Column, ColumnDefault, ConstraintKind, Object, Sequence, Table};
use granary_postgres::text::quote_identifier;
use granary_sql::name::quote_literal;

use super::super::rows::{Rows, row};
use super::names::{columns, oid_of, relation_kind, type_of};
use super::{SystemContext, extension};
use crate::engine::functions::session;
use crate::error::Result;

/// `pg_class`, `pg_attrdef`, `pg_constraint` and `pg_rewrite`, by which dependencies name what depends.
const CLASS: i64 = 1259;
const ATTRDEF: i64 = 2604;
const CONSTRAINT: i64 = 2606;
const REWRITE: i64 = 2618;

/// B-trees, which PostgreSQL's keys are.
const BTREE: i64 = 403;

/// What has an OID without being an object: it is made of the object's and its own name, so that it stays the same.
pub fn derived_oid(object: &Object, kind: &str, name: &str) -> i64 {
    let mut hasher = twox_hash::XxHash64::with_seed(0);
    (object.id().0, kind, name).hash(&mut hasher);
    // above those of objects
    0x8000_0000 | i64::try_from(hasher.finish() & 0x7fff_ffff).unwrap_or(0)
}

/// A constraint, an index, or both.
struct Key<'o> {
    object: &'o Object,
    name: String,
    /// p, u or c; None for an index alone
    contype: Option<&'static str>,
    is_unique: bool,
    /// as SQL spells them, with what stands behind them
    columns: Vec<String>,
    /// of a check
    check: Option<&'o str>,
}

impl Key<'_> {
    fn has_index(&self) -> bool {
        self.check.is_none()
    }

    fn index_oid(&self) -> i64 {
        if self.has_index() { derived_oid(self.object, "index", &self.name) } else { 0 }
    }

    fn constraint_oid(&self) -> i64 {
        derived_oid(self.object, "constraint", &self.name)
    }

    /// Numbers of its columns, 0 for an expression.
    fn numbers(&self, own: &[Column]) -> Vec<i64> {
        let number = |spelled: &String| {
            let name = bare(spelled);
            own.iter()
                .position(|column| column.name == name)
                .and_then(|index| i64::try_from(index + 1).ok())
                .unwrap_or(0)
        };
        self.columns.iter().map(number).collect()
    }

    fn definition(&self, schema: &str) -> String {
        let unique = if self.is_unique { "UNIQUE " } else { "" };
        format!(
            "CREATE {unique}INDEX {} ON {}.{} USING btree ({})",
            quote_identifier(&self.name),
            quote_identifier(schema),
            quote_identifier(self.object.name()),
            self.columns.join(", ")
        )
    }

    /// With parentheses around all of it, unless it is to be read by people.
    fn constraint_definition(&self, is_pretty: bool) -> Option<String> {
        Some(match (self.contype?, self.check) {
            ("c", Some(check)) if is_pretty => format!("CHECK ({check})"),
            ("c", Some(check)) => format!("CHECK (({check}))"),
            ("p", _) => format!("PRIMARY KEY ({})", self.columns.join(", ")),
            _ => format!("UNIQUE ({})", self.columns.join(", ")),
        })
    }
}

/// The columns of an index with the orders that its definition has behind them: `USING btree (a, ts desc)`.
fn ordered(columns: &[String], definition: &str) -> Vec<String> {
    let inner = definition.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(inner, _)| inner);
    let mut pieces = vec![String::new()];
    let mut depth = 0_usize;
    for character in inner.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                pieces.push(String::new());
                continue;
            }
            _ => {}
        }
        pieces.last_mut().expect("there is one from the beginning").push(character);
    }
    let order = |index: usize| {
        let upper = pieces.get(index).map(|piece| piece.to_uppercase()).unwrap_or_default();
        let words: Vec<&str> = upper.split_whitespace().collect();
        let descending = words.contains(&"DESC");
        let nulls_first = words.windows(2).find(|pair| pair[0] == "NULLS").map(|pair| pair[1] == "FIRST");
        // only what is not so by itself
        let nulls = match nulls_first {
            Some(first) if first != descending => {
                if first {
                    " NULLS FIRST"
                } else {
                    " NULLS LAST"
                }
            }
            _ => "",
        };
        format!("{}{nulls}", if descending { " DESC" } else { "" })
    };
    columns.iter().enumerate().map(|(index, column)| format!("{column}{}", order(index))).collect()
}

/// The name in a column of an index: without its order, and without quotes.
fn bare(spelled: &str) -> String {
    match spelled.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((name, _)) => name.to_owned(),
        None => spelled.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// `ts DESC NULLS LAST` as the bits of `pg_index.indoption`.
fn order_bits(spelled: &str) -> i64 {
    let upper = spelled.to_uppercase();
    let descending = upper.contains(" DESC");
    let nulls_first = if upper.contains(" NULLS FIRST") { true } else { descending && !upper.contains(" NULLS LAST") };
    i64::from(descending) | (i64::from(nulls_first) << 1)
}

fn keys_of(object: &Object) -> Vec<Key<'_>> {
    let quoted = |names: &[String]| names.iter().map(|name| quote_identifier(name)).collect::<Vec<String>>();
    let entity_key = |join_keys: &[Column]| {
        let columns = join_keys.iter().map(|key| quote_identifier(&key.name)).collect();
        let name = format!("{}_pkey", object.name());
        vec![Key { object, name, contype: Some("p"), is_unique: true, columns, check: None }]
    };
    match object {
        Object::Table(table) => {
            let constraints = table.constraints.iter().map(|constraint| {
                let (contype, is_unique, columns, check) = match &constraint.kind {
                    ConstraintKind::PrimaryKey { columns } => ("p", true, quoted(columns), None),
                    ConstraintKind::Unique { columns } => ("u", true, quoted(columns), None),
                    ConstraintKind::Check { text } => ("c", false, Vec::new(), Some(text.as_str())),
                };
                Key { object, name: constraint.name.clone(), contype: Some(contype), is_unique, columns, check }
            });
            let indexes = table.indexes.iter().map(|index| Key {
                object,
                name: index.name.clone(),
                contype: None,
                is_unique: index.unique,
                columns: ordered(&index.columns, &index.definition),
                check: None,
            });
            constraints.chain(indexes).collect()
        }
        Object::FeatureTable(table) if !table.join_keys.is_empty() => entity_key(&table.join_keys),
        Object::FeatureView(view) if !view.join_keys.is_empty() => entity_key(&view.join_keys),
        _ => Vec::new(),
    }
}

fn all_keys(context: &SystemContext) -> impl Iterator<Item = Key<'_>> {
    context.relations().flat_map(|(object, _)| keys_of(object))
}

/// Whether a relation has an index, and how many checks.
pub fn counts(object: &Object) -> (bool, usize) {
    let keys = keys_of(object);
    (keys.iter().any(Key::has_index), keys.iter().filter(|key| key.check.is_some()).count())
}

pub fn index_classes(context: &SystemContext, rows: &mut Rows) {
    for key in all_keys(context).filter(Key::has_index) {
        row!(rows,
            oid: key.index_oid(),
            relname: &key.name,
            relnamespace: context.schema_oid(key.object),
            relowner: context.role_oid(&key.object.header().owner),
            relam: BTREE,
            relpages: 0,
            reltuples: 0.0,
            relpersistence: "p",
            relkind: "i",
            relnatts: key.columns.len(),
            relispopulated: true,
            relreplident: "n",
        );
    }
}

/// Of each index: its relation's number, and its columns' names and types.
pub fn index_columns(context: &SystemContext) -> Vec<(i64, Vec<Column>)> {
    let snapshot = &context.scope.snapshot;
    all_keys(context)
        .filter(Key::has_index)
        .map(|key| {
            let own = columns(snapshot, key.object);
            let of_column = |spelled: &String| {
                let name = bare(spelled);
                let found = own.iter().find(|column| column.name == name);
                found.cloned().unwrap_or_else(|| Column::new(name, arrow::datatypes::DataType::Utf8, true))
            };
            (
                key.index_oid(),
                key.columns.iter().map(of_column).map(|column| Column { nullable: true, ..column }).collect(),
            )
        })
        .collect()
}

pub fn pg_index(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for key in all_keys(context).filter(Key::has_index) {
        let own = columns(&context.scope.snapshot, key.object);
        let numbers = key.numbers(&own);
        let operators: Vec<i64> = numbers.iter().map(|number| operator_class(&own, *number)).collect();
        let collations: Vec<i64> = numbers.iter().map(|number| collation(&own, *number)).collect();
        let expressions: Vec<&str> = numbers
            .iter()
            .zip(&key.columns)
            .filter(|(number, _)| **number == 0)
            .map(|(_, text)| text.as_str())
            .collect();
        row!(rows,
            indexrelid: key.index_oid(),
            indrelid: oid_of(key.object.id()),
            indnatts: key.columns.len(),
            indnkeyatts: key.columns.len(),
            indisunique: key.is_unique,
            indisprimary: key.contype == Some("p"),
            indimmediate: true,
            indisvalid: true,
            indisready: true,
            indislive: true,
            indkey: numbers.clone(),
            indcollation: collations,
            indclass: operators,
            indoption: key.columns.iter().map(|column| order_bits(column)).collect::<Vec<i64>>(),
            indexprs: (!expressions.is_empty()).then(|| expressions.join(", ")),
        );
    }
    Ok(())
}

/// The default operator class of a column's type for B-trees.
fn operator_class(own: &[Column], number: i64) -> i64 {
    let column = usize::try_from(number - 1).ok().and_then(|index| own.get(index));
    match column.map_or(25, |column| type_of(&column.data_type).0) {
        16 => 424,
        17 => 428,
        20 => 3124,
        21 => 1979,
        23 => 1978,
        700 => 1970,
        701 => 3123,
        1082 => 3122,
        1083 => 1993,
        1114 => 3128,
        1184 => 3127,
        1186 => 2025,
        1700 => 3125,
        _ => 3126,
    }
}

fn collation(own: &[Column], number: i64) -> i64 {
    let column = usize::try_from(number - 1).ok().and_then(|index| own.get(index));
    if column.is_some_and(|column| type_of(&column.data_type).0 == 25) { 100 } else { 0 }
}

pub fn pg_constraint(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for key in all_keys(context) {
        let Some(contype) = key.contype else { continue };
        let own = columns(&context.scope.snapshot, key.object);
        let numbers = match key.check {
            None => key.numbers(&own),
            Some(check) => mentioned(check, &own),
        };
        row!(rows,
            oid: key.constraint_oid(),
            conname: &key.name,
            connamespace: context.schema_oid(key.object),
            contype: contype,
            convalidated: true,
            conrelid: oid_of(key.object.id()),
            conindid: key.index_oid(),
            confupdtype: " ",
            confdeltype: " ",
            confmatchtype: " ",
            conislocal: true,
            connoinherit: key.check.is_none(),
            conkey: numbers,
            conbin: key.check,
        );
    }
    Ok(())
}

/// Numbers of the columns that a text names.
fn mentioned(text: &str, own: &[Column]) -> Vec<i64> {
    let words: Vec<String> =
        text.split(|character: char| !character.is_alphanumeric() && character != '_').map(str::to_lowercase).collect();
    let numbered = own.iter().zip(1..).filter(|(column, _)| words.contains(&column.name.to_lowercase()));
    numbered.map(|(_, number)| number).collect()
}

/// Columns with defaults, each with the number of its table and its own.
fn defaults(context: &SystemContext) -> impl Iterator<Item = (&Object, i64, &Column)> {
    context.relations().flat_map(|(object, _)| {
        let columns: &[Column] = match object {
            Object::Table(Table { columns, .. }) => columns,
            _ => &[],
        };
        columns
            .iter()
            .zip(1..)
            .filter(|(column, _)| column.default.is_some())
            .map(move |(column, number)| (object, number, column))
    })
}

pub fn pg_attrdef(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for (object, number, column) in defaults(context) {
        let Some(default) = column.default.as_ref().filter(|default| default.identity.is_none()) else { continue };
        row!(rows,
            oid: derived_oid(object, "default", &column.name),
            adrelid: oid_of(object.id()),
            adnum: number,
            adbin: default_text(context, default),
        );
    }
    Ok(())
}

/// The text of a default. One that is the next number of a sequence names it as it is called now.
fn default_text(context: &SystemContext, default: &ColumnDefault) -> String {
    let is_next_number = default.text.starts_with("nextval('") && default.text.ends_with(')');
    let name = default.sequence.filter(|_| is_next_number).and_then(|id| session::class_name_of(context, oid_of(id)));
    match name {
        Some(name) => format!("nextval({}::regclass)", quote_literal(&name)),
        None => default.text.clone(),
    }
}

pub fn pg_sequence(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for sequence in context.objects().filter_map(Object::downcast::<Sequence>) {
        row!(rows,
            seqrelid: oid_of(sequence.header.id),
            seqtypid: match sequence.data_type.as_str() { "smallint" => 21_i64, "integer" => 23, _ => 20 },
            seqstart: sequence.start,
            seqincrement: sequence.increment,
            seqmax: sequence.max_value,
            seqmin: sequence.min_value,
            seqcache: 1_i64,
            seqcycle: sequence.cycle,
        );
    }
    Ok(())
}

/// The rule that makes a view of a relation.
pub fn pg_rewrite(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in views(context) {
        row!(rows,
            oid: derived_oid(object, "rule", "_RETURN"),
            rulename: "_RETURN",
            ev_class: oid_of(object.id()),
            ev_type: "1",
            ev_enabled: "O",
            is_instead: true,
        );
    }
    Ok(())
}

fn views(context: &SystemContext) -> impl Iterator<Item = &Object> {
    context
        .relations()
        .filter(|(_, kind)| matches!(*kind, "v" | "m" | "f"))
        .map(|(object, _)| object)
        .filter(|object| object.query().is_some() || !object.depends_on().is_empty())
}

pub fn pg_depend(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let snapshot = &context.scope.snapshot;
    for object in views(context) {
        let rule = derived_oid(object, "rule", "_RETURN");
        row!(rows, classid: REWRITE, objid: rule, refclassid: CLASS, refobjid: oid_of(object.id()), deptype: "i");
        for id in object.depends_on() {
            if snapshot.get(id).is_some_and(|read| relation_kind(read).is_some()) {
                row!(rows, classid: REWRITE, objid: rule, refclassid: CLASS, refobjid: oid_of(id), deptype: "n");
            }
        }
    }
    for (object, number, column) in defaults(context) {
        let Some(default) = &column.default else { continue };
        let relation = oid_of(object.id());
        if default.identity.is_none() {
            let own = derived_oid(object, "default", &column.name);
            row!(rows, classid: ATTRDEF, objid: own, refclassid: CLASS, refobjid: relation, refobjsubid: number, deptype: "a");
            if let Some(sequence) = default.sequence {
                row!(rows, classid: ATTRDEF, objid: own, refclassid: CLASS, refobjid: oid_of(sequence), deptype: "n");
            }
        }
    }
    for sequence in context.objects().filter_map(Object::downcast::<Sequence>) {
        let Some((table, column)) = &sequence.owned_by else { continue };
        let Some(owner) = snapshot.get(*table) else { continue };
        let own = columns(snapshot, owner);
        let Some(place) = own.iter().position(|other| other.name == *column) else { continue };
        let is_identity = own[place].default.as_ref().is_some_and(|default| default.identity.is_some());
        row!(rows,
            classid: CLASS,
            objid: oid_of(sequence.header.id),
            refclassid: CLASS,
            refobjid: oid_of(*table),
            refobjsubid: place + 1,
            deptype: if is_identity { "i" } else { "a" },
        );
    }
    for key in all_keys(context) {
        let relation = oid_of(key.object.id());
        let own = columns(&context.scope.snapshot, key.object);
        for number in key.numbers(&own) {
            let (class, number_of_key) =
                if key.contype.is_some() { (CONSTRAINT, key.constraint_oid()) } else { (CLASS, key.index_oid()) };
            row!(rows, classid: class, objid: number_of_key, refclassid: CLASS, refobjid: relation, refobjsubid: number, deptype: "a");
        }
        if key.contype.is_some() && key.has_index() {
            row!(rows, classid: CLASS, objid: key.index_oid(), refclassid: CONSTRAINT, refobjid: key.constraint_oid(), deptype: "i");
        }
    }
    extension::members(context, rows);
    Ok(())
}

/// `pg_get_constraintdef`.
pub fn constraint_definition(context: &SystemContext, oid: i64, is_pretty: bool) -> Option<String> {
    let key = all_keys(context).find(|key| key.contype.is_some() && key.constraint_oid() == oid)?;
    key.constraint_definition(is_pretty)
}

/// `pg_get_indexdef`, of one column if one is named.
pub fn index_definition(context: &SystemContext, oid: i64, column: Option<i64>) -> Option<String> {
    let key = all_keys(context).find(|key| key.has_index() && key.index_oid() == oid)?;
    match column.unwrap_or(0) {
        0 => Some(key.definition(&context.schema_name(key.object))),
        number => {
            let spelled = usize::try_from(number - 1).ok().and_then(|index| key.columns.get(index))?;
            let is_column =
                key.numbers(&columns(&context.scope.snapshot, key.object)).get(usize::try_from(number - 1).ok()?)
                    != Some(&0);
            Some(if is_column { quote_identifier(&bare(spelled)) } else { spelled.clone() })
        }
    }
}

/// The name of an index by its OID.
pub fn index_name(context: &SystemContext, oid: i64) -> Option<(String, String)> {
    let key = all_keys(context).find(|key| key.has_index() && key.index_oid() == oid)?;
    Some((context.schema_name(key.object), key.name))
}

/// The OID of an index by its name.
pub fn index_named(context: &SystemContext, schema: Option<&str>, name: &str) -> Option<i64> {
    let is_meant = |key: &Key<'_>| {
        let own = context.schema_name(key.object);
        let is_in_reach = match schema {
            Some(schema) => own == schema,
            None => context.scope.search_path.contains(&own),
        };
        key.has_index() && key.name == name && is_in_reach
    };
    all_keys(context).find(is_meant).map(|key| key.index_oid())
}

/// `pg_get_serial_sequence`.
pub fn serial_sequence(context: &SystemContext, table: i64, column: &str) -> Option<String> {
    let found = context.objects().filter_map(Object::downcast::<Sequence>).find(|sequence| {
        sequence.owned_by.as_ref().is_some_and(|(owner, owned)| oid_of(*owner) == table && owned == column)
    })?;
    let object = context.scope.snapshot.get(found.header.id)?;
    Some(format!("{}.{}", quote_identifier(&context.schema_name(object)), quote_identifier(&found.header.name)))
}

/// The type of a relation's rows; the others have none.
pub fn row_type(object: &Object) -> i64 {
    if matches!(object, Object::Sequence(_)) { 0 } else { derived_oid(object, "type", "") }
}

/// Each relation is a composite type, with an array over it.
pub fn pg_type(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let function =
        |name: &str| granary_postgres::resolve::procs_named(name).next().map_or(0, |proc| i64::from(proc.oid));
    let (array, record) = (
        ["array_in", "array_out", "array_recv", "array_send"].map(function),
        ["record_in", "record_out", "record_recv", "record_send"].map(function),
    );
    for (object, _) in context.relations().filter(|(object, _)| row_type(object) != 0) {
        let (own, over) = (row_type(object), derived_oid(object, "array type", ""));
        let types = [
            (own, object.name().to_owned(), "c", "C", oid_of(object.id()), 0, over, record),
            (over, format!("_{}", object.name()), "b", "A", 0, own, 0, array),
        ];
        for (oid, name, kind, category, relation, element, array, [input, output, receive, send]) in types {
            row!(rows,
                oid: oid,
                typname: granary_postgres::text::name_of(&name),
                typnamespace: context.schema_oid(object),
                typowner: context.role_oid(&object.header().owner),
                typlen: -1,
                typtype: kind,
                typcategory: category,
                typisdefined: true,
                typdelim: ",",
                typrelid: relation,
                typsubscript: if element != 0 { function("array_subscript_handler").to_string() } else { "0".to_owned() },
                typelem: element,
                typarray: array,
                typinput: input.to_string(),
                typoutput: output.to_string(),
                typreceive: receive.to_string(),
                typsend: send.to_string(),
                typmodin: "0",
                typmodout: "0",
                typanalyze: "0",
                typalign: "d",
                typstorage: "x",
                typtypmod: -1,
            );
        }
    }
    Ok(())
}
