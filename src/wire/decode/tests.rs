//! Parameters as drivers send them. Every expected value and message is what PostgreSQL 15 makes of the same bytes.

use super::*;

fn decoded(oid: u32, format: Format, bytes: &[u8]) -> Result<Parameter> {
    let raw = Raw { number: 1, format, bytes: Some(Bytes::copy_from_slice(bytes)) };
    let planned = super::super::types::parameter_data_type(oid).expect("declared");
    decode(raw, ShownType::of_oid(oid).expect("known"), &planned)
}

fn text(oid: u32, text: &str) -> Value {
    let parameter = decoded(oid, Format::Text, text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    parameter.1.expect("not null")
}

fn error(oid: u32, text: &str) -> String {
    match decoded(oid, Format::Text, text.as_bytes()) {
        Ok(parameter) => format!("{:?}", parameter.1),
        Err(error) => format!("{} {}", error.sqlstate(), error.message()),
    }
}

fn binary(oid: u32, bytes: &[u8]) -> Value {
    decoded(oid, Format::Binary, bytes).expect("well-formed").1.expect("not null")
}

fn binary_error(oid: u32, bytes: &[u8]) -> String {
    let error = decoded(oid, Format::Binary, bytes).expect_err("malformed");
    format!("{} {}", error.sqlstate(), error.message())
}

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const JSONB: u32 = 3802;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const INTERVAL: u32 = 1186;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const INT4_ARRAY: u32 = 1007;
const TEXT_ARRAY: u32 = 1009;
const NUMERIC_ARRAY: u32 = 1231;

#[test]
fn a_null_has_the_planned_type() {
    let raw = Raw { number: 1, format: Format::Text, bytes: None };
    let parameter = decode(raw, ShownType::of_oid(INT4).expect("known"), &DataType::Int64).expect("a null");
    assert_eq!((parameter.0, parameter.1), (DataType::Int64, None));
}

#[test]
fn booleans() {
    for word in ["t", "TRUE", " yes ", "on", "1", "tr"] {
        assert_eq!(text(BOOL, word), Value::Bool(true), "{word}");
    }
    for word in ["f", "False", "no", "off", "of", "0"] {
        assert_eq!(text(BOOL, word), Value::Bool(false), "{word}");
    }
    assert_eq!(error(BOOL, "o"), "22P02 invalid input syntax for type boolean: \"o\"");
    assert_eq!(error(BOOL, ""), "22P02 invalid input syntax for type boolean: \"\"");
    assert_eq!(binary(BOOL, &[1]), Value::Bool(true));
}

#[test]
fn integers() {
    assert_eq!(text(INT4, " -7 "), Value::Int(-7));
    assert_eq!(error(INT4, "1.5"), "22P02 invalid input syntax for type integer: \"1.5\"");
    assert_eq!(error(INT2, "32768"), "22003 value \"32768\" is out of range for type smallint");
    assert_eq!(
        error(INT8, "9223372036854775808"),
        "22003 value \"9223372036854775808\" is out of range for type bigint"
    );
    assert_eq!(binary(INT2, &[0xff, 0xfe]), Value::Int(-2));
    assert_eq!(binary(INT8, &i64::MIN.to_be_bytes()), Value::Int(i64::MIN));
    assert_eq!(binary_error(INT4, &[0, 0]), "08P01 insufficient data left in message");
    assert_eq!(binary_error(INT4, &[0; 5]), "22P03 incorrect binary data format in bind parameter 1");
}

#[test]
fn floats() {
    assert_eq!(text(FLOAT8, "-1.5e3"), Value::Float(-1500.0));
    assert_eq!(text(FLOAT8, "nan"), Value::Float(f64::NAN));
    assert_eq!(text(FLOAT8, "-Infinity"), Value::Float(f64::NEG_INFINITY));
    assert_eq!(text(FLOAT4, "0.1"), Value::Float(f64::from(0.1_f32)));
    assert_eq!(error(FLOAT8, "1e400"), "22003 \"1e400\" is out of range for type double precision");
    assert_eq!(error(FLOAT8, "1e-400"), "22003 \"1e-400\" is out of range for type double precision");
    assert_eq!(error(FLOAT4, "1e39"), "22003 \"1e39\" is out of range for type real");
    assert_eq!(error(FLOAT8, "abc"), "22P02 invalid input syntax for type double precision: \"abc\"");
    assert_eq!(binary(FLOAT4, &1.5_f32.to_be_bytes()), Value::Float(1.5));
}

fn numeric(planned: DataType, number: &str) -> (DataType, Value) {
    let raw = Raw { number: 1, format: Format::Text, bytes: Some(Bytes::copy_from_slice(number.as_bytes())) };
    let parameter = decode(raw, ShownType::of_oid(NUMERIC).expect("known"), &planned).expect("a number");
    (parameter.0, parameter.1.expect("not null"))
}

#[test]
fn a_numeric_takes_the_planned_scale_only_if_it_stays_the_same() {
    let decimal = |scale| DataType::Decimal128(38, scale);
    assert_eq!(numeric(decimal(2), "1.5"), (decimal(2), Value::Decimal(150)));
    assert_eq!(numeric(decimal(2), "1.500"), (decimal(2), Value::Decimal(150)));
    assert_eq!(numeric(decimal(2), "1.505"), (decimal(3), Value::Decimal(1505)));
    let long = "12345678901234567890123456789012345678";
    assert_eq!(numeric(decimal(2), long), (decimal(0), Value::Decimal(long.parse().expect("fits"))));
    assert_eq!(numeric(DataType::Float64, "-1e-3"), (decimal(3), Value::Decimal(-1)));
    assert_eq!(numeric(decimal(2), "1e5"), (decimal(2), Value::Decimal(10_000_000)));
    assert_eq!(numeric(decimal(2), "-0.00"), (decimal(2), Value::Decimal(0)));
}

#[test]
fn numerics_that_cannot_be_held_are_refused() {
    assert_eq!(error(NUMERIC, "1.2.3"), "22P02 invalid input syntax for type numeric: \"1.2.3\"");
    assert_eq!(error(NUMERIC, "."), "22P02 invalid input syntax for type numeric: \".\"");
    assert_eq!(error(NUMERIC, "1e"), "22P02 invalid input syntax for type numeric: \"1e\"");
    for number in ["1e38", "1e-39", "1e2147483647", "1e99999999999", "123456789012345678901234567890123456789"] {
        assert!(error(NUMERIC, number).starts_with("22003"), "{number}");
    }
    assert!(error(NUMERIC, "NaN").starts_with("0A000"));
    let header = |count: u16, weight: i16, sign: u16| {
        [count.to_be_bytes(), weight.to_be_bytes(), sign.to_be_bytes(), [0, 0]].concat()
    };
    assert_eq!(binary_error(NUMERIC, &header(0, 0, 1)), "22P03 invalid sign in external \"numeric\" value");
    assert_eq!(binary_error(NUMERIC, &header(1, 0, 0)), "08P01 insufficient data left in message");
    let with_group = |weight, group: u16| [header(1, weight, 0), group.to_be_bytes().to_vec()].concat();
    assert!(binary_error(NUMERIC, &with_group(i16::MAX, 1)).starts_with("22003"));
    assert_eq!(binary_error(NUMERIC, &with_group(0, 10_000)), "22P03 invalid digit in external \"numeric\" value");
    assert!(binary_error(NUMERIC, &header(u16::MAX, 0, 0)).starts_with("08P01"));
}

#[test]
fn texts_and_bytes() {
    assert_eq!(text(TEXT, "grün"), Value::Text("grün".into()));
    assert_eq!(binary_error(TEXT, b"a\0b"), "22021 invalid byte sequence for encoding \"UTF8\": 0x00");
    assert_eq!(binary_error(TEXT, b"a\xffb"), "22021 invalid byte sequence for encoding \"UTF8\": 0xff");
    assert_eq!(text(BYTEA, "\\xDEad 00"), Value::Bytes([0xde, 0xad, 0][..].into()));
    assert_eq!(text(BYTEA, "a\\\\b\\001"), Value::Bytes(b"a\\b\x01"[..].into()));
    assert_eq!(error(BYTEA, "\\xa"), "22023 invalid hexadecimal data: odd number of digits");
    assert_eq!(error(BYTEA, "\\xgg"), "22023 invalid hexadecimal digit: \"g\"");
    assert_eq!(error(BYTEA, "\\9"), "22P02 invalid input syntax for type bytea");
}

#[test]
fn json_and_uuids_are_checked_texts() {
    assert_eq!(text(JSONB, "{\"a\": [1]}"), Value::Text("{\"a\": [1]}".into()));
    assert_eq!(binary(JSONB, b"\x01[]"), Value::Text("[]".into()));
    assert_eq!(error(JSONB, "[1"), "22P02 invalid input syntax for type json");
    assert!(binary_error(JSONB, b"\x02[]").starts_with("XX000"));
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    assert_eq!(text(UUID, "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}"), Value::Text(uuid.into()));
    let bytes = parse_uuid(uuid).expect("well-formed");
    assert_eq!(binary(UUID, &bytes), Value::Text(uuid.into()));
    assert!(error(UUID, "a0eebc99").starts_with("22P02 invalid input syntax for type uuid"));
}

const DAY: i64 = MICROS_PER_DAY;

#[test]
fn dates_and_times() {
    assert_eq!(text(DATE, "1970-01-02"), Value::Int(1));
    assert_eq!(text(DATE, "0001-12-31 BC"), Value::Int(-719_163));
    assert_eq!(text(DATE, "19700102"), Value::Int(1));
    assert_eq!(error(DATE, "2023-02-29"), "22008 date/time field value out of range: \"2023-02-29\"");
    assert_eq!(error(DATE, "someday"), "22007 invalid input syntax for type date: \"someday\"");
    assert_eq!(text(DATE, "January 2, 1970"), Value::Int(1));
    assert_eq!(binary(DATE, &1_i32.to_be_bytes()), Value::Int(10_958));
    assert_eq!(text(TIME, "24:00:00"), Value::Int(DAY));
    assert_eq!(text(TIME, "00:00:00.0000015"), Value::Int(2));
    assert_eq!(error(TIME, "24:00:01"), "22008 date/time field value out of range: \"24:00:01\"");
    assert_eq!(text(TIMESTAMP, "1970-01-01T00:00:01+05"), Value::Int(1_000_000), "its zone does not count");
    assert_eq!(text(TIMESTAMPTZ, "1970-01-01 05:30:01+05:30"), Value::Int(1_000_000));
    assert_eq!(text(TIMESTAMPTZ, "1970-01-01 00:00:01.5Z"), Value::Int(1_500_000));
    assert_eq!(text(TIMESTAMPTZ, "1969-12-31 23:59:59.999999"), Value::Int(-1));
    assert_eq!(binary(TIMESTAMPTZ, &0_i64.to_be_bytes()), Value::Int(EPOCH_US));
    assert_eq!(text(TIMESTAMPTZ, "infinity"), Value::Int(i64::MAX));
    assert_eq!(binary(TIMESTAMP, &i64::MIN.to_be_bytes()), Value::Int(i64::MIN));
    assert!(binary_error(TIMESTAMP, &(i64::MAX - 1).to_be_bytes()).starts_with("22008"));
    assert!(error(TIMESTAMP, "9999999-01-01").starts_with("22008"));
}

#[test]
fn intervals_are_microseconds_and_have_no_months() {
    for (written, micros) in [
        ("1 day 02:03:04.5", DAY + 7_384_500_000),
        ("-1 days +01:00", -DAY + 3_600_000_000),
        ("1h30m", 5_400_000_000),
        ("90 minutes ago", -5_400_000_000),
        ("P1DT2H", DAY + 7_200_000_000),
        ("2 weeks", 14 * DAY),
        ("1.5 s", 1_500_000),
        ("0 months 1 us", 1),
        ("3", 3_000_000),
    ] {
        assert_eq!(text(INTERVAL, written), Value::Int(micros), "{written}");
    }
    assert!(error(INTERVAL, "1 month").starts_with("0A000"));
    assert!(error(INTERVAL, "1 fortnight").starts_with("22007 invalid input syntax for type interval"));
    assert!(error(INTERVAL, "").starts_with("22007"));
    assert!(error(INTERVAL, "999999999999999 weeks").starts_with("22008"));
    let parts = |micros: i64, days: i32, months: i32| {
        [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat()
    };
    assert_eq!(binary(INTERVAL, &parts(5, 2, 0)), Value::Int(2 * DAY + 5));
    assert!(binary_error(INTERVAL, &parts(0, 0, 1)).starts_with("0A000"));
    assert!(binary_error(INTERVAL, &parts(i64::MAX, 1, 0)).starts_with("22008"));
}

fn texts(items: &[Option<&str>]) -> Value {
    Value::List(items.iter().map(|item| item.map(|item| Value::Text(item.into()))).collect())
}

#[test]
fn arrays_from_text() {
    let ints = |items: &[Option<i64>]| Value::List(items.iter().map(|item| item.map(Value::Int)).collect());
    assert_eq!(text(INT4_ARRAY, " { 1 , NULL,3} "), ints(&[Some(1), None, Some(3)]));
    assert_eq!(text(INT4_ARRAY, "{}"), ints(&[]));
    assert_eq!(text(INT4_ARRAY, "[0:1]={1,2}"), ints(&[Some(1), Some(2)]));
    assert_eq!(text(TEXT_ARRAY, "{a b,\"\",\"NULL\",null}"), texts(&[Some("a b"), Some(""), Some("NULL"), None]));
    assert_eq!(text(TEXT_ARRAY, r#"{"q\"\\", a\,b ,\NULL}"#), texts(&[Some("q\"\\"), Some("a,b"), Some("NULL")]));
    for malformed in ["", "1,2", "{1,2", "{1,,2}", "{,}", "{1}x", "{\"a\"b}", "{\"a", "{a\"b\"}", "{a}}"] {
        assert!(error(TEXT_ARRAY, malformed).starts_with("22P02 malformed array literal"), "{malformed}");
    }
    assert!(error(INT4_ARRAY, "{{1}}").starts_with("0A000"));
    assert!(error(INT4_ARRAY, "{a}").starts_with("22P02 invalid input syntax for type integer"));
}

#[test]
fn numeric_arrays_share_a_scale() {
    let parameter = decoded(NUMERIC_ARRAY, Format::Text, b"{1.5,NULL,2.25}").expect("numbers");
    assert_eq!(parameter.0, DataType::new_list(DataType::Decimal128(38, 2), true));
    let items = [Some(Value::Decimal(150)), None, Some(Value::Decimal(225))];
    assert_eq!(parameter.1, Some(Value::List(items.into())));
}

#[test]
fn arrays_from_binary() {
    let words = |words: &[i32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let good = words(&[1, 1, 23, 2, 1, 4, 7, -1]);
    assert_eq!(binary(INT4_ARRAY, &good), Value::List([Some(Value::Int(7)), None].into()));
    assert_eq!(binary(INT4_ARRAY, &words(&[0, 0, 23])), Value::List([].into()));
    for length in 0..good.len() {
        assert!(decoded(INT4_ARRAY, Format::Binary, &good[..length]).is_err());
    }
    assert!(binary_error(INT4_ARRAY, &words(&[7, 0, 23])).starts_with("22P03"));
    assert!(binary_error(INT4_ARRAY, &words(&[-1, 0, 23])).starts_with("22P03"));
    assert!(binary_error(INT4_ARRAY, &words(&[1, 0, 20, 0, 1])).starts_with("42804"));
    assert!(binary_error(INT4_ARRAY, &words(&[2, 0, 23, 1, 1, 1, 1, 4, 1])).starts_with("0A000"));
    assert!(binary_error(INT4_ARRAY, &words(&[1, 0, 23, i32::MAX, 1])).starts_with("08P01"));
    assert!(binary_error(INT4_ARRAY, &words(&[1, 0, 23, -5, 1])).starts_with("22P03"));
    assert_eq!(binary(TEXT_ARRAY, &[words(&[1, 0, 1043, 1, 1, 1]), b"x".to_vec()].concat()), texts(&[Some("x")]));
}
