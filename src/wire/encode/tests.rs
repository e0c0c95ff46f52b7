//! Arrow arrays as clients see them. What PostgreSQL has a type for was compared with PostgreSQL 15's own output.

use std::collections::HashMap;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, Field, Float16Type, Int32Type, IntervalDayTime, IntervalMonthDayNano, Schema,
    TimestampMillisecondType, TimestampNanosecondType, i256,
};

use super::super::output::HIGH_WATER;
use super::super::types::{TYPE_KEY, columns_of};
use super::*;

fn batch(array: ArrayRef, pg_type: Option<&str>) -> (RecordBatch, Vec<Column>) {
    let mut field = Field::new("c", array.data_type().clone(), true);
    if let Some(name) = pg_type {
        field = field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), name.to_owned())]));
    }
    let schema = Arc::new(Schema::new(vec![field]));
    let columns = columns_of(&schema).expect("shown");
    (RecordBatch::try_new(schema, vec![array]).expect("one column"), columns)
}

/// Every row in a format; NULL is `None`.
fn encoded(array: ArrayRef, pg_type: Option<&str>, format: Format) -> Result<Vec<Option<Vec<u8>>>> {
    let (batch, columns) = batch(array, pg_type);
    let rows = Rows::new(&batch, &columns, &Formats::All(format))?;
    (0..batch.num_rows())
        .map(|row| {
            let mut body = BytesMut::new();
            let RowCells::Arrays(columns) = &rows.cells else { panic!("a batch has arrays") };
            columns[0].0.put(row, format, &mut body)?;
            let length = i32::from_be_bytes(body[..4].try_into().expect("four bytes"));
            assert_eq!(usize::try_from(length).unwrap_or(0), body.len() - 4);
            Ok((length >= 0).then(|| body[4..].to_vec()))
        })
        .collect()
}

fn shown_as(array: impl Array + 'static, pg_type: Option<&str>) -> Vec<String> {
    let rows = encoded(Arc::new(array), pg_type, Format::Text).expect("encodes");
    let text = |bytes: Option<Vec<u8>>| bytes.map_or("NULL".into(), |b| String::from_utf8(b).expect("UTF-8"));
    rows.into_iter().map(text).collect()
}

fn shown(array: impl Array + 'static) -> Vec<String> {
    shown_as(array, None)
}

fn binary(array: impl Array + 'static) -> Vec<Option<Vec<u8>>> {
    encoded(Arc::new(array), None, Format::Binary).expect("encodes")
}

fn oid(array: impl Array + 'static) -> u32 {
    batch(Arc::new(array), None).1[0].shown.oid()
}

