//! Functions that ask about the session, the catalog and the server, as clients of PostgreSQL call them. They are
//! made for one statement, with its [`SystemContext`] inside, and only those that the statement calls.
//!
//! One table, one row a function; all work on one row's values at a time, since nobody calls them for many rows.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use granary_catalog::{Object, Role, Schema, Table};
use sqlparser::ast::{self, Visit, Visitor};
use tokio_util::sync::CancellationToken;

use super::{privileges, sequence};
use crate::engine::tables::system::names::{self, columns, format_type, object_of, oid_of, type_oid};
use crate::engine::tables::system::{self, SystemContext};
use crate::error::{Error, Kind, Result};
use crate::row::{Value, array_of, normalize_type, value_at};

pub type Arguments<'a> = &'a [Option<Value>];
pub type Body = fn(&SystemContext, Arguments<'_>) -> Result<Option<Value>>;

#[derive(Debug, Clone, Copy)]
enum Gives {
    Text,
    Int,
    Bool,
    Texts,
    Time,
}

impl Gives {
    fn data_type(self) -> DataType {
        match self {
            Gives::Text => DataType::Utf8,
            Gives::Int => DataType::Int64,
            Gives::Bool => DataType::Boolean,
            Gives::Texts => DataType::new_list(DataType::Utf8, true),
            Gives::Time => crate::engine::relation::time_type(),
        }
    }
}

struct Function {
    name: &'static str,
    gives: Gives,
    body: Body,
}

macro_rules! functions {
    ($($gives:ident { $($($name:literal)|+ => $body:expr;)* })*) => {
        static FUNCTIONS: &[Function] = &[$($($(Function { name: $name, gives: Gives::$gives, body: $body },)+)*)*];
    };
}

functions! {
    Text {
        "version" => |_, _| Ok(text(concat!("PostgreSQL 15.0 (Granary ", env!("CARGO_PKG_VERSION"), ")")));
        "current_database" | "current_catalog" => |context, _| Ok(text(&context.facts.database));
        "current_user" | "session_user" | "user" | "current_role" => |context, _| Ok(text(&context.facts.user));
        "current_schema" => |context, _| Ok(own_schemas(context).first().and_then(|schema| text(schema)));
        "pg_get_userbyid" => |context, a| Ok(role_name(context, a));
        "format_type" => |_, a| Ok(int(a, 0).and_then(|oid| text(&format_type(oid, int(a, 1).unwrap_or(-1)))));
        "pg_get_viewdef" => |context, a| {
            let object = oid(context, a, 0).and_then(|oid| object_of(&context.scope.snapshot, oid));
            // psql prints what follows the last newline of the definition too, so there is none
            let query = object.and_then(|object| Some((object, object.query()?)));
            let query = query.map(|(object, query)| view_query(context, object, query));
            Ok(query.and_then(|query| text(&format!(" {};", query.trim()))))
        };
        "pg_get_constraintdef" => |context, a| {
            let is_pretty = matches!(a.get(1), Some(Some(Value::Bool(true))));
            let found = int(a, 0).and_then(|oid| system::constraint_definition(context, oid, is_pretty));
            Ok(found.and_then(|definition| text(&definition)))
        };
        "pg_get_indexdef" => |context, a| {
            let found = int(a, 0).and_then(|oid| system::index_definition(context, oid, int(a, 1)));
            Ok(found.and_then(|definition| text(&definition)))
        };
        "pg_get_serial_sequence" => |context, a| {
            let found = oid(context, a, 0).zip(string(a, 1));
            let found = found.and_then(|(table, column)| system::serial_sequence(context, table, &column));
            Ok(found.and_then(|sequence| text(&sequence)))
        };
        "pg_get_expr" | "pg_get_ruledef" | "pg_get_triggerdef"
        | "pg_get_partkeydef"
        | "pg_get_statisticsobjdef_columns" | "pg_get_function_sqlbody" | "pg_collation_for"
        | "pg_tablespace_location" | "inet_server_addr" => |_, _| Ok(None);
        "pg_get_functiondef" => |context, a| Ok(function(context, a).and_then(|own| text(&own.header.statement)));
        "pg_get_function_result" => |context, a| {
            Ok(function(context, a).and_then(|own| text(&names::type_name(&own.returns))))
        };
        "pg_get_function_arguments" | "pg_get_function_identity_arguments" => |context, a| {
            Ok(function(context, a).and_then(|own| text(&system::arguments_text(own))))
        };
        "inet_client_addr" => |context, _| Ok(text(&context.facts.client));
        "obj_description" | "shobj_description" => |context, a| {
            let object = int(a, 0).and_then(|oid| object_of(&context.scope.snapshot, oid));
            Ok(object.and_then(|object| object.header().comment.as_deref()).and_then(text))
        };
        "col_description" => |context, a| Ok(column_comment(context, a));
        "pg_encoding_to_char" | "pg_client_encoding" | "getdatabaseencoding" => |_, _| Ok(text("UTF8"));
        "pg_size_pretty" => |_, a| Ok(int(a, 0).and_then(|bytes| text(&pretty_size(bytes))));
        "current_setting" => current_setting;
        "quote_ident" => |_, a| Ok(string(a, 0).and_then(|name| text(&quote_ident(&name))));
        "quote_literal" => |_, a| Ok(string(a, 0).and_then(|value| text(&quote_literal(&value))));
        "quote_nullable" => |_, a| Ok(text(&string(a, 0).map_or_else(|| "NULL".to_owned(), |v| quote_literal(&v))));
        "pg_advisory_lock" | "pg_advisory_unlock_all" | "pg_advisory_xact_lock" => |_, _| Ok(text(""));
        "pg_export_snapshot" => |context, _| Ok(text(&format!("{:08X}-1", context.scope.snapshot.version().0)));
    }
    Int {
        "nextval" => sequence::next;
        "currval" => sequence::current;
        "lastval" => sequence::last;
        "setval" => sequence::set;
        "pg_backend_pid" => |context, _| Ok(Some(Value::Int(context.facts.process_id.into())));
        "pg_relation_size" | "pg_total_relation_size" | "pg_table_size" | "pg_indexes_size" | "pg_database_size"
        | "pg_my_temp_schema" | "pg_relation_is_updatable" | "pg_stat_get_numscans"
        | "pg_tablespace_size" => |_, _| Ok(Some(Value::Int(0)));
        "pg_char_to_encoding" => |_, _| Ok(Some(Value::Int(6)));
        "pg_sequence_last_value" | "inet_server_port" => |_, _| Ok(None);
        "txid_current" | "pg_current_xact_id" => |context, _| {
            Ok(Some(Value::Int(i64::try_from(context.scope.snapshot.version().0).unwrap_or(i64::MAX))))
        };
        "to_regclass" => |context, a| Ok(string(a, 0).and_then(|name| class_oid(context, &name)).map(Value::Int));
        "to_regtype" => |_, a| Ok(string(a, 0).and_then(|name| type_oid(&name)).map(Value::Int));
        "to_regnamespace" => |context, a| Ok(string(a, 0).and_then(|name| schema_oid(context, &name)).map(Value::Int));
        "array_lower" => |_, a| Ok(length(a).map(|_| Value::Int(1)));
        "array_upper" => |_, a| Ok(length(a).map(Value::Int));
    }
    Bool {
        "has_table_privilege" => privileges::of_table;
        "has_column_privilege" => privileges::of_column;
        "has_any_column_privilege" => privileges::of_any_column;
        "has_schema_privilege" => privileges::of_schema;
        "has_database_privilege" => privileges::of_database;
        "pg_has_role" => privileges::of_role;
        "has_function_privilege" => privileges::of_function;
        "has_sequence_privilege" | "has_type_privilege"
        | "has_tablespace_privilege" | "has_server_privilege" | "has_language_privilege"
        | "has_foreign_data_wrapper_privilege" | "pg_type_is_visible" | "pg_function_is_visible"
        | "pg_collation_is_visible" | "pg_operator_is_visible" | "pg_opclass_is_visible" | "pg_ts_config_is_visible"
        | "pg_conversion_is_visible" | "pg_statistics_obj_is_visible" | "pg_try_advisory_lock"
        | "pg_advisory_unlock" => |_, _| Ok(Some(Value::Bool(true)));
        "pg_is_in_recovery" | "pg_is_other_temp_schema" | "pg_relation_is_publishable" | "pg_column_is_updatable"
        | "pg_is_wal_replay_paused" => |_, _| Ok(Some(Value::Bool(false)));
        "row_security_active" => |context, a| {
            let Some(oid) = oid(context, a, 0) else { return Ok(None) };
            let table = object_of(&context.scope.snapshot, oid).and_then(|object| object.downcast::<Table>());
            let is_active = table.is_some_and(|table| crate::engine::query::row_security_active(&context.scope, table));
            Ok(Some(Value::Bool(is_active)))
        };
        "pg_cancel_backend" => |context, a| signal(context, a, Signal::Cancel);
        "pg_terminate_backend" => |context, a| signal(context, a, Signal::Terminate);
        "pg_table_is_visible" => |context, a| Ok(int(a, 0).map(|oid| Value::Bool(is_visible(context, oid))));
    }
    Texts {
        "current_schemas" => |context, a| {
            let mut schemas = own_schemas(context);
            if matches!(a.first(), Some(Some(Value::Bool(true)))) {
                schemas.insert(0, "pg_catalog".to_owned());
            }
            Ok(Some(texts(schemas)))
        };
        "pg_blocking_pids" => |_, _| Ok(Some(texts(Vec::new())));
    }
    Time {
        "pg_postmaster_start_time" | "pg_conf_load_time" => |context, _| Ok(Some(Value::Int(context.now_us)));
    }
}

static NAMES: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| FUNCTIONS.iter().map(|function| function.name).collect());

