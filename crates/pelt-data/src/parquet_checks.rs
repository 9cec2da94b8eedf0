//! What a Parquet file declares, checked before the parquet crate believes it.
//!
//! The crate reserves memory for as many groups, dictionary entries and values as a file claims, and follows groups in
//! groups as deep as they go.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{RowGroupReader, SerializedFileReader};

use crate::error::{DataError, first_line};
use crate::parquet_thrift::{FILE_METADATA, Fault, Note, PAGE_HEADER, walk};

/// The largest footer in bytes. A column of a group of rows takes about 150 of them.
const LARGEST_FOOTER: u64 = 16 * 1024 * 1024;

/// The most columns and groups of columns, the longest name of one in bytes, and how deep groups may lie in each other.
const MOST_ELEMENTS: usize = 10_000;
const LONGEST_NAME: i64 = 512;
const DEEPEST: usize = 32;

/// What the rows may take in memory: so much, and so many times the length of the file.
const LARGEST: u64 = 256 * 1024 * 1024;
const LARGEST_GROWTH: u64 = 1000;

/// At least what a value takes beside its text.
const VALUE: u64 = 64;

/// The encodings of text in differences, by their numbers. In them a value can be as long as all before it together,
/// and the crate reserves memory for as many values as they claim. The usual writers do not choose them unless told to.
const DELTA_ENCODINGS: [i64; 2] = [6, 7];

/// Opens a file whose footer has been checked.
pub(crate) fn reader(
    path: &Path,
    mut file: File,
) -> Result<(SerializedFileReader<File>, Allowance), DataError> {
    let failed = |reason| DataError::Read {
        path: path.to_owned(),
        reason,
    };
    let length = file.metadata().map_err(failed)?.len();
    let footer = footer(&mut file, length).map_err(failed)?;
    let footer = footer.ok_or_else(|| broken(path, "it does not end as one"))?;
    check_footer(&footer).map_err(|fault| broken(path, fault))?;
    let allowance = Allowance {
        path: path.to_owned(),
        length,
        left: LARGEST_GROWTH
            .saturating_mul(length)
            .saturating_add(LARGEST),
        file: file.try_clone().map_err(failed)?,
    };
    let reader = SerializedFileReader::new(file).map_err(|error| unreadable(path, &error))?;
    Ok((reader, allowance))
}

pub(crate) fn broken(path: &Path, message: &str) -> DataError {
    DataError::Parquet {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

pub(crate) fn unreadable(path: &Path, error: &ParquetError) -> DataError {
    broken(path, &first_line(&error.to_string()))
}

/// The footer's bytes; `None` where the file does not end with their length.
fn footer(file: &mut File, length: u64) -> io::Result<Option<Vec<u8>>> {
    let mut end = [0; 8];
    let Some(start) = length.checked_sub(end.len() as u64) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut end)?;
    let [a, b, c, d, magic @ ..] = end;
    let size = u64::from(u32::from_le_bytes([a, b, c, d]));
    if magic != *b"PAR1" || size > LARGEST_FOOTER || size > start {
        return Ok(None);
    }
    let mut footer = Vec::new();
    file.seek(SeekFrom::Start(start - size))?;
    file.take(size).read_to_end(&mut footer)?;
    Ok(Some(footer))
}

fn check_footer(footer: &[u8]) -> Result<(), Fault> {
    let notes = walk(footer, FILE_METADATA)?.notes;
    let mut children: Vec<i64> = Vec::new();
    for (note, value) in notes {
        if note == Note::Name {
            if value > LONGEST_NAME {
                return Err("a column has too long a name");
            }
            children.push(0);
        } else if let (Note::Children, Some(last)) = (note, children.last_mut()) {
            *last = value;
        }
    }
    if children.len() > MOST_ELEMENTS {
        return Err("it has too many columns");
    }
    // How many columns and groups are still to come in each group around the next one; the root is alone.
    let mut to_come: Vec<i64> = vec![1];
    for &count in &children {
        while to_come.last() == Some(&0) {
            to_come.pop();
        }
        let Some(left) = to_come.last_mut() else {
            return Err("its columns do not make up one tree");
        };
        *left -= 1;
        if !(0..=children.len() as i64).contains(&count) {
            return Err("a group claims more columns than there are");
        }
        if count > 0 {
            to_come.push(count);
        }
        if to_come.len() > DEEPEST {
            return Err("its columns are nested too deeply");
        }
    }
    Ok(())
}

/// What may still be read of a file.
pub(crate) struct Allowance {
    path: PathBuf,
    length: u64,
    /// In bytes of memory.
    left: u64,
    file: File,
}

impl Allowance {
    /// Notes that so many bytes are about to be kept.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), DataError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.out_of_proportion()),
        }
    }

    fn out_of_proportion(&self) -> DataError {
        let length = self.length;
        let message = format!("its rows unpack out of proportion to its {length} bytes");
        broken(&self.path, &message)
    }

    /// Checks the pages of a column in one group of rows, before any is unpacked. Gives the number of its values.
    pub(crate) fn check_chunk(&mut self, column: &ColumnChunkMetaData) -> Result<u64, DataError> {
        let (start, size) = column.byte_range();
        if start.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(broken(&self.path, "a column lies outside of the file"));
        }
        // Columns may lie in one another, so that even reading them could take for ever.
        self.take(size)?;
        let mut chunk = Vec::new();
        let read = self.file.seek(SeekFrom::Start(start));
        read.and_then(|_| (&mut self.file).take(size).read_to_end(&mut chunk))
            .map_err(|reason| DataError::Read {
                path: self.path.clone(),
                reason,
            })?;
        let mut values = 0;
        let mut unread = chunk.as_slice();
        while !unread.is_empty() {
            let page = PageHeader::read(unread).map_err(|fault| broken(&self.path, fault))?;
            if page.uncompressed > self.left {
                return Err(self.out_of_proportion());
            }
            self.take(page.values.saturating_mul(VALUE))?;
            values += page.values;
            unread = page.after;
        }
        Ok(values)
    }

    /// As [`Self::check_chunk`], for a column whose rows are put together by the crate, each at once.
    pub(crate) fn check_rows(
        &mut self,
        group: &dyn RowGroupReader,
        column: usize,
    ) -> Result<(), DataError> {
        let metadata = group.metadata().column(column);
        let values = self.check_chunk(metadata)?;
        // Where rows have no lists, each value of a row is counted once the row is there.
        if metadata.column_descr().max_rep_level() > 0 {
            let longest =
                longest_of_dictionary(group, column).map_err(|e| unreadable(&self.path, &e))?;
            self.take(values.saturating_mul(longest))?;
        }
        Ok(())
    }

    /// Leaves no more than so many bytes.
    #[cfg(test)]
    pub(crate) fn limit(&mut self, bytes: u64) {
        self.left = self.left.min(bytes);
    }
}

