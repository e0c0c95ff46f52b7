//! Messages of pgoutput, protocol version 1, as bytes: what relations have, and which rows have changed.

use bytes::{Buf, Bytes};

use super::{Problem, Result};

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Null,
    /// in the server's text form
    Text(Bytes),
    /// stored apart and not changed: it is not sent again
    Unchanged,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// what rows of a table have from here on
    Relation {
        id: u32,
        columns: Vec<String>,
    },
    Insert {
        relation: u32,
        new: Vec<Field>,
    },
    Update {
        relation: u32,
        old: Option<Vec<Field>>,
        new: Vec<Field>,
    },
    Delete {
        relation: u32,
        old: Vec<Field>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// of types, origins, and what programs have written into the log
    Other,
}

/// Refuses what ends too early; bytes behind a message are ignored, as a later version may have them.
pub fn decode(mut bytes: Bytes) -> Result<Message> {
    let bytes = &mut bytes;
    Ok(match u8_of(bytes)? {
        b'R' => {
            let id = u32_of(bytes)?;
            let (_schema, _name, _identity) = (text_of(bytes)?, text_of(bytes)?, u8_of(bytes)?);
            let count = u16_of(bytes)?;
            let column = |_| {
                let (_is_key, name) = (u8_of(bytes)?, text_of(bytes)?);
                let (_type, _modifier) = (u32_of(bytes)?, u32_of(bytes)?);
                Ok(name)
            };
            Message::Relation { id, columns: (0..count).map(column).collect::<Result<_>>()? }
        }
        b'I' => {
            let relation = u32_of(bytes)?;
            expect(bytes, b'N')?;
            Message::Insert { relation, new: row_of(bytes)? }
        }
        b'U' => {
            let relation = u32_of(bytes)?;
            let old = match u8_of(bytes)? {
                b'K' | b'O' => {
                    let old = row_of(bytes)?;
                    expect(bytes, b'N')?;
                    Some(old)
                }
                b'N' => None,
                _ => return Err(malformed()),
            };
            Message::Update { relation, old, new: row_of(bytes)? }
        }
        b'D' => {
            let relation = u32_of(bytes)?;
            match u8_of(bytes)? {
                b'K' | b'O' => Message::Delete { relation, old: row_of(bytes)? },
                _ => return Err(malformed()),
            }
        }
        b'T' => {
            let (count, _options) = (u32_of(bytes)?, u8_of(bytes)?);
            Message::Truncate { relations: (0..count).map(|_| u32_of(bytes)).collect::<Result<_>>()? }
        }
        _ => Message::Other,
    })
}

fn row_of(bytes: &mut Bytes) -> Result<Vec<Field>> {
    let count = u16_of(bytes)?;
    let field = |_| {
        Ok(match u8_of(bytes)? {
            b'n' => Field::Null,
            b'u' => Field::Unchanged,
            b't' => {
                let length = usize::try_from(u32_of(bytes)?).map_err(|_| malformed())?;
                if bytes.len() < length {
                    return Err(malformed());
                }
                Field::Text(bytes.split_to(length))
            }
            _ => return Err(malformed()),
        })
    };
    (0..count).map(field).collect()
}

fn expect(bytes: &mut Bytes, tag: u8) -> Result<()> {
    if u8_of(bytes)? == tag { Ok(()) } else { Err(malformed()) }
}

fn u8_of(bytes: &mut Bytes) -> Result<u8> {
    bytes.try_get_u8().map_err(|_| malformed())
}

fn u16_of(bytes: &mut Bytes) -> Result<u16> {
    bytes.try_get_u16().map_err(|_| malformed())
}

fn u32_of(bytes: &mut Bytes) -> Result<u32> {
    bytes.try_get_u32().map_err(|_| malformed())
}

fn text_of(bytes: &mut Bytes) -> Result<String> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
    let text = bytes.split_to(end);
    bytes.advance(1);
    String::from_utf8(text.to_vec()).map_err(|_| malformed())
}

fn malformed() -> Problem {
    Problem::Failed("the server sent a change that cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELATION: &[u8] =
        b"R\0\0\x40\x01public\0t\0d\0\x02\x01k\0\0\0\0\x19\xff\xff\xff\xff\0v\0\0\0\0\x14\xff\xff\xff\xff";
    const UPDATE: &[u8] = b"U\0\0\x40\x01K\0\x02t\0\0\0\x01an\x4e\0\x02t\0\0\0\x02bbu";

    fn text(text: &'static str) -> Field {
        Field::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn messages_are_read_as_the_manual_has_them() {
        let relation = 0x4001;
        for (bytes, message) in [
            (RELATION, Message::Relation { id: relation, columns: vec!["k".into(), "v".into()] }),
            (b"I\0\0\x40\x01N\0\x02t\0\0\0\0n", Message::Insert { relation, new: vec![text(""), Field::Null] }),
            (
                UPDATE,
                Message::Update {
                    relation,
                    old: Some(vec![text("a"), Field::Null]),
                    new: vec![text("bb"), Field::Unchanged],
                },
            ),
            (b"U\0\0\x40\x01N\0\x01n", Message::Update { relation, old: None, new: vec![Field::Null] }),
            (b"D\0\0\x40\x01O\0\x01t\0\0\0\x01a", Message::Delete { relation, old: vec![text("a")] }),
            (b"T\0\0\0\x02\0\0\0\0\x01\0\0\x40\x01", Message::Truncate { relations: vec![1, relation] }),
            (b"Y\0\0", Message::Other),
        ] {
            assert_eq!(decode(Bytes::from_static(bytes)).expect("reads"), message);
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for message in [RELATION, UPDATE] {
            for end in 0..message.len() {
                assert!(decode(Bytes::from_static(&message[..end])).is_err(), "{end}");
            }
        }
        assert!(decode(Bytes::from_static(b"I\0\0\0\0X\0\0")).is_err());
        assert!(decode(Bytes::from_static(b"I\0\0\0\0N\0\x01x")).is_err());
    }
}
