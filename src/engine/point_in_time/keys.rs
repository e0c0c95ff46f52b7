//! Join keys as small numbers, so that rows are matched and ordered by integers whatever the keys are made of.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::row::RowConverter;
use datafusion::common::HashMap;
use datafusion::execution::memory_pool::MemoryReservation;

use super::row_groups::{convert, key_converter};
use crate::error::{Error, Result};

/// Stands for a key with a NULL in it, or one that is not known.
pub const NO_KEY: u32 = u32::MAX;
/// No row has this number.
pub const UNUSED: u32 = u32::MAX - 1;

/// Numbers for keys, from 0 on in the order in which they were first seen.
#[derive(Debug)]
pub struct KeyIndex {
    table: Table,
    memory: MemoryReservation,
}

#[derive(Debug)]
enum Table {
    /// one key column that is an integer
    Integers(HashMap<i64, u32>),
    /// any other, in arrow's row format
    Rows { converter: RowConverter, numbers: HashMap<Box<[u8]>, u32> },
}

impl KeyIndex {
    pub fn new(types: &[DataType], memory: MemoryReservation) -> Result<KeyIndex> {
        let table = match types {
            [DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32]
            | [DataType::Timestamp(TimeUnit::Microsecond, _)] => Table::Integers(HashMap::default()),
            _ => Table::Rows { converter: key_converter(types)?, numbers: HashMap::default() },
        };
        Ok(KeyIndex { table, memory })
    }

    pub fn len(&self) -> usize {
        match &self.table {
            Table::Integers(numbers) => numbers.len(),
            Table::Rows { numbers, .. } => numbers.len(),
        }
    }

    /// About how many bytes it holds.
    fn memory_bytes(&self) -> usize {
        match &self.table {
            Table::Integers(numbers) => numbers.allocation_size(),
            Table::Rows { numbers, .. } => {
                let key_bytes = numbers.keys().next().map_or(0, |key| key.len() + 16);
                numbers.allocation_size() + numbers.len() * key_bytes
            }
        }
    }

    /// The numbers of the keys in these columns; new keys get new ones.
    pub fn number(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let numbers = self.number_all(columns)?;
        self.memory.try_resize(self.memory_bytes())?;
        Ok(numbers)
    }

    fn number_all(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let too_many = || Error::internal("more than four thousand million keys");
        match &mut self.table {
            Table::Integers(numbers) => {
                let mut of_key = |key: i64| {
                    let next = u32::try_from(numbers.len()).ok().filter(|next| *next < UNUSED).ok_or_else(too_many)?;
                    Ok(*numbers.entry(key).or_insert(next))
                };
                integers(columns, &mut of_key)
            }
            Table::Rows { converter, numbers } => {
                let rows = convert(converter, columns)?;
                let mut found = Vec::with_capacity(rows.num_rows());
                for (row, key) in rows.iter().enumerate() {
                    if columns.iter().any(|column| column.is_null(row)) {
                        found.push(NO_KEY);
                        continue;
                    }
                    let number = match numbers.get(key.data()) {
                        Some(number) => *number,
                        None => {
                            let next = u32::try_from(numbers.len()).ok().filter(|next| *next < UNUSED);
                            let next = next.ok_or_else(too_many)?;
                            numbers.insert(key.data().into(), next);
                            next
                        }
                    };
                    found.push(number);
                }
                Ok(found)
            }
        }
    }

    /// The numbers of the keys in these columns; [`NO_KEY`] for those that have none.
    pub fn find(&self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        match &self.table {
            Table::Integers(numbers) => integers(columns, &mut |key| Ok(numbers.get(&key).copied().unwrap_or(NO_KEY))),
            Table::Rows { converter, numbers } => {
                let rows = convert(converter, columns)?;
                // files are often sorted by key: equal neighbours are looked up once
                let mut last: Option<(&[u8], u32)> = None;
                let mut found = Vec::with_capacity(rows.num_rows());
                for key in &rows {
                    let key = key.data();
                    let number = match last {
                        Some((same, number)) if same == key => number,
                        _ => numbers.get(key).copied().unwrap_or(NO_KEY),
                    };
                    last = Some((key, number));
                    found.push(number);
                }
                Ok(found)
            }
        }
    }
}

fn integers(columns: &[ArrayRef], of_key: &mut dyn FnMut(i64) -> Result<u32>) -> Result<Vec<u32>> {
    let column = columns.first().ok_or_else(|| Error::internal("a join without keys"))?;
    match column.data_type() {
        DataType::Int16 => numbers_of(column.as_primitive::<Int16Type>(), of_key),
        DataType::Int32 => numbers_of(column.as_primitive::<Int32Type>(), of_key),
        DataType::Date32 => numbers_of(column.as_primitive::<Date32Type>(), of_key),
        DataType::Int64 => numbers_of(column.as_primitive::<Int64Type>(), of_key),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            numbers_of(column.as_primitive::<TimestampMicrosecondType>(), of_key)
        }
        other => Err(Error::internal(format!("a key of type {other} where an integer was expected"))),
    }
}

fn numbers_of<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    of_key: &mut dyn FnMut(i64) -> Result<u32>,
) -> Result<Vec<u32>>
where
    T::Native: Into<i64>,
{
    let mut last: Option<(i64, u32)> = None;
    let mut found = Vec::with_capacity(column.len());
    for (row, key) in column.values().iter().enumerate() {
        if column.is_null(row) {
            found.push(NO_KEY);
            continue;
        }
        let key: i64 = (*key).into();
        let number = match last {
            Some((same, number)) if same == key => number,
            _ => of_key(key)?,
        };
        last = Some((key, number));
        found.push(number);
    }
    Ok(found)
}