/// What the header of a page says.
struct PageHeader<'a> {
    uncompressed: u64,
    values: u64,
    /// What comes after the page.
    after: &'a [u8],
}

impl<'a> PageHeader<'a> {
    /// Reads the header at the start of `unread`.
    fn read(unread: &'a [u8]) -> Result<Self, Fault> {
        let header = walk(unread, PAGE_HEADER)?;
        let (mut uncompressed, mut compressed, mut values) = (0, 0, 0);
        for (note, number) in header.notes {
            if note == Note::Encoding {
                if DELTA_ENCODINGS.contains(&number) {
                    return Err("its text is written in differences, which are not read");
                }
                continue;
            }
            let number = u64::try_from(number).map_err(|_| "a page has a negative size")?;
            match note {
                Note::UncompressedSize => uncompressed = number,
                Note::CompressedSize => compressed = number,
                _ => values += number,
            }
        }
        let after = unread.get(header.length..).unwrap_or_default();
        let compressed = usize::try_from(compressed).map_err(|_| "a page is too large")?;
        Ok(Self {
            uncompressed,
            values,
            after: after.get(compressed..).ok_or("a page ends early")?,
        })
    }
}

/// The length of the longest text in a column's dictionary; zero where it has none.
fn longest_of_dictionary(group: &dyn RowGroupReader, column: usize) -> Result<u64, ParquetError> {
    let mut pages = group.get_column_page_reader(column)?;
    while let Some(page) = pages.get_next_page()? {
        let Page::DictionaryPage { buf, .. } = page else {
            continue;
        };
        let mut longest = 0;
        let mut unread: &[u8] = &buf;
        while let Some((length, after)) = unread.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length);
            unread = after.get(length as usize..).unwrap_or_default();
            longest = longest.max(length.min(u32::try_from(after.len()).unwrap_or(u32::MAX)));
        }
        return Ok(longest.into());
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer that has the version and these columns and groups, by the numbers of their children.
    fn footer_of(children: &[u8]) -> Vec<u8> {
        let mut footer = b"\x15\x02\x19\xfc".to_vec();
        // The length of the list in two bytes.
        footer.extend([children.len() as u8 | 0x80, (children.len() >> 7) as u8]);
        for count in children {
            // A name of one letter, and the number of children in one byte.
            footer.extend([0x48, 1, b'a', 0x15, count * 2, 0]);
        }
        footer.push(0);
        footer
    }

    #[test]
    fn columns_in_groups_make_up_one_shallow_tree() {
        let good: [&[u8]; 5] = [&[], &[0], &[2, 0, 0], &[2, 1, 0, 0], &[1, 1, 1, 0]];
        for good in good {
            check_footer(&footer_of(good)).unwrap();
        }
        assert!(check_footer(&footer_of(&[1; 31])).is_ok());
        let cases: [(&[u8], &str); 3] = [
            (&[63, 0], "more columns than there are"),
            (&[1, 0, 0], "one tree"),
            (&[1; 100], "too deeply"),
        ];
        for (children, expected) in cases {
            let fault = check_footer(&footer_of(children)).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
        // 2^31 - 1 children.
        let claim = b"\x15\x02\x19\x1c\x48\x01a\x15\xfe\xff\xff\xff\x0f\x00\x00";
        assert!(check_footer(claim).unwrap_err().contains("more columns"));
    }

    #[test]
    fn a_page_that_claims_what_it_cannot_have_is_refused() {
        // 10 bytes of which 4 are there, and a data page with values and encoding.
        let page = |values: &[u8], encoding: u8| {
            let mut page = b"\x15\x00\x15\x14\x15\x08\x2c\x15".to_vec();
            page.extend_from_slice(values);
            page.extend([0x15, encoding * 2, 0x15, 6, 0x15, 6, 0, 0]);
            page.extend(b"1234rest");
            page
        };
        let bytes = page(&[14], 8);
        let header = PageHeader::read(&bytes).unwrap();
        assert_eq!((header.values, header.uncompressed), (7, 10));
        assert_eq!(header.after, b"rest");
        assert!(PageHeader::read(&bytes[..bytes.len() - 5]).is_err());
        assert!(PageHeader::read(&page(&[13], 8)).is_err());
        assert!(PageHeader::read(&page(&[14], 6)).is_err());
        let most = page(b"\xfe\xff\xff\xff\x0f", 0);
        assert_eq!(PageHeader::read(&most).unwrap().values, 0x7fff_ffff);
    }
}