#[test]
fn booleans_and_integers() {
    assert_eq!(shown(BooleanArray::from(vec![Some(true), Some(false), None])), ["t", "f", "NULL"]);
    assert_eq!(shown(Int8Array::from(vec![-128])), ["-128"]);
    assert_eq!(shown(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(binary(UInt8Array::from(vec![255])), [Some(vec![0, 255])]);
    assert_eq!(binary(UInt16Array::from(vec![65_535])), [Some(vec![0, 0, 255, 255])]);
    assert_eq!(binary(UInt32Array::from(vec![u32::MAX])), [Some(vec![0, 0, 0, 0, 255, 255, 255, 255])]);
    assert_eq!(binary(Int64Array::from(vec![Some(-1), None])), [Some(vec![255; 8]), None]);
    let oids = [oid(Int8Array::from(vec![1])), oid(UInt32Array::from(vec![1])), oid(UInt64Array::from(vec![1]))];
    assert_eq!(oids, [21, 20, 1700]);
}

#[test]
fn floats_are_shortest_and_even() {
    let doubles = vec![
        0.0,
        -0.0,
        1.0,
        0.1,
        1e14,
        1e15,
        1e20,
        1e23,
        8e23,
        1e-4,
        1e-5,
        1.5e300,
        5e-324,
        2_f64.powi(-25),
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        123_456_789_012_345.6,
        9_007_199_254_740_993.0,
        71_153_622_302_258_700.0,
    ];
    let expected = [
        "0",
        "-0",
        "1",
        "0.1",
        "100000000000000",
        "1e+15",
        "1e+20",
        "9.999999999999999e+22",
        "7.999999999999999e+23",
        "0.0001",
        "1e-05",
        "1.5e+300",
        "5e-324",
        "2.9802322387695312e-08",
        "NaN",
        "Infinity",
        "-Infinity",
        "123456789012345.6",
        "9.007199254740992e+15",
        "7.1153622302258704e+16",
    ];
    assert_eq!(shown(Float64Array::from(doubles)), expected);
    let singles = vec![1e5, 1e6, 289_959.62, 0.1, 1.1e-5, 4.0743e8, -3_522_950.2];
    let expected = ["100000", "1e+06", "289959.62", "0.1", "1.1e-05", "4.0743002e+08", "-3.5229502e+06"];
    assert_eq!(shown(Float32Array::from(singles)), expected);
    assert_eq!(shown(Float16Array::from(vec![<Float16Type as ArrowPrimitiveType>::Native::from_f32(1.5)])), ["1.5"]);
}

#[test]
fn decimals_in_text() {
    let decimal = |scale, values: Vec<i128>| {
        Decimal128Array::from(values).with_precision_and_scale(38, scale).expect("a decimal type")
    };
    assert_eq!(shown(decimal(2, vec![0, 5, -5, 123, -12345])), ["0.00", "0.05", "-0.05", "1.23", "-123.45"]);
    assert_eq!(shown(decimal(0, vec![i128::from(i64::MIN)])), ["-9223372036854775808"]);
    assert_eq!(shown(decimal(-2, vec![0, 7, -7])), ["0", "700", "-700"]);
    let widest = 10_i128.pow(38) - 1;
    assert_eq!(shown(decimal(38, vec![widest])), [format!("0.{}", "9".repeat(38))]);
    let wide = Decimal256Array::from(vec![i256::from_i128(-12345)]).with_precision_and_scale(76, 3).expect("a type");
    assert_eq!(shown(wide), ["-12.345"]);
    assert_eq!(shown(Decimal32Array::from(vec![15]).with_precision_and_scale(9, 1).expect("a type")), ["1.5"]);
}

#[test]
fn decimals_in_binary() {
    let decimal = |scale, value: i128| {
        let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).expect("a decimal type");
        let words = binary(array).remove(0).expect("not null");
        words.chunks(2).map(|word| i16::from_be_bytes([word[0], word[1]])).collect::<Vec<_>>()
    };
    // number of groups, weight, sign, scale, groups
    assert_eq!(decimal(2, 0), [0, 0, 0, 2]);
    assert_eq!(decimal(2, 110), [2, 0, 0, 2, 1, 1000]);
    assert_eq!(decimal(5, 1), [1, -2, 0, 5, 1000]);
    assert_eq!(decimal(0, 10_000), [1, 1, 0, 0, 1]);
    assert_eq!(decimal(0, -100_020_003), [3, 2, 0x4000, 0, 1, 2, 3]);
    assert_eq!(decimal(3, 123_456_789), [3, 1, 0, 3, 12, 3456, 7890]);
    assert_eq!(decimal(-3, 12), [2, 1, 0, 0, 1, 2000]);
}

#[test]
fn texts_and_bytes() {
    assert_eq!(shown(StringArray::from(vec![Some("a"), None, Some("")])), ["a", "NULL", ""]);
    assert_eq!(shown(LargeStringArray::from(vec!["ü"])), ["ü"]);
    assert_eq!(shown(StringViewArray::from(vec!["a text that is too long to be inlined"]))[0].len(), 37);
    assert_eq!(shown(BinaryArray::from(vec![&b"\xde\xad"[..], b""])), ["\\xdead", "\\x"]);
    assert_eq!(binary(BinaryViewArray::from(vec![&b"\x00\x01"[..]])), [Some(vec![0, 1])]);
    let fixed = FixedSizeBinaryArray::try_from_iter([[1_u8, 2]].into_iter()).expect("two bytes each");
    assert_eq!(shown(fixed), ["\\x0102"]);
    assert_eq!(shown(NullArray::new(2)), ["NULL", "NULL"]);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    assert_eq!(shown(dictionary), ["a", "NULL", "a"]);
}

#[test]
fn dates_and_times() {
    let days = Date32Array::from(vec![0, -719_163, -719_162, 2_932_896, 2_932_897]);
    assert_eq!(shown(days), ["1970-01-01", "0001-12-31 BC", "0001-01-01", "9999-12-31", "10000-01-01"]);
    assert_eq!(shown(Date64Array::from(vec![86_400_000])), ["1970-01-02"]);
    assert_eq!(binary(Date32Array::from(vec![10_958])), [Some(vec![0, 0, 0, 1])]);
    let times = Time64MicrosecondArray::from(vec![0, 1, 500_000, 86_399_999_999, 86_400_000_000]);
    assert_eq!(shown(times), ["00:00:00", "00:00:00.000001", "00:00:00.5", "23:59:59.999999", "24:00:00"]);
    assert_eq!(shown(Time32SecondArray::from(vec![3_661])), ["01:01:01"]);
    assert_eq!(shown(Time64NanosecondArray::from(vec![1_999])), ["00:00:00.000001"]);
}

#[test]
fn timestamps() {
    let stamps = vec![0, -1, 1_704_067_200_000_000, 1_500_000, -62_135_596_800_000_001];
    let plain = TimestampMicrosecondArray::from(stamps.clone());
    let expected = [
        "1970-01-01 00:00:00",
        "1969-12-31 23:59:59.999999",
        "2024-01-01 00:00:00",
        "1970-01-01 00:00:01.5",
        "0001-12-31 23:59:59.999999 BC",
    ];
    assert_eq!(shown(plain), expected);
    let zoned = TimestampMicrosecondArray::from(stamps).with_timezone("America/New_York");
    assert_eq!(shown(zoned.clone())[2], "2024-01-01 00:00:00+00");
    assert_eq!(shown(zoned.clone())[4], "0001-12-31 23:59:59.999999+00 BC");
    assert_eq!(oid(zoned), 1184);
    assert_eq!(shown(PrimitiveArray::<TimestampMillisecondType>::from(vec![1])), ["1970-01-01 00:00:00.001"]);
    assert_eq!(shown(PrimitiveArray::<TimestampNanosecondType>::from(vec![1_999])), ["1970-01-01 00:00:00.000001"]);
    let epoch = TimestampMicrosecondArray::from(vec![EPOCH_US + 1]);
    assert_eq!(binary(epoch), [Some(vec![0, 0, 0, 0, 0, 0, 0, 1])]);
}

#[test]
fn what_postgresql_cannot_hold_is_an_error() {
    let error = |array: ArrayRef| encoded(array, None, Format::Binary).expect_err("out of range").sqlstate();
    assert_eq!(error(Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN + 1]))), "22008");
    assert_eq!(error(Arc::new(TimestampSecondArray::from(vec![i64::MAX]))), "22008");
    assert_eq!(error(Arc::new(Date32Array::from(vec![i32::MIN + 1]))), "22008");
    assert_eq!(error(Arc::new(Time64MicrosecondArray::from(vec![-1]))), "22008");
    let ends = Arc::new(Date32Array::from(vec![i32::MIN, i32::MIN + 1, i32::MAX]));
    let text = encoded(ends, None, Format::Text).expect("any date has a text");
    let text: Vec<_> = text.iter().map(|text| text.as_deref().map(String::from_utf8_lossy)).collect();
    assert_eq!(text, [Some("-infinity".into()), Some("5877642-06-24 BC".into()), Some("infinity".into())]);
}

