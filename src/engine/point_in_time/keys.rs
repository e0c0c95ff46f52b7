//! Join keys as small numbers, so that rows are matched and ordered by integers whatever the keys are made of.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::row::RowConverter;
use datafusion::common::{HashMap, ScalarValue};
use datafusion::execution::memory_pool::MemoryReservation;

use super::row_groups::{convert, key_converter};
use crate::error::{Error, Result};
use crate::row::{Key, bucket_of, value_at};

/// Stands for a key with a NULL in it, or one that is not known.
pub const NO_KEY: u32 = u32::MAX;

/// Integers that lie this much further apart than there are keys are not looked up by their place.
const DIRECT_SPREAD: u64 = 16;

/// Numbers for keys, from 0 on in the order in which they were first seen.
#[derive(Debug)]
pub struct KeyIndex {
    table: Table,
    /// of the first key column
    first_type: DataType,
    /// where rows are stored by bucket: how many there are, and the bucket of each key
    buckets: Option<(u32, Vec<u32>)>,
    memory: MemoryReservation,
}

#[derive(Debug)]
enum Table {
    /// one key column that is an integer
    Integers { numbers: HashMap<i64, u32>, direct: Option<Direct> },
    /// one key column that is a text
    Texts(HashMap<Box<str>, u32>),
    /// any other, in arrow's row format
    Rows { converter: RowConverter, numbers: HashMap<Box<[u8]>, u32> },
}

/// Integers that lie close together: the number of `least + i` is `numbers[i]`.
#[derive(Debug)]
struct Direct {
    least: i64,
    numbers: Vec<u32>,
}

impl Direct {
    fn of(known: &HashMap<i64, u32>) -> Option<Direct> {
        let least = *known.keys().min()?;
        let greatest = *known.keys().max()?;
        let spread = greatest.abs_diff(least);
        if spread >= (known.len() as u64).saturating_mul(DIRECT_SPREAD) {
            return None;
        }
        let mut numbers = vec![NO_KEY; usize::try_from(spread).ok()? + 1];
        for (key, number) in known {
            numbers[key.abs_diff(least) as usize] = *number;
        }
        Some(Direct { least, numbers })
    }

    fn find(&self, key: i64) -> u32 {
        let place = usize::try_from(i128::from(key) - i128::from(self.least)).ok();
        place.and_then(|place| self.numbers.get(place)).copied().unwrap_or(NO_KEY)
    }
}

impl KeyIndex {
    /// With `buckets`, the bucket of every key is kept too.
    pub fn new(types: &[DataType], buckets: Option<u32>, memory: MemoryReservation) -> Result<KeyIndex> {
        let table = match types {
            [DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32]
            | [DataType::Timestamp(TimeUnit::Microsecond, _)] => {
                Table::Integers { numbers: HashMap::default(), direct: None }
            }
            [DataType::Utf8] => Table::Texts(HashMap::default()),
            _ => Table::Rows { converter: key_converter(types)?, numbers: HashMap::default() },
        };
        let first_type = types.first().cloned().unwrap_or(DataType::Null);
        Ok(KeyIndex { table, first_type, buckets: buckets.map(|count| (count, Vec::new())), memory })
    }

    pub fn len(&self) -> usize {
        match &self.table {
            Table::Integers { numbers, .. } => numbers.len(),
            Table::Texts(numbers) => numbers.len(),
            Table::Rows { numbers, .. } => numbers.len(),
        }
    }

    /// About how many bytes it holds.
    fn memory_bytes(&self) -> usize {
        let of_heap = |key_bytes: Option<usize>, n: usize| n * key_bytes.map_or(0, |bytes| bytes + 16);
        let table = match &self.table {
            Table::Integers { numbers, direct } => {
                numbers.allocation_size() + direct.as_ref().map_or(0, |direct| direct.numbers.len() * size_of::<u32>())
            }
            Table::Texts(numbers) => {
                numbers.allocation_size() + of_heap(numbers.keys().next().map(|key| key.len()), numbers.len())
            }
            Table::Rows { numbers, .. } => {
                numbers.allocation_size() + of_heap(numbers.keys().next().map(|key| key.len()), numbers.len())
            }
        };
        table + self.buckets.as_ref().map_or(0, |(_, buckets)| buckets.len() * size_of::<u32>())
    }

    /// The numbers of the keys in these columns; new keys get new ones.
    pub fn number(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let before = self.len();
        let numbers = self.number_all(columns)?;
        if self.len() > before {
            self.note_buckets(columns, &numbers, before)?;
            self.memory.try_resize(self.memory_bytes())?;
        }
        Ok(numbers)
    }

