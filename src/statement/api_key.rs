//! `CREATE API KEY`: the key is in the answer and nowhere else.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_catalog::{ApiKey, Change, Header, Home, Role, SealedText, Snapshot};
use granary_sql::name::{canonical, fold};
use granary_sql::statement::CreateApiKey;

use super::context::{StatementContext, apply_common_options, check_options};
use crate::access::NewApiKey;
use crate::error::{Error, Kind, Result};

/// The columns of the answer.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, false), Field::new("key", DataType::Utf8, false)]))
}

/// One row with the key; none if there is a key of that name and nothing was to be done.
pub fn create(context: &mut StatementContext, create: &CreateApiKey) -> Result<RecordBatch> {
    check_options(&create.options, &[])?;
    let role = role_of(context, create)?;
    let name = create.name.as_ref().map_or_else(|| free_name(context.snapshot(), &role), fold);
    if create.if_not_exists && context.snapshot().api_key(&name).is_some() {
        context.notices.push(Error::new(Kind::DuplicateObject, format!("API key \"{name}\" already exists, skipping")));
        return answer(&[], &[]);
    }
    let new = NewApiKey::draw()?;
    let mut header = Header::new(context.snapshot().next_id(), Home::Server, &name, &context.role);
    let ident = sqlparser::ast::Ident::with_quote('"', &name);
    let anew = CreateApiKey { if_not_exists: false, name: Some(canonical(&ident)), ..create.clone() };
    header.statement = anew.to_string();
    header.comment.clone_from(&create.comment);
    apply_common_options(&mut header, &create.options)?;
    context.changes.push(Change::put(ApiKey {
        header,
        role: role.header.id,
        digest: SealedText::new(new.digest),
        prefix: new.prefix,
        created_at_us: context.now_us,
    }));
    answer(&[&name], &[&new.key])
}

/// The role that the key is to stand for. Errors: 42501 for those who may not act in its name.
fn role_of(context: &StatementContext, create: &CreateApiKey) -> Result<Role> {
    let name = context.role_named(&create.role);
    let role = context.snapshot().role(&name).ok_or_else(|| {
        let error = Error::new(Kind::UndefinedObject, format!("role \"{name}\" does not exist"));
        context.at_ident(&create.role, error)
    })?;
    if name != context.role {
        context.scope.access().check_admin(role, "CREATE API KEY")?;
    }
    Ok(role.clone())
}

/// `app_key`, or `app_key2` and on.
fn free_name(snapshot: &Snapshot, role: &Role) -> String {
    let first = format!("{}_key", role.header.name);
    let others = (2_usize..).map(|number| format!("{first}{number}"));
    let mut names = std::iter::once(first.clone()).chain(others);
    names.find(|name| snapshot.api_key(name).is_none()).expect("there are more numbers than keys")
}

fn answer(names: &[&str], keys: &[&str]) -> Result<RecordBatch> {
    let texts = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from_iter_values(texts)) };
    RecordBatch::try_new(schema(), vec![texts(names), texts(keys)])
        .map_err(|error| Error::internal("a new key as a row").with_source(error))
}