/// Whether one of them has the name.
pub fn is_named(name: &str) -> bool {
    NAMES.contains(name)
}

/// What carries out a function of that name, for those that catalog queries have from here.
pub fn body(name: &str) -> Option<Body> {
    // the same for all sessions, and better where types are PostgreSQL's
    const ELSEWHERE: [&str; 24] = [
        "format_type",
        "obj_description",
        "shobj_description",
        "col_description",
        "pg_get_userbyid",
        "pg_encoding_to_char",
        "pg_char_to_encoding",
        "pg_size_pretty",
        "quote_ident",
        "quote_literal",
        "quote_nullable",
        "array_lower",
        "array_upper",
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_collation_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_ts_config_is_visible",
        "pg_conversion_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_get_expr",
        "pg_advisory_unlock_all",
        "pg_is_in_recovery",
    ];
    let found = FUNCTIONS.iter().find(|function| function.name == name)?;
    (!ELSEWHERE.contains(&name)).then_some(found.body)
}

/// Adds the functions of this file that a statement calls.
pub fn register_called(node: &impl Visit, state: &mut SessionState, context: impl FnOnce() -> SystemContext) {
    let mut calls = Calls { names: HashSet::new() };
    // The visitor never breaks.
    let _ = node.visit(&mut calls);
    if calls.names.is_empty() {
        return;
    }
    let context = Arc::new(context());
    for function in FUNCTIONS.iter().filter(|function| calls.names.contains(function.name)) {
        let udf = ScalarUDF::new_from_impl(SessionFunction::new(function, Arc::clone(&context)));
        state.register_udf(Arc::new(udf)).expect("a session state takes every function");
    }
}

