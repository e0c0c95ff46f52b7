//! What a composite relation is made of: views that are read, each once for every way its keys are bound, and the
//! expressions of realtime views over those, each view once and after those that it reads.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, cast};
use futures::FutureExt;
use futures::future::BoxFuture;
use granary_catalog::{FeatureService, Object, ObjectId, RealtimeView};

use crate::engine::query::QueryPlanner;
use crate::engine::relation::interface::Interface;
use crate::engine::relation::realtime::{RealtimeQuery, request_column, time_column};
use crate::engine::relation::{BoundView, FeatureRelation, ReadMode};
use crate::error::{Error, Result};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    Key(usize),
    Request(usize),
    Time,
    /// a column of a view
    Read {
        read: usize,
        column: usize,
    },
    /// a feature of a realtime view
    Computed {
        step: usize,
        output: usize,
    },
    EffectiveTime,
    Status,
}

/// A view, and for each of its keys the composite's.
#[derive(Debug, Clone)]
pub struct KeyedRead {
    pub relation: Arc<FeatureRelation>,
    pub keys: Vec<usize>,
}

/// The expressions of one realtime view.
#[derive(Debug, Clone)]
pub struct Step {
    /// what the columns of the expressions are
    pub inputs: HashMap<Column, Place>,
    pub exprs: Vec<Expr>,
}

/// Features by name.
type Features = Vec<(String, Place)>;

/// The composite's number of each key of a view, by the view's name of it.
type Keys = HashMap<String, usize>;

/// Takes relations apart.
pub struct Parts<'a> {
    planner: &'a QueryPlanner,
    /// of the whole
    interface: &'a Interface,
    mode: &'a ReadMode,
    system_columns: bool,
    pub reads: Vec<KeyedRead>,
    pub steps: Vec<Step>,
    /// what was taken apart before, by the object and its keys in the order of its own
    known: HashMap<(ObjectId, Vec<usize>), Features>,
}

