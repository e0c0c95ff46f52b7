//! Which rows of a stored table somebody wants, and what of it can be told from outside of the files: their buckets,
//! the times they hold. What is told by their footers and pages is a predicate for the Parquet reader.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr as PhysicalBinary, Column, in_list, lit};
use datafusion::physical_expr::{PhysicalExpr, conjunction_opt};

use crate::engine::relation::Bindings;
use crate::error::{Error, Result};
use crate::offline::{DataFile, Layout, OfflineTable};
use crate::row::{Key, Value, bucket_of, value_at};

/// More values of a key than this are pruned as a range: the reader looks at no longer lists.
const MAX_LISTED: usize = 20;
/// Combinations of key values whose buckets are worth computing.
const MAX_COMBINATIONS: usize = 1000;

/// The rows that are wanted. A plan for it gives all of them, and most likely others: files, row groups and pages are
/// left out, not rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Reach {
    /// Microseconds; `i64::MIN` and `i64::MAX` are no limit.
    pub times: Range<i64>,
    pub bucket: Option<u32>,
    /// Of each key column at most once; one that is not named may have any value.
    pub keys: Vec<KeyValues>,
    /// Whether the reader looks at the times (and keys) first and takes only the other columns of wanted rows: it pays
    /// where these are few.
    pub row_by_row: bool,
}

/// The values that are wanted of one key column, in its type.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValues {
    /// Its place among the key columns.
    pub key: usize,
    pub values: Vec<ScalarValue>,
}

impl Reach {
    pub const EVERYTHING: Reach =
        Reach { times: i64::MIN..i64::MAX, bucket: None, keys: Vec::new(), row_by_row: false };

    /// What the conjuncts of a query say of the time and the keys of a table.
    pub fn of_filters(filters: &[Expr], table: &Schema, layout: &Layout) -> Reach {
        let mut reach = Reach::EVERYTHING;
        let Layout::Keyed { time_column, key_columns, .. } = layout else { return reach };
        // a cast may move values: what a cast column is compared with says nothing of the column
        let plain: Vec<Expr> = filters.iter().filter(|filter| !has_cast(filter)).cloned().collect();
        for (operator, time_us) in plain.iter().filter_map(|filter| time_bound(filter, time_column)) {
            let (start_us, end_us) = match operator {
                Operator::GtEq => (time_us, i64::MAX),
                Operator::Gt => (time_us.saturating_add(1), i64::MAX),
                Operator::Lt => (i64::MIN, time_us),
                Operator::LtEq => (i64::MIN, time_us.saturating_add(1)),
                Operator::Eq => (time_us, time_us.saturating_add(1)),
                _ => continue,
            };
            reach.times = reach.times.start.max(start_us)..reach.times.end.min(end_us);
        }
        let key_type = |name: &str| {
            let is_key = key_columns.iter().any(|key| key == name);
            is_key.then(|| table.field_with_name(name).ok().map(|field| field.data_type().clone())).flatten()
        };
        let bound = Bindings::of(&plain, key_type);
        for (key, name) in key_columns.iter().enumerate() {
            if let Some(values) = bound.get(name) {
                reach.keys.push(KeyValues { key, values: values.clone() });
            }
        }
        reach
    }