#[test]
fn intervals() {
    let interval = |months, days, nanoseconds| {
        let array = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano { months, days, nanoseconds }]);
        shown(array).remove(0)
    };
    let hour = 3_600_000_000_000;
    assert_eq!(interval(0, 0, 0), "00:00:00");
    assert_eq!(interval(14, 3, hour), "1 year 2 mons 3 days 01:00:00");
    assert_eq!(interval(-14, 3, -hour), "-1 years -2 mons +3 days -01:00:00");
    assert_eq!(interval(1, -1, hour), "1 mon -1 days +01:00:00");
    assert_eq!(interval(-1, 1, hour), "-1 mons +1 day 01:00:00");
    assert_eq!(interval(0, 0, 100 * hour + 1_000), "100:00:00.000001");
    assert_eq!(interval(12, 0, 0), "1 year");
    assert_eq!(shown(DurationSecondArray::from(vec![-90])), ["-00:01:30"]);
    assert_eq!(shown(IntervalYearMonthArray::from(vec![25])), ["2 years 1 mon"]);
    let day_time = IntervalDayTimeArray::from(vec![IntervalDayTime { days: 1, milliseconds: 1_500 }]);
    assert_eq!(shown(day_time), ["1 day 00:00:01.5"]);
    let parts = binary(DurationMicrosecondArray::from(vec![1])).remove(0).expect("not null");
    assert_eq!(parts, [&1_i64.to_be_bytes()[..], &[0; 8]].concat());
}