struct Calls {
    names: HashSet<&'static str>,
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(function) = expr
            && let Some(ast::ObjectNamePart::Identifier(ident)) = function.name.0.last()
            && let Some(name) = NAMES.get(ident.value.to_lowercase().as_str())
        {
            self.names.insert(name);
        }
        ControlFlow::Continue(())
    }
}

struct SessionFunction {
    function: &'static Function,
    context: Arc<SystemContext>,
    signature: Signature,
}

impl SessionFunction {
    fn new(function: &'static Function, context: Arc<SystemContext>) -> Self {
        let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
        // what does something is done once for each call, and not while it is planned
        let does = sequence::VOLATILE.contains(&function.name)
            || matches!(function.name, "pg_cancel_backend" | "pg_terminate_backend");
        let volatility = if does { Volatility::Volatile } else { Volatility::Stable };
        SessionFunction { function, context, signature: Signature::new(any, volatility) }
    }
}

impl std::fmt::Debug for SessionFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionFunction({})", self.function.name)
    }
}

// Two with one name are never in one plan.
impl PartialEq for SessionFunction {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for SessionFunction {}

impl Hash for SessionFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.function.gives.data_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let is_volatile = sequence::VOLATILE.contains(&self.function.name);
        let is_scalar =
            !is_volatile && arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { arguments.number_rows };
        let columns = arguments
            .args
            .into_iter()
            .map(|argument| readable(argument.into_array(n_rows)?))
            .collect::<DataFusionResult<Vec<ArrayRef>>>()?;
        let mut values = Vec::with_capacity(n_rows);
        for row in 0..n_rows {
            let arguments = columns.iter().map(|column| value_of(column, row)).collect::<Result<Vec<_>>>()?;
            values.push((self.function.body)(&self.context, &arguments)?);
        }
        let array = array_of(&self.function.gives.data_type(), values.iter().map(Option::as_ref))?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

/// The array in a type whose values can be taken out.
fn readable(array: ArrayRef) -> DataFusionResult<ArrayRef> {
    let wanted = match array.data_type() {
        DataType::Null => return Ok(array),
        other => normalize_type(other).unwrap_or(DataType::Utf8),
    };
    if &wanted == array.data_type() { Ok(array) } else { Ok(cast(&array, &wanted)?) }
}

fn value_of(array: &ArrayRef, row: usize) -> Result<Option<Value>> {
    if array.data_type() == &DataType::Null { Ok(None) } else { value_at(array.as_ref(), row) }
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.into()))
}