    /// The files that may hold wanted rows.
    pub(super) fn files<'a>(&self, table: &'a OfflineTable) -> Result<Vec<&'a DataFile>> {
        let buckets = self.buckets(&table.layout)?;
        let wanted = |file: &&DataFile| {
            let in_bucket = match (file.bucket, &buckets) {
                (Some(bucket), Some(buckets)) => buckets.contains(&bucket),
                _ => true,
            };
            // an unknown bound may be anywhere
            let starts_in = file.min_time_us.is_none_or(|min_us| self.times.end == i64::MAX || min_us < self.times.end);
            let ends_in = file.max_time_us.is_none_or(|max_us| max_us >= self.times.start);
            in_bucket && starts_in && ends_in
        };
        Ok(table.files.iter().filter(wanted).collect())
    }

    /// The buckets that wanted rows can be in; None if that may be any.
    fn buckets(&self, layout: &Layout) -> Result<Option<HashSet<u32>>> {
        let Layout::Keyed { bucket_count, key_columns, .. } = layout else { return Ok(None) };
        let of_keys = self.buckets_of_keys(*bucket_count, key_columns.len())?;
        Ok(match (self.bucket, of_keys) {
            (Some(bucket), Some(of_keys)) => Some(of_keys.into_iter().filter(|found| *found == bucket).collect()),
            (Some(bucket), None) => Some(HashSet::from([bucket])),
            (None, of_keys) => of_keys,
        })
    }

    fn buckets_of_keys(&self, bucket_count: u32, n_keys: usize) -> Result<Option<HashSet<u32>>> {
        let columns: Option<Vec<&KeyValues>> =
            (0..n_keys).map(|key| self.keys.iter().find(|values| values.key == key)).collect();
        let Some(columns) = columns else { return Ok(None) };
        let combinations = columns.iter().try_fold(1usize, |product, key| product.checked_mul(key.values.len()));
        if combinations.is_none_or(|combinations| combinations > MAX_COMBINATIONS) {
            return Ok(None);
        }
        let mut keys: Vec<Vec<Value>> = vec![Vec::new()];
        for column in columns {
            let values =
                column.values.iter().map(|value| value_at(&value.to_array()?, 0)).collect::<Result<Vec<_>>>()?;
            let with = |key: &Vec<Value>, value: &Value| key.iter().chain([value]).cloned().collect::<Vec<_>>();
            keys = keys.iter().flat_map(|key| values.iter().flatten().map(|value| with(key, value))).collect();
        }
        let encoded = keys.iter().filter_map(|key| Key::encode(key.iter().map(Some)));
        Ok(Some(encoded.map(|key| bucket_of(&key, bucket_count)).collect()))
    }

    /// What the Parquet reader compares with statistics, page indexes and bloom filters.
    pub(super) fn predicate(&self, table: &OfflineTable) -> DataFusionResult<Option<Arc<dyn PhysicalExpr>>> {
        let Layout::Keyed { time_column, key_columns, .. } = &table.layout else { return Ok(None) };
        let schema = &table.file_schema;
        let mut conjuncts: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        let (time, time_type) = stored_column(schema, time_column)?;
        let at = |time_us: i64| ScalarValue::TimestampMicrosecond(Some(time_us), None).cast_to(&time_type);
        if self.times.start != i64::MIN {
            conjuncts.push(compare(&time, Operator::GtEq, at(self.times.start)?));
        }
        if self.times.end != i64::MAX {
            conjuncts.push(compare(&time, Operator::Lt, at(self.times.end)?));
        }
        for KeyValues { key, values } in &self.keys {
            let name = key_columns.get(*key).ok_or_else(|| Error::internal("a key that the table does not have"))?;
            let (column, data_type) = stored_column(schema, name)?;
            // statistics and bloom filters tell 0 from -0, and know nothing of NaN
            if values.is_empty() || matches!(data_type, DataType::Float32 | DataType::Float64) {
                continue;
            }
            let stored = values.iter().map(|value| value.cast_to(&data_type)).collect::<DataFusionResult<Vec<_>>>()?;
            if stored.len() <= MAX_LISTED {
                let list = stored.into_iter().map(lit).collect();
                conjuncts.push(in_list(column, list, &false, schema)?);
                continue;
            }
            let ascending = |a: &&ScalarValue, b: &&ScalarValue| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
            if let (Some(min), Some(max)) = (stored.iter().min_by(ascending), stored.iter().max_by(ascending)) {
                conjuncts.push(compare(&column, Operator::GtEq, min.clone()));
                conjuncts.push(compare(&column, Operator::LtEq, max.clone()));
            }
        }
        Ok(conjunction_opt(conjuncts))
    }
}

/// Whether a conjunct says something of a table's time or keys, so that it is worth being handed to the scan.
pub(super) fn says_something(filter: &Expr, table: &Schema, layout: &Layout) -> bool {
    Reach::of_filters(std::slice::from_ref(filter), table, layout) != Reach::EVERYTHING
}

