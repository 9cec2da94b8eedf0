//! Thrift's compact protocol, as far as the footer and the page headers of a Parquet file are checked.
//!
//! The parquet crate decides by a field's number how it reads a field, whatever type the file gives it, and goes by the
//! type only where it does not know the number. So the tables say which type each field must have that the crate knows.

/// How a field is written.
pub(crate) enum Kind {
    Bool,
    Byte,
    /// An integer of 16, 32 or 64 bits.
    Number,
    Double,
    Text,
    List(&'static Kind),
    Struct(Fields),
    /// Text whose length is noted.
    Name,
    /// A number that is noted.
    Noted(Note),
}

/// What is noted of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// The length of a column's or group's name.
    Name,
    /// How many columns and groups a group has.
    Children,
    UncompressedSize,
    CompressedSize,
    /// How many values a page claims.
    Values,
    Encoding,
}

/// The fields of a structure, by their numbers; any others are skipped.
pub(crate) type Fields = &'static [(i16, Kind)];

const EMPTY: Kind = Kind::Struct(&[]);
const UNIT: Kind = Kind::Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);
const TIME: Kind = Kind::Struct(&[(1, Kind::Bool), (2, UNIT)]);
const LOGICAL_TYPE: Kind = Kind::Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Kind::Struct(&[(1, Kind::Number), (2, Kind::Number)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Kind::Struct(&[(1, Kind::Byte), (2, Kind::Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Kind::Struct(&[(1, Kind::Byte)])),
    (17, Kind::Struct(&[(1, Kind::Text)])),
    (18, Kind::Struct(&[(1, Kind::Text), (2, Kind::Number)])),
    (19, EMPTY),
]);
const SCHEMA_ELEMENT: Kind = Kind::Struct(&[
    (1, Kind::Number),
    (2, Kind::Number),
    (3, Kind::Number),
    (4, Kind::Name),
    (5, Kind::Noted(Note::Children)),
    (6, Kind::Number),
    (7, Kind::Number),
    (8, Kind::Number),
    (9, Kind::Number),
    (10, LOGICAL_TYPE),
]);
const STATISTICS: Kind = Kind::Struct(&[
    (1, Kind::Text),
    (2, Kind::Text),
    (3, Kind::Number),
    (4, Kind::Number),
    (5, Kind::Text),
    (6, Kind::Text),
    (7, Kind::Bool),
    (8, Kind::Bool),
    (9, Kind::Number),
]);
const BOX: Kind = Kind::Struct(&[
    (1, Kind::Double),
    (2, Kind::Double),
    (3, Kind::Double),
    (4, Kind::Double),
    (5, Kind::Double),
    (6, Kind::Double),
    (7, Kind::Double),
    (8, Kind::Double),
]);
const NUMBERS: Kind = Kind::List(&Kind::Number);
const THREE_NUMBERS: Kind =
    Kind::Struct(&[(1, Kind::Number), (2, Kind::Number), (3, Kind::Number)]);
const COLUMN_METADATA: Kind = Kind::Struct(&[
    (1, Kind::Number),
    (2, NUMBERS),
    (4, Kind::Number),
    (5, Kind::Number),
    (6, Kind::Number),
    (7, Kind::Number),
    (9, Kind::Number),
    (10, Kind::Number),
    (11, Kind::Number),
    (12, STATISTICS),
    (13, Kind::List(&THREE_NUMBERS)),
    (14, Kind::Number),
    (15, Kind::Number),
    (
        16,
        Kind::Struct(&[(1, Kind::Number), (2, NUMBERS), (3, NUMBERS)]),
    ),
    (17, Kind::Struct(&[(1, BOX), (2, NUMBERS)])),
]);
const COLUMN_CHUNK: Kind = Kind::Struct(&[
    (1, Kind::Text),
    (2, Kind::Number),
    (3, COLUMN_METADATA),
    (4, Kind::Number),
    (5, Kind::Number),
    (6, Kind::Number),
    (7, Kind::Number),
]);
const SORTING_COLUMN: Kind = Kind::Struct(&[(1, Kind::Number), (2, Kind::Bool), (3, Kind::Bool)]);
const ROW_GROUP: Kind = Kind::Struct(&[
    (1, Kind::List(&COLUMN_CHUNK)),
    (2, Kind::Number),
    (3, Kind::Number),
    (4, Kind::List(&SORTING_COLUMN)),
    (5, Kind::Number),
    (7, Kind::Number),
]);
const KEY_VALUE: Kind = Kind::Struct(&[(1, Kind::Text), (2, Kind::Text)]);

/// The footer.
pub(crate) const FILE_METADATA: Fields = &[
    (1, Kind::Number),
    (2, Kind::List(&SCHEMA_ELEMENT)),
    (3, Kind::Number),
    (4, Kind::List(&ROW_GROUP)),
    (5, Kind::List(&KEY_VALUE)),
    (6, Kind::Text),
    (7, Kind::List(&UNIT)),
];

/// What stands before each page; the crate skips its statistics.
pub(crate) const PAGE_HEADER: Fields = &[
    (1, Kind::Number),
    (2, Kind::Noted(Note::UncompressedSize)),
    (3, Kind::Noted(Note::CompressedSize)),
    (4, Kind::Number),
    (
        5,
        Kind::Struct(&[
            (1, Kind::Noted(Note::Values)),
            (2, Kind::Noted(Note::Encoding)),
            (3, Kind::Number),
            (4, Kind::Number),
        ]),
    ),
    (6, EMPTY),
    (
        7,
        Kind::Struct(&[
            (1, Kind::Noted(Note::Values)),
            (2, Kind::Noted(Note::Encoding)),
            (3, Kind::Bool),
        ]),
    ),
    (
        8,
        Kind::Struct(&[
            (1, Kind::Noted(Note::Values)),
            (2, Kind::Number),
            (3, Kind::Number),
            (4, Kind::Noted(Note::Encoding)),
            (5, Kind::Number),
            (6, Kind::Number),
            (7, Kind::Bool),
        ]),
    ),
];

/// How deep structures and lists may lie in each other; a footer needs about ten.
const DEEPEST: usize = 32;

/// What is wrong, as the end of a message.
pub(crate) type Fault = &'static str;

const CUT_SHORT: Fault = "its description ends early";
const WRONG_TYPE: Fault = "its description has a field of the wrong type";
const OUT_OF_ORDER: Fault = "its description has fields twice or out of order";
const TOO_DEEP: Fault = "its description is nested too deeply";
const TOO_LONG: Fault = "its description has a list or number that cannot be that long";

/// What was found in a structure.
pub(crate) struct Walked {
    /// In the order of the file.
    pub(crate) notes: Vec<(Note, i64)>,
    /// How many bytes the structure takes.
    pub(crate) length: usize,
}

/// Walks over the structure at the start of `bytes`, to which nothing is allocated but the notes.
pub(crate) fn walk(bytes: &[u8], fields: Fields) -> Result<Walked, Fault> {
    let mut walker = Walker {
        unread: bytes,
        notes: Vec::new(),
    };
    walker.structure(fields, DEEPEST)?;
    Ok(Walked {
        length: bytes.len() - walker.unread.len(),
        notes: walker.notes,
    })
}

struct Walker<'a> {
    unread: &'a [u8],
    notes: Vec<(Note, i64)>,
}

impl Walker<'_> {
    fn take(&mut self, count: u64) -> Result<(), Fault> {
        let count = usize::try_from(count).map_err(|_| CUT_SHORT)?;
        self.unread = self.unread.get(count..).ok_or(CUT_SHORT)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.unread.split_first().ok_or(CUT_SHORT)?;
        self.unread = rest;
        Ok(*first)
    }

    /// An unsigned number, seven bits a byte.
    fn varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(TOO_LONG)
    }

    fn number(&mut self) -> Result<i64, Fault> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn text(&mut self) -> Result<u64, Fault> {
        let length = self.varint()?;
        self.take(length)?;
        Ok(length)
    }

    /// The type and the number of a field; `None` at the end of the structure.
    fn field(&mut self, last: i16) -> Result<Option<(u8, i16)>, Fault> {
        let header = self.byte()?;
        let (step, kind) = (header >> 4, header & 0x0f);
        if kind == 0 {
            return Ok(None);
        }
        let id = match step {
            0 => self.number()? as i16,
            step => last.checked_add(i16::from(step)).ok_or(OUT_OF_ORDER)?,
        };
        Ok(Some((kind, id)))
    }

    fn structure(&mut self, fields: Fields, room: usize) -> Result<(), Fault> {
        let room = room.checked_sub(1).ok_or(TOO_DEEP)?;
        let mut last = 0;
        while let Some((kind, id)) = self.field(last)? {
            if id <= last {
                return Err(OUT_OF_ORDER);
            }
            last = id;
            match fields.iter().find(|(known, _)| *known == id) {
                Some((_, expected)) => self.known(expected, kind, room)?,
                None => self.skip(kind, room)?,
            }
        }
        Ok(())
    }

    /// A field or an element of a list whose type the crate knows.
    fn known(&mut self, expected: &Kind, kind: u8, room: usize) -> Result<(), Fault> {
        match (expected, kind) {
            (Kind::Bool, 1 | 2) => {}
            (Kind::Byte, 3) => self.take(1)?,
            (Kind::Number, 4..=6) => {
                self.varint()?;
            }
            (Kind::Noted(note), 4..=6) => {
                // The crate takes as much of the number as it has room for.
                let number = self.number()? as i32;
                self.notes.push((*note, number.into()));
            }
            (Kind::Double, 7) => self.take(8)?,
            (Kind::Text, 8) => {
                self.text()?;
            }
            (Kind::Name, 8) => {
                let length = self.text()?;
                self.notes
                    .push((Note::Name, i64::try_from(length).unwrap_or(i64::MAX)));
            }
            (Kind::List(element), 9) => {
                let room = room.checked_sub(1).ok_or(TOO_DEEP)?;
                let (kind, size) = self.list()?;
                for _ in 0..size {
                    self.known(element, kind, room)?;
                }
            }
            (&Kind::Struct(fields), 12) => self.structure(fields, room)?,
            _ => return Err(WRONG_TYPE),
        }
        Ok(())
    }

    /// The type and the number of a list's elements. No type that is let through takes less than a byte an element.
    fn list(&mut self) -> Result<(u8, u64), Fault> {
        let header = self.byte()?;
        let (size, kind) = (header >> 4, header & 0x0f);
        if header == 0 {
            return Ok((kind, 0));
        }
        let size = match size {
            15 => self.varint()?,
            size => size.into(),
        };
        self.check_size(size, kind)?;
        Ok((kind, size))
    }

    /// The crate takes the truth values in a list that it skips for none at all, and so would not come to an end.
    fn check_size(&self, size: u64, kind: u8) -> Result<(), Fault> {
        match kind {
            3..=13 if size <= self.unread.len() as u64 => Ok(()),
            3..=13 => Err(TOO_LONG),
            _ => Err(WRONG_TYPE),
        }
    }

    /// A field that the crate does not know.
    fn skip(&mut self, kind: u8, room: usize) -> Result<(), Fault> {
        let room = room.checked_sub(1).ok_or(TOO_DEEP)?;
        match kind {
            1 | 2 => {}
            3 => self.take(1)?,
            4..=6 => {
                self.varint()?;
            }
            7 => self.take(8)?,
            8 => {
                self.text()?;
            }
            9 | 10 => {
                let (kind, size) = self.list()?;
                for _ in 0..size {
                    self.skip(kind, room)?;
                }
            }
            11 => {
                let size = self.varint()?;
                if size > 0 {
                    let kinds = self.byte()?;
                    let (key, value) = (kinds >> 4, kinds & 0x0f);
                    self.check_size(size, key)?;
                    self.check_size(size, value)?;
                    for _ in 0..size {
                        self.skip(key, room)?;
                        self.skip(value, room)?;
                    }
                }
            }
            12 => {
                while let Some((kind, _)) = self.field(0)? {
                    self.skip(kind, room)?;
                }
            }
            13 => self.take(16)?,
            _ => return Err(WRONG_TYPE),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(bytes: &[u8], fields: Fields) -> Result<Vec<(Note, i64)>, Fault> {
        walk(bytes, fields).map(|walked| walked.notes)
    }

    #[test]
    fn a_page_header_is_understood() {
        // Type 0, 100 bytes, 50 of them compressed, and a data page of 7 values in the encoding 8, with statistics.
        let mut header = b"\x15\x00\x15\xc8\x01\x15\x64\x2c\x15\x0e\x15\x10".to_vec();
        header.extend_from_slice(b"\x15\x06\x15\x06\x1c\x18\x02ab\x00\x00\x00");
        let walked = walk(&[&header[..], b"page"].concat(), PAGE_HEADER).unwrap();
        assert_eq!(walked.length, header.len());
        let expected = [
            (Note::UncompressedSize, 100),
            (Note::CompressedSize, 50),
            (Note::Values, 7),
            (Note::Encoding, 8),
        ];
        assert_eq!(walked.notes, expected);
        for length in 0..header.len() {
            assert!(walk(&header[..length], PAGE_HEADER).is_err(), "{length}");
        }
    }

    #[test]
    fn what_would_mislead_the_crate_is_refused() {
        let cases: [(&[u8], Fault); 9] = [
            // The version as text, a field twice, and a list of integers in the place of the schema.
            (b"\x18\x01x\x00", WRONG_TYPE),
            (b"\x15\x02\x05\x02\x02\x00", OUT_OF_ORDER),
            (b"\x15\x02\x19\x15\x02\x00", WRONG_TYPE),
            // Truth values in a list that is not known, and a list that is longer than the file.
            (b"\xf9\xf2\xff\xff\xff\xff\x07\x00", WRONG_TYPE),
            (b"\xf9\xf3\xff\xff\xff\xff\x07\x00", TOO_LONG),
            // A map of truth values.
            (b"\xfb\xff\xff\xff\xff\x07\x11\x00", WRONG_TYPE),
            (
                b"\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
                TOO_LONG,
            ),
            (&[0xfc; 100], TOO_DEEP),
            (b"", CUT_SHORT),
        ];
        for (bytes, fault) in cases {
            assert_eq!(notes(bytes, FILE_METADATA), Err(fault), "{bytes:?}");
        }
    }
}