fn texts(items: Vec<String>) -> Value {
    Value::List(items.into_iter().map(|item| Some(Value::Text(item.into()))).collect())
}

pub fn string(arguments: Arguments<'_>, index: usize) -> Option<String> {
    match arguments.get(index)?.as_ref()? {
        Value::Text(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        _ => None,
    }
}

pub fn int(arguments: Arguments<'_>, index: usize) -> Option<i64> {
    match arguments.get(index)?.as_ref()? {
        Value::Int(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn length(arguments: Arguments<'_>) -> Option<i64> {
    match arguments.first()?.as_ref()? {
        Value::List(items) if !items.is_empty() => i64::try_from(items.len()).ok(),
        _ => None,
    }
}

/// An argument that is a relation's OID or its name.
/// What is done to another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// to its statement
    Cancel,
    Terminate,
}

/// Whether there is such a connection, which is told. Errors: 42501 for one of a role that the asker is no member of.
fn signal(context: &SystemContext, arguments: Arguments<'_>, signal: Signal) -> Result<Option<Value>> {
    if int(arguments, 1).is_some_and(|timeout| timeout != 0) {
        return Err(Error::not_supported("to wait for a connection's end"));
    }
    let Some(process_id) = int(arguments, 0) else { return Ok(None) };
    let process_id = i32::try_from(process_id).ok();
    let Some(client) = process_id.and_then(|process_id| context.facts.activity.of(process_id)) else {
        return Ok(Some(Value::Bool(false)));
    };
    let snapshot = &context.scope.snapshot;
    let role = snapshot.role(&client.user);
    let access = context.scope.access();
    let (verb, done, object) = match signal {
        Signal::Cancel => ("cancel", "canceled", "query"),
        Signal::Terminate => ("terminate", "terminated", "process"),
    };
    if role.is_some_and(|role| role.superuser) {
        access.check_superuser(format!("must be a superuser to {verb} superuser {object}"), verb)?;
    } else if !role.is_some_and(|role| access.is_member(role)) {
        let message = format!("must be a member of the role whose {object} is being {done}");
        access.check_superuser(message, verb)?;
    }
    match signal {
        Signal::Terminate => client.ended.cancel(),
        Signal::Cancel => client.running.iter().for_each(CancellationToken::cancel),
    }
    Ok(Some(Value::Bool(true)))
}

fn oid(context: &SystemContext, arguments: Arguments<'_>, index: usize) -> Option<i64> {
    int(arguments, index).or_else(|| class_oid(context, &string(arguments, index)?))
}

/// The function of users that a text names, with or without its arguments.
pub fn function_oid(context: &SystemContext, name: &str) -> Option<i64> {
    let name = name.split('(').next().unwrap_or_default();
    let parsed = granary_sql::parse(&format!("SELECT {name}()")).ok()?;
    let mut found = None;
    // The visitor never breaks.
    let _ = parsed.first().and_then(|parsed| match &parsed.statement {
        granary_sql::Statement::Query(query) => Some(ast::visit_expressions(&query.ast, |expr| {
            if let ast::Expr::Function(function) = expr
                && let Ok(Some(object)) = context.scope.function(&function.name)
            {
                found = Some(oid_of(object.id()));
            }
            ControlFlow::<()>::Continue(())
        })),
        _ => None,
    });
    found
}

/// The function of users with an OID.
fn function<'c>(context: &'c SystemContext, arguments: Arguments<'_>) -> Option<&'c granary_catalog::Function> {
    object_of(&context.scope.snapshot, int(arguments, 0)?)?.downcast()
}

/// The schemas of the search path that exist.
pub fn own_schemas(context: &SystemContext) -> Vec<String> {
    let exists = |schema: &&String| {
        system::is_system_schema(Some(schema))
            || context.scope.snapshot.schema(context.scope.workspace, schema).is_some()
    };
    context.scope.search_path.iter().filter(exists).cloned().collect()
}

fn role_name(context: &SystemContext, arguments: Arguments<'_>) -> Option<Value> {
    let oid = int(arguments, 0)?;
    match object_of(&context.scope.snapshot, oid).and_then(|object| object.downcast::<Role>()) {
        Some(role) => text(&role.header.name),
        None => match system::names::PREDEFINED_ROLES.iter().find(|(known, _)| *known == oid) {
            Some((_, name)) => text(name),
            None => text(&format!("unknown (OID={oid})")),
        },
    }
}

fn column_comment(context: &SystemContext, arguments: Arguments<'_>) -> Option<Value> {
    let object = object_of(&context.scope.snapshot, int(arguments, 0)?)?;
    let index = usize::try_from(int(arguments, 1)?.checked_sub(1)?).ok()?;
    let columns = columns(&context.scope.snapshot, object);
    system::feature_comment(object, &columns.get(index)?.name).and_then(|comment| text(comment))
}

pub fn parse_name(name: &str) -> TableReference {
    let mut parts: Vec<String> = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    for character in name.trim().chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            other if quoted => part.push(other),
            blank if blank.is_whitespace() => {}
            other => part.extend(other.to_lowercase()),
        }
    }
    match (parts.pop(), parts.pop()) {
        (Some(schema), Some(catalog)) => TableReference::full(catalog, schema, part),
        (Some(schema), None) => TableReference::partial(schema, part),
        _ => TableReference::bare(part),
    }
}

pub fn class_oid(context: &SystemContext, name: &str) -> Option<i64> {
    let reference = parse_name(name);
    if let Some(relation) = system::named(&context.scope.search_path, &reference) {
        return Some(relation.oid);
    }
    let found = context.scope.relation(&reference).ok().flatten().map(|object| oid_of(object.id()));
    found.or_else(|| system::index_named(context, reference.schema(), reference.table()))
}

/// A relation's name, with its schema where the search path does not lead to it; None if nothing has the number.
pub fn class_name_of(context: &SystemContext, oid: i64) -> Option<String> {
    let is_known = system::index_name(context, oid).is_some()
        || system::of_oid(oid).is_some()
        || object_of(&context.scope.snapshot, oid).is_some();
    match class_name(context, &[Some(Value::Int(oid))])? {
        Value::Text(name) if is_known => Some(name.to_string()),
        _ => None,
    }
}

/// A schema's name as SQL has to spell it.
pub fn schema_name_of(context: &SystemContext, oid: i64) -> Option<String> {
    match schema_name(context, oid)? {
        Value::Text(name) => Some(name.to_string()),
        _ => None,
    }
}

fn class_name(context: &SystemContext, arguments: Arguments<'_>) -> Option<Value> {
    let oid = oid(context, arguments, 0)?;
    if let Some(relation) = system::of_oid(oid) {
        let qualified = format!("{}.{}", relation.schema, relation.name);
        return text(if relation.schema == "pg_catalog" { relation.name } else { &qualified });
    }
    let Some(object) = object_of(&context.scope.snapshot, oid) else {
        if let Some((schema, name)) = system::index_name(context, oid) {
            let is_in_path = context.scope.search_path.contains(&schema);
            return text(&if is_in_path {
                quote_ident(&name)
            } else {
                format!("{}.{}", quote_ident(&schema), quote_ident(&name))
            });
        }
        return text(if oid == 0 { "-".to_owned() } else { oid.to_string() }.as_str());
    };
    let name = quote_ident(object.name());
    if is_visible(context, oid) {
        return text(&name);
    }
    let schema = context.scope.snapshot.schema_of(object)?;
    text(&format!("{}.{name}", quote_ident(&schema.header.name)))
}

/// The query of a view as it was typed; if a relation that it names is found by its schema alone, with the schema.
fn view_query(context: &SystemContext, view: &Object, query: &str) -> String {
    let snapshot = &context.scope.snapshot;
    let read = view.depends_on().into_iter().filter_map(|id| snapshot.get(id));
    let hidden: Vec<(&str, &str)> = read
        .filter(|object| !is_visible(context, oid_of(object.id())))
        .filter_map(|object| Some((object.name(), snapshot.schema_of(object)?.header.name.as_str())))
        .collect();
    let parsed = granary_sql::parse(query).ok().filter(|_| !hidden.is_empty()).and_then(|mut parsed| parsed.pop());
    let Some(granary_sql::Statement::Query(mut parsed)) = parsed.map(|parsed| parsed.statement) else {
        return query.to_owned();
    };
    let mut terms = HashSet::new();
    parsed.ast.with.iter().flat_map(|with| &with.cte_tables).for_each(|term| {
        terms.insert(granary_sql::name::fold(&term.alias.name));
    });
    let mut is_other = false;
    let _ = ast::visit_relations_mut(&mut parsed.ast, |name| {
        if let [name_alone] = granary_sql::name::parts(name).as_slice()
            && !terms.contains(name_alone)
            && let Some((_, schema)) = hidden.iter().find(|(hidden, _)| hidden == name_alone)
        {
            let schema = granary_sql::name::canonical(&ast::Ident::with_quote('"', *schema));
            name.0.insert(0, ast::ObjectNamePart::Identifier(schema));
            is_other = true;
        }
        ControlFlow::<()>::Continue(())
    });
    if is_other { parsed.ast.to_string() } else { query.to_owned() }
}

fn is_visible(context: &SystemContext, oid: i64) -> bool {
    if let Some(relation) = system::of_oid(oid) {
        return relation.schema == "pg_catalog" || context.scope.search_path.iter().any(|path| path == relation.schema);
    }
    let Some(object) = object_of(&context.scope.snapshot, oid) else { return false };
    let found = context.scope.relation(&TableReference::bare(object.name())).ok().flatten();
    found.is_some_and(|found| found.id() == object.id())
}

pub fn schema_oid(context: &SystemContext, name: &str) -> Option<i64> {
    match name.trim_matches('"') {
        "pg_catalog" => Some(names::PG_CATALOG_OID),
        "information_schema" => Some(names::INFORMATION_SCHEMA_OID),
        "granary" => Some(names::GRANARY_OID),
        own => context.scope.snapshot.schema(context.scope.workspace, own).map(|schema| oid_of(schema.header.id)),
    }
}

fn schema_name(context: &SystemContext, oid: i64) -> Option<Value> {
    match oid {
        names::PG_CATALOG_OID => text("pg_catalog"),
        names::INFORMATION_SCHEMA_OID => text("information_schema"),
        names::GRANARY_OID => text("granary"),
        _ => {
            let schema = object_of(&context.scope.snapshot, oid)?.downcast::<Schema>()?;
            text(&quote_ident(&schema.header.name))
        }
    }
}

fn current_setting(context: &SystemContext, arguments: Arguments<'_>) -> Result<Option<Value>> {
    let Some(name) = string(arguments, 0) else { return Ok(None) };
    let settings = (context.facts.settings)();
    if let Some(setting) = settings.into_iter().find(|setting| setting.name.eq_ignore_ascii_case(&name)) {
        return Ok(text(&setting.shown));
    }
    if matches!(arguments.get(1), Some(Some(Value::Bool(true)))) {
        return Ok(None);
    }
    Err(Error::new(Kind::UndefinedObject, format!("unrecognized configuration parameter \"{name}\"")))
}

fn quote_ident(name: &str) -> String {
    let is_plain = name.chars().next().is_some_and(|first| first.is_ascii_lowercase() || first == '_')
        && name
            .chars()
            .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quote_literal(value: &str) -> String {
    let escape = if value.contains('\\') { " E" } else { "" };
    format!("{escape}'{}'", value.replace('\'', "''").replace('\\', "\\\\"))
}

/// As PostgreSQL's `pg_size_pretty`: a unit is left only when ten of the next are passed.
fn pretty_size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size.abs() >= 10_240.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{} {}", size.round() as i64, UNITS[unit])
}