    fn number_all(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        match &mut self.table {
            Table::Integers { numbers, .. } => integers(columns, &mut |key| {
                let next = next_number(numbers.len())?;
                Ok(*numbers.entry(key).or_insert(next))
            }),
            Table::Texts(numbers) => texts(columns, &mut |key| match numbers.get(key) {
                Some(number) => Ok(*number),
                None => {
                    let next = next_number(numbers.len())?;
                    numbers.insert(key.into(), next);
                    Ok(next)
                }
            }),
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
                            let next = next_number(numbers.len())?;
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

    /// Notes the buckets of keys numbered from `first` on, which stand in the columns.
    fn note_buckets(&mut self, columns: &[ArrayRef], numbers: &[u32], first: usize) -> Result<()> {
        let Some((count, buckets)) = &mut self.buckets else { return Ok(()) };
        debug_assert_eq!(buckets.len(), first);
        for (row, number) in numbers.iter().enumerate() {
            // new numbers ascend
            if *number != NO_KEY && *number as usize == buckets.len() {
                let values = columns.iter().map(|column| value_at(column.as_ref(), row)).collect::<Result<Vec<_>>>()?;
                let key = Key::encode(values.iter().map(Option::as_ref));
                let key = key.ok_or_else(|| Error::internal("a key with a NULL has a number"))?;
                buckets.push(bucket_of(&key, *count));
            }
        }
        Ok(())
    }

    /// Tells that no key is to be added.
    pub fn seal(&mut self) -> Result<()> {
        if let Table::Integers { numbers, direct } = &mut self.table {
            *direct = Direct::of(numbers);
        }
        Ok(self.memory.try_resize(self.memory_bytes())?)
    }

    /// The keys themselves, if they are no more than `limit` integers or texts.
    pub fn few(&self, limit: usize) -> Option<Vec<ScalarValue>> {
        match &self.table {
            _ if self.len() > limit => None,
            Table::Integers { numbers, .. } => {
                let values = numbers.keys().map(|key| ScalarValue::Int64(Some(*key)).cast_to(&self.first_type));
                values.collect::<datafusion::error::Result<_>>().ok()
            }
            Table::Texts(numbers) => Some(numbers.keys().map(|key| ScalarValue::from(key.as_ref())).collect()),
            Table::Rows { .. } => None,
        }
    }

    /// The buckets of the keys by number, if they are kept.
    pub fn buckets(&self) -> Option<&[u32]> {
        self.buckets.as_ref().map(|(_, buckets)| buckets.as_slice())
    }

    /// The numbers of all keys, in the order in which stored files are sorted.
    pub fn in_order(&self) -> Vec<u32> {
        fn sorted<K: Ord>(keys: impl Iterator<Item = (K, u32)>) -> Vec<u32> {
            let mut keys: Vec<(K, u32)> = keys.collect();
            keys.sort_unstable();
            keys.into_iter().map(|(_, number)| number).collect()
        }
        match &self.table {
            Table::Integers { numbers, .. } => sorted(numbers.iter().map(|(key, number)| (*key, *number))),
            Table::Texts(numbers) => sorted(numbers.iter().map(|(key, number)| (key.as_bytes(), *number))),
            Table::Rows { numbers, .. } => sorted(numbers.iter().map(|(key, number)| (key.as_ref(), *number))),
        }
    }

    /// The numbers of the keys in these columns; [`NO_KEY`] for those that have none.
    pub fn find(&self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        match &self.table {
            Table::Integers { direct: Some(direct), .. } => integers(columns, &mut |key| Ok(direct.find(key))),
            Table::Integers { numbers, .. } => {
                integers(columns, &mut |key| Ok(numbers.get(&key).copied().unwrap_or(NO_KEY)))
            }
            Table::Texts(numbers) => texts(columns, &mut |key| Ok(numbers.get(key).copied().unwrap_or(NO_KEY))),
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

fn next_number(known: usize) -> Result<u32> {
    u32::try_from(known)
        .ok()
        .filter(|next| *next < NO_KEY)
        .ok_or_else(|| Error::internal("more than four thousand million keys"))
}

fn only_column(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    columns.first().ok_or_else(|| Error::internal("a join without keys"))
}

fn texts(columns: &[ArrayRef], of_key: &mut impl FnMut(&str) -> Result<u32>) -> Result<Vec<u32>> {
    let column = only_column(columns)?;
    let keys = column.as_string_opt::<i32>().ok_or_else(|| unexpected(column.data_type()))?;
    let mut last: Option<(&str, u32)> = None;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let Some(key) = key else {
            found.push(NO_KEY);
            continue;
        };
        let number = match last {
            Some((same, number)) if same == key => number,
            _ => of_key(key)?,
        };
        last = Some((key, number));
        found.push(number);
    }
    Ok(found)
}

fn integers(columns: &[ArrayRef], of_key: &mut impl FnMut(i64) -> Result<u32>) -> Result<Vec<u32>> {
    let column = only_column(columns)?;
    match column.data_type() {
        DataType::Int16 => numbers_of(column.as_primitive::<Int16Type>(), of_key),
        DataType::Int32 => numbers_of(column.as_primitive::<Int32Type>(), of_key),
        DataType::Date32 => numbers_of(column.as_primitive::<Date32Type>(), of_key),
        DataType::Int64 => numbers_of(column.as_primitive::<Int64Type>(), of_key),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            numbers_of(column.as_primitive::<TimestampMicrosecondType>(), of_key)
        }
        other => Err(unexpected(other)),
    }
}

fn unexpected(data_type: &DataType) -> Error {
    Error::internal(format!("a key of type {data_type} where its numbers were not made of such"))
}

fn numbers_of<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    of_key: &mut impl FnMut(i64) -> Result<u32>,
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
