//! What a feature relation asks for and what it gives: the keys and request columns that a query binds, and the
//! features. From the catalog alone, so that the lists of columns that clients see are made without planning.

use granary_catalog::{Column, FeatureService, Object, RealtimeView, ServiceMember, Snapshot};

use super::bound_view::BoundView;
use crate::error::{Error, Kind, Result};
use crate::row::type_name;

/// The columns of a feature relation, in the order of `*`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    pub keys: Vec<Column>,
    pub request: Vec<Column>,
    pub features: Vec<Column>,
}

/// A service's name of a member's feature.
fn member_feature(member: &ServiceMember, feature: &str) -> String {
    format!("{}__{feature}", member.alias)
}

impl Interface {
    /// Errors: 42809 for an object that is no feature relation, and what is wrong with a service's members.
    pub fn of(snapshot: &Snapshot, object: &Object) -> Result<Interface> {
        match object {
            Object::FeatureView(view) => Ok(Interface::of_view(&BoundView::of_feature_view(view)?)),
            Object::FeatureTable(table) => Ok(Interface::of_view(&BoundView::of_feature_table(table)?)),
            Object::RealtimeView(view) => Ok(Interface::of_realtime_view(view)),
            Object::FeatureService(service) => Interface::of_service(snapshot, service),
            other => Err(Error::new(
                Kind::WrongObjectType,
                format!("the {} \"{}\" has no features", other.kind().as_str(), other.name()),
            )
            .with_hint("name a feature view, a feature table or a realtime feature view")),
        }
    }

    pub fn of_view(view: &BoundView) -> Interface {
        let features = view.output.fields().iter().skip(view.keys.len());
        let features = features.map(|field| Column::new(field.name(), field.data_type().clone(), true)).collect();
        Interface { keys: view.keys.clone(), request: Vec::new(), features }
    }

    fn of_realtime_view(view: &RealtimeView) -> Interface {
        let features = view.features.iter();
        let features = features.map(|feature| Column::new(&feature.name, feature.data_type.clone(), true)).collect();
        Interface { keys: view.join_keys.clone(), request: view.request.clone(), features }
    }

    fn of_service(snapshot: &Snapshot, service: &FeatureService) -> Result<Interface> {
        let mut all = Interface::default();
        for member in &service.members {
            all.add_member(snapshot, member)?;
        }
        all.check_names()?;
        Ok(all)
    }

    /// Adds a member of a service: its keys under the service's names, its features under the member's.
    pub fn add_member(&mut self, snapshot: &Snapshot, member: &ServiceMember) -> Result<()> {
        let object = snapshot.get(member.view).ok_or_else(|| Error::internal("a member of a service is gone"))?;
        let own = Interface::of(snapshot, object)?;
        for (key, _) in &member.keys {
            if !own.keys.iter().any(|known| known.name == *key) {
                return Err(undefined("key", key, object.name(), &own.keys));
            }
        }
        for key in &own.keys {
            self.add_key(&Column::new(member.service_key(&key.name), key.data_type.clone(), true))?;
        }
        for column in &own.request {
            self.add_request(column)?;
        }
        for feature in chosen(member, &own.features, object.name())? {
            let name = member_feature(member, &feature.name);
            self.features.push(Column::new(name, feature.data_type.clone(), true));
        }
        Ok(())
    }

    /// Takes the keys and request columns of another relation, which are shared by name.
    pub fn add_inputs_of(&mut self, other: &Interface) -> Result<()> {
        other.keys.iter().try_for_each(|key| self.add_key(key))?;
        other.request.iter().try_for_each(|column| self.add_request(column))
    }

    /// The features that a member of a service takes of its view's, whose interface this is: the service's name of each,
    /// and the view's.
    pub fn features_of(&self, member: &ServiceMember) -> Result<Vec<(String, String)>> {
        let chosen = chosen(member, &self.features, &member.alias)?.into_iter();
        Ok(chosen.map(|feature| (member_feature(member, &feature.name), feature.name.clone())).collect())
    }

    fn add_key(&mut self, key: &Column) -> Result<()> {
        share(&mut self.keys, key, "join key")
    }

    pub fn add_request(&mut self, column: &Column) -> Result<()> {
        share(&mut self.request, column, "request column")
    }

    /// Refuses two columns of one name.
    pub fn check_names(&self) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        let kinds = [(&self.keys, "join key"), (&self.request, "request column"), (&self.features, "feature")];
        for (columns, kind) in kinds {
            if let Some(twice) = columns.iter().find(|column| !seen.insert(column.name.as_str())) {
                let message = format!("column name \"{}\" is used more than once", twice.name);
                let error = Error::new(Kind::DuplicateColumn, message);
                return Err(match kind {
                    "feature" => error.with_hint("give the feature, or the member, another name with AS"),
                    _ => error
                        .with_detail(format!("It is a {kind}, and something else."))
                        .with_hint("name the request column otherwise, or the key with KEYS (key = other)"),
                });
            }
        }
        Ok(())
    }

    pub fn into_columns(self) -> Vec<Column> {
        self.keys.into_iter().chain(self.request).chain(self.features).collect()
    }
}

/// Adds a column that others may have by the same name, and then of the same type.
fn share(columns: &mut Vec<Column>, column: &Column, kind: &str) -> Result<()> {
    match columns.iter().find(|known| known.name == column.name) {
        None => {
            columns.push(column.clone());
            Ok(())
        }
        Some(known) if known.data_type == column.data_type => Ok(()),
        Some(known) => Err(Error::new(
            Kind::DatatypeMismatch,
            format!(
                "{kind} \"{}\" is {} in one view and {} in another",
                column.name,
                type_name(&known.data_type),
                type_name(&column.data_type)
            ),
        )
        .with_hint("in a service, give one of them another name: KEYS (key = other)")),
    }
}

fn undefined(kind: &str, name: &str, relation: &str, known: &[Column]) -> Error {
    let names: Vec<&str> = known.iter().map(|column| column.name.as_str()).collect();
    let error = Error::new(Kind::UndefinedColumn, format!("\"{relation}\" has no {kind} \"{name}\""));
    if names.is_empty() { error } else { error.with_hint(format!("it has: {}", names.join(", "))) }
}

/// The features that a member of a service takes of its view's, in the member's order.
fn chosen<'a>(member: &ServiceMember, features: &'a [Column], view: &str) -> Result<Vec<&'a Column>> {
    let Some(names) = &member.features else { return Ok(features.iter().collect()) };
    let find = |name: &String| {
        let found = features.iter().find(|feature| feature.name == *name);
        found.ok_or_else(|| undefined("feature", name, view, features))
    };
    names.iter().map(find).collect()
}