fn list(items: ArrayRef, lengths: &[usize]) -> ListArray {
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    ListArray::new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), items, None)
}

#[test]
fn lists_are_arrays() {
    let words =
        [Some("a"), None, Some("b c"), Some(""), Some("null"), Some("q\"\\"), Some("{}"), Some("x,y"), Some("z")];
    let array = list(Arc::new(StringArray::from(words.to_vec())), &[3, 0, 6]);
    assert_eq!(shown(array.clone()), ["{a,NULL,\"b c\"}", "{}", "{\"\",\"null\",\"q\\\"\\\\\",\"{}\",\"x,y\",z}"]);
    assert_eq!(oid(array), 1009);
    let numbers = list(Arc::new(Int32Array::from(vec![Some(7), None])), &[2, 0]);
    let expected = [1_i32, 1, 23, 2, 1, 4, 7, -1].map(i32::to_be_bytes).concat();
    assert_eq!(binary(numbers), [Some(expected), Some([0_i32, 0, 23].map(i32::to_be_bytes).concat())]);
    let stamps = list(Arc::new(TimestampMicrosecondArray::from(vec![0])), &[1]);
    assert_eq!(shown(stamps), ["{\"1970-01-01 00:00:00\"}"]);
    let floats = Arc::new(Float32Array::from(vec![0.5, 1.0, 1.5, 2.0]));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let fixed = FixedSizeListArray::new(Arc::clone(&item), 2, floats, None);
    assert_eq!(shown(fixed.clone()), ["{0.5,1}", "{1.5,2}"]);
    assert_eq!(oid(fixed.clone()), 1021);
    assert_eq!(shown(fixed.slice(1, 1)), ["{1.5,2}"]);
    let bytes = list(Arc::new(BinaryArray::from(vec![&b"\x01"[..]])), &[1]);
    assert_eq!(shown(bytes), ["{\"\\\\x01\"}"]);
}

#[test]
fn nested_values_are_json() {
    let inner = list(Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])), &[2, 1]);
    let nested = list(Arc::new(inner), &[2]);
    assert_eq!(oid(nested.clone()), 3802);
    assert_eq!(shown(nested.clone()), ["[[1, null], [3]]"]);
    assert_eq!(binary(nested)[0].as_ref().map(|bytes| bytes[0]), Some(1), "the version of jsonb");

    let members: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("a \"b\"", DataType::Float64, true)), Arc::new(Float64Array::from(vec![1e20, f64::NAN]))),
        (Arc::new(Field::new("t", DataType::Utf8, true)), Arc::new(StringArray::from(vec![Some("x\n\u{1}ü"), None]))),
        (
            Arc::new(Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)),
            Arc::new(TimestampMicrosecondArray::from(vec![0, 0]).with_timezone("UTC")),
        ),
    ];
    let expected = [
        "{\"a \\\"b\\\"\": 1e+20, \"t\": \"x\\n\\u0001ü\", \"at\": \"1970-01-01T00:00:00+00:00\"}",
        "{\"a \\\"b\\\"\": \"NaN\", \"t\": null, \"at\": \"1970-01-01T00:00:00+00:00\"}",
    ];
    assert_eq!(shown(StructArray::from(members)), expected);

    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).expect("a map");
    map.append(false).expect("a null");
    assert_eq!(shown(map.finish()), ["{\"k\": 1}", "NULL"]);
}