impl<'a> Parts<'a> {
    pub fn new(
        planner: &'a QueryPlanner,
        interface: &'a Interface,
        mode: &'a ReadMode,
        system_columns: bool,
    ) -> Parts<'a> {
        Parts { planner, interface, mode, system_columns, reads: Vec::new(), steps: Vec::new(), known: HashMap::new() }
    }

    /// The places of a service's features, in the order of its interface.
    pub async fn service(&mut self, service: &FeatureService) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for member in &service.members {
            let object = self.object(member.view)?;
            let own = Interface::of(&self.planner.scope.snapshot, &object)?;
            let keys = own.keys.iter().map(|key| Ok((key.name.clone(), self.key(member.service_key(&key.name))?)));
            let features = self.relation(self.planner, &object, keys.collect::<Result<Keys>>()?).await?;
            let place = |name: &String| {
                let found = features.iter().find(|(feature, _)| feature == name);
                found.map(|(_, place)| *place).ok_or_else(|| Error::internal(format!("feature {name} is gone")))
            };
            match &member.features {
                None => places.extend(features.iter().map(|(_, place)| *place)),
                Some(names) => places.extend(names.iter().map(place).collect::<Result<Vec<_>>>()?),
            }
        }
        Ok(places)
    }

    /// The places of a realtime view's own features.
    pub async fn realtime_view(&mut self, view: &RealtimeView) -> Result<Vec<Place>> {
        let keys = view.join_keys.iter().map(|key| Ok((key.name.clone(), self.key(&key.name)?)));
        let features = self.computed(self.planner, view, &keys.collect::<Result<Keys>>()?).await?;
        Ok(features.into_iter().map(|(_, place)| place).collect())
    }

    fn object(&self, id: ObjectId) -> Result<Arc<Object>> {
        let found = self.planner.scope.snapshot.get(id);
        found.cloned().ok_or_else(|| Error::internal("what a relation is made of is gone"))
    }

    fn key(&self, name: &str) -> Result<usize> {
        let found = self.interface.keys.iter().position(|key| key.name == name);
        found.ok_or_else(|| Error::internal(format!("join key {name} is gone")))
    }

    /// Boxed, since realtime views stand on each other.
    fn relation<'b>(
        &'b mut self,
        planner: &'b QueryPlanner,
        object: &'b Object,
        keys: Keys,
    ) -> BoxFuture<'b, Result<Features>> {
        async move {
            let own = Interface::of(&planner.scope.snapshot, object)?;
            let in_order = own.keys.iter().map(|key| keys.get(&key.name).copied());
            let in_order: Vec<usize> = in_order.collect::<Option<_>>().ok_or_else(|| Error::internal("no such key"))?;
            let known = (object.id(), in_order);
            if let Some(features) = self.known.get(&known) {
                return Ok(features.clone());
            }
            let features = match object {
                Object::FeatureView(view) => {
                    self.read(object, BoundView::of_feature_view(view)?, known.1.clone()).await?
                }
                Object::FeatureTable(table) => {
                    self.read(object, BoundView::of_feature_table(table)?, known.1.clone()).await?
                }
                Object::RealtimeView(view) => self.computed(&planner.nested()?, view, &keys).await?,
                other => return Err(Error::internal(format!("a {} is no member", other.kind().as_str()))),
            };
            self.known.insert(known, features.clone());
            Ok(features)
        }
        .boxed()
    }

    async fn read(&mut self, object: &Object, view: BoundView, keys: Vec<usize>) -> Result<Features> {
        if *self.mode == ReadMode::Now {
            self.planner.check_online(object)?;
        }
        let relation = FeatureRelation::new(self.planner, view, self.mode.clone(), self.system_columns).await?;
        let read = self.reads.len();
        let fields = relation.view.output.fields().iter().enumerate().skip(keys.len());
        let features = fields.map(|(column, field)| (field.name().clone(), Place::Read { read, column })).collect();
        self.reads.push(KeyedRead { relation: Arc::new(relation), keys });
        Ok(features)
    }

    async fn computed(&mut self, planner: &QueryPlanner, view: &RealtimeView, keys: &Keys) -> Result<Features> {
        let query = RealtimeQuery::parse(&view.query)?;
        let mut interfaces = Vec::with_capacity(view.depends_on.len());
        let mut inputs = HashMap::from([(time_column(), Place::Time)]);
        for (input, id) in query.inputs.iter().zip(&view.depends_on) {
            let object = self.object(*id)?;
            let interface = Interface::of(&planner.scope.snapshot, &object)?;
            for (name, place) in self.relation(planner, &object, keys.clone()).await? {
                inputs.insert(Column::new(Some(input.alias.as_str()), name), place);
            }
            for key in &interface.keys {
                let number = keys.get(&key.name).ok_or_else(|| Error::internal("no such key"))?;
                inputs.insert(Column::new(Some(input.alias.as_str()), &key.name), Place::Key(*number));
            }
            interfaces.push(interface);
        }
        for column in &view.request {
            let found = self.interface.request.iter().position(|known| known.name == column.name);
            let number = found.ok_or_else(|| Error::internal(format!("request column {} is gone", column.name)))?;
            inputs.insert(request_column(&column.name), Place::Request(number));
        }
        let planned = query.plan(planner, &interfaces, &view.request)?;
        if planned.len() != view.features.len() {
            return Err(Error::internal("a realtime view has other features than its query"));
        }
        let exprs = planned.into_iter().zip(&view.features).map(|(planned, feature)| {
            // What the feature was declared with: the type that can be stored.
            match planned.column.data_type == feature.data_type {
                true => planned.expr,
                false => cast(planned.expr, feature.data_type.clone()),
            }
        });
        let step = self.steps.len();
        self.steps.push(Step { inputs, exprs: exprs.collect() });
        let names = view.features.iter().map(|feature| feature.name.clone()).enumerate();
        Ok(names.map(|(output, name)| (name, Place::Computed { step, output })).collect())
    }
}