fn stored_column(schema: &Schema, name: &str) -> DataFusionResult<(Arc<dyn PhysicalExpr>, DataType)> {
    let index = schema.index_of(name)?;
    Ok((Arc::new(Column::new(name, index)), schema.field(index).data_type().clone()))
}

fn compare(column: &Arc<dyn PhysicalExpr>, operator: Operator, value: ScalarValue) -> Arc<dyn PhysicalExpr> {
    Arc::new(PhysicalBinary::new(Arc::clone(column), operator, lit(value)))
}

fn has_cast(filter: &Expr) -> bool {
    filter.exists(|expr| Ok(matches!(expr, Expr::Cast(_) | Expr::TryCast(_)))).unwrap_or(true)
}

/// `column <operator> time`, whichever side it is written on.
fn time_bound(filter: &Expr, time_column: &str) -> Option<(Operator, i64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (column, operator, literal) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(literal, _)) => (column, *op, literal),
        (Expr::Literal(literal, _), Expr::Column(column)) => (column, op.swap()?, literal),
        _ => return None,
    };
    let ScalarValue::TimestampMicrosecond(Some(time_us), _) = literal else { return None };
    (column.name == time_column).then_some((operator, *time_us))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;
    use datafusion::logical_expr::{cast, col, lit};

    use super::*;
    use crate::engine::relation::time_type;

    fn at(time_us: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(time_us), Some("UTC".into())))
    }

    fn reach(filters: &[Expr]) -> Reach {
        let fields = [("k", DataType::Int64), ("name", DataType::Utf8), ("ts", time_type())];
        let schema = Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, false)).to_vec());
        let layout = Layout::Keyed {
            time_column: "ts".into(),
            bucket_count: 4,
            key_columns: vec!["k".to_owned(), "name".to_owned()],
        };
        Reach::of_filters(filters, &schema, &layout)
    }

    #[test]
    fn bounds_of_the_time_add_up() {
        let times = |filters: &[Expr]| reach(filters).times;
        assert_eq!(times(&[col("ts").gt_eq(at(3)), col("ts").lt(at(9)), col("ts").lt(at(12))]), 3..9);
        assert_eq!(times(&[at(3).lt(col("ts")), at(9).gt_eq(col("ts"))]), 4..10);
        assert_eq!(times(&[col("ts").eq(at(5))]), 5..6);
        assert_eq!(times(&[col("ts").gt(at(i64::MAX))]), i64::MAX..i64::MAX);
    }

    #[test]
    fn what_says_nothing_leaves_everything() {
        let days = cast(cast(col("ts"), DataType::Date32), time_type());
        for filter in [
            days.lt_eq(at(5)),
            cast(col("k"), DataType::Int16).eq(lit(5_i16)),
            col("ts").not_eq(at(5)),
            col("ts").lt(at(5)).or(col("k").eq(lit(1_i64))),
            col("other").eq(lit(1_i64)),
        ] {
            assert_eq!(reach(std::slice::from_ref(&filter)), Reach::EVERYTHING, "{filter}");
        }
    }

    #[test]
    fn keys_bound_by_constants_are_found() {
        let found = reach(&[col("k").in_list(vec![lit(1_i64), lit(2_i64)], false), col("name").eq(lit("x"))]);
        let expected = [
            KeyValues { key: 0, values: vec![ScalarValue::from(1_i64), ScalarValue::from(2_i64)] },
            KeyValues { key: 1, values: vec![ScalarValue::from("x")] },
        ];
        assert_eq!(found.keys, expected);
        let buckets = |reach: &Reach| reach.buckets_of_keys(4, 2).expect("is computed");
        assert!((1..=2).contains(&buckets(&found).expect("all keys are bound").len()));
        assert_eq!(buckets(&Reach { keys: found.keys[..1].to_vec(), ..Reach::EVERYTHING }), None);
        let none = Reach { keys: reach(&[col("k").eq(lit(ScalarValue::Int64(None)))]).keys, ..found };
        assert!(none.keys[0].values.is_empty());
    }
}