#[test]
fn metadata_changes_what_is_shown() {
    let oids = || Arc::new(Int64Array::from(vec![4_294_967_295]));
    assert_eq!(encoded(oids(), Some("oid"), Format::Binary).expect("fits"), [Some(vec![255; 4])]);
    assert!(encoded(Arc::new(Int64Array::from(vec![-1])), Some("oid"), Format::Binary).is_err());
    assert_eq!(shown_as(StringArray::from(vec!["pg_class"]), Some("regclass")), ["pg_class"]);
    let refused = encoded(Arc::new(StringArray::from(vec!["pg_class"])), Some("regclass"), Format::Binary);
    assert_eq!(refused.expect_err("a name is no OID").sqlstate(), "42883");
    let key = list(Arc::new(Int32Array::from(vec![1, 3])), &[2]);
    assert_eq!(shown_as(key.clone(), Some("int2vector")), ["1 3"]);
    let vector =
        encoded(Arc::new(key), Some("int2vector"), Format::Binary).expect("encodes").remove(0).expect("a value");
    let expected = [&[1_i32, 0, 21, 2, 0].map(i32::to_be_bytes).concat()[..], &[0, 0, 0, 2, 0, 1, 0, 0, 0, 2, 0, 3]];
    assert_eq!(vector, expected.concat());
    assert_eq!(shown_as(Int64Array::from(vec![7]), Some("int2")), ["7"]);
    assert_eq!(
        encoded(Arc::new(Int64Array::from(vec![7])), Some("int2"), Format::Binary).expect("fits"),
        [Some(vec![0, 7])]
    );
    assert!(encoded(Arc::new(Int64Array::from(vec![70_000])), Some("int2"), Format::Text).is_err());
    let uuid = StringArray::from(vec!["00000000-0000-0000-0000-0000000000ff"]);
    let bytes = encoded(Arc::new(uuid), Some("uuid"), Format::Binary).expect("a uuid").remove(0).expect("a value");
    assert_eq!((bytes.len(), bytes[15]), (16, 255));
}

#[test]
fn rows_stop_at_what_was_asked_for_and_when_the_outbox_is_full() {
    let (batch, columns) = batch(Arc::new(Int32Array::from_iter_values(0..100_000)), None);
    let mut rows = Rows::new(&batch, &columns, &Formats::All(Format::Text)).expect("encodes");
    let mut out = Outbox::default();
    assert_eq!(rows.write(3, HIGH_WATER, &mut Shape::Data, &mut out).expect("writes"), 3);
    let written = rows.write(u64::MAX, HIGH_WATER, &mut Shape::Data, &mut out).expect("writes");
    assert!(out.is_high() && written < 10_000 && rows.left() > 0, "{written}");
}

#[test]
fn format_codes_are_none_one_or_one_each() {
    let formats = |codes: &[i16]| formats_of(codes, 2, || "mismatch".into()).map_err(|error| error.sqlstate());
    assert_eq!(formats(&[]), Ok(Formats::All(Format::Text)));
    assert_eq!(formats(&[1]), Ok(Formats::All(Format::Binary)));
    assert_eq!(formats(&[1, 0]), Ok(Formats::Each(vec![Format::Binary, Format::Text])));
    assert_eq!(formats(&[1, 0, 1]), Err("08P01"));
    assert_eq!(formats(&[2]), Err("22023"));
}
