//! How long texts are shortened, by the rules of Hugging Face's tokenizers.

use crate::error::DataError;

/// Which text of a pair loses tokens; they are taken from its end. A single text is the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// The longer one, and both once they are equally long.
    LongestFirst,
    /// Only the first.
    OnlyFirst,
    /// Only the second.
    OnlySecond,
}

/// Tokens of a row before it is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) special: usize,
}

impl Lengths {
    /// Counts from the text that each token belongs to.
    pub(super) fn count(sequences: &[Option<usize>]) -> Self {
        let count = |text| {
            sequences
                .iter()
                .filter(|sequence| **sequence == Some(text))
                .count()
        };
        let (first, second) = (count(0), count(1));
        Self {
            first,
            second,
            special: sequences.len() - first - second,
        }
    }
}

impl Truncation {
    /// Number of tokens that each text keeps; `row` is for error messages.
    pub(super) fn keep(
        self,
        row: usize,
        lengths: Lengths,
        max_length: usize,
    ) -> Result<[usize; 2], DataError> {
        let Lengths {
            first,
            second,
            special,
        } = lengths;
        if max_length <= special {
            return Err(DataError::MaxLength {
                max_length,
                special,
            });
        }
        let room = max_length - special;
        let excess = (first + second).saturating_sub(room);
        if excess == 0 {
            return Ok([first, second]);
        }
        let too_short = |part, tokens| DataError::TooShort {
            row,
            max_length,
            part,
            tokens,
        };
        match self {
            Self::LongestFirst => Ok(longest_first(first, second, room)),
            Self::OnlyFirst if first > excess => Ok([first - excess, second]),
            Self::OnlyFirst => Err(too_short("first", first)),
            Self::OnlySecond if second > excess => Ok([first, second - excess]),
            Self::OnlySecond => Err(too_short("second", second)),
        }
    }
}

/// Shares `room` between two texts that need more: a text no longer than half of it keeps all its tokens; otherwise each
/// gets half, and an odd token goes to the longer one (to the second of equally long ones).
fn longest_first(first: usize, second: usize, room: usize) -> [usize; 2] {
    let half = room / 2;
    if first <= second {
        let first = if first <= half { first } else { half };
        [first, room - first]
    } else {
        let second = if second <= half { second } else { half };
        [room - second, second]
    }
}

/// First tokens of overlapping windows of `room` tokens over a text of `length`; `row` is for error messages.
pub(super) fn window_starts(
    row: usize,
    length: usize,
    room: usize,
    stride: usize,
) -> Result<Vec<usize>, DataError> {
    if length <= room {
        return Ok(vec![0]);
    }
    if stride >= room {
        return Err(DataError::Stride { row, room, stride });
    }
    let mut starts = vec![0];
    let mut start = 0;
    while start + room < length {
        start += room - stride;
        starts.push(start);
    }
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(first: usize, second: usize) -> Lengths {
        Lengths {
            first,
            second,
            special: 3,
        }
    }

    #[test]
    fn the_longer_text_loses_tokens_first() {
        let keep = |first, second| {
            Truncation::LongestFirst
                .keep(1, lengths(first, second), 10)
                .unwrap()
        };
        assert_eq!(keep(3, 4), [3, 4]);
        assert_eq!(keep(2, 20), [2, 5]);
        assert_eq!(keep(20, 2), [5, 2]);
        assert_eq!(keep(20, 30), [3, 4]);
        assert_eq!(keep(30, 20), [4, 3]);
        assert_eq!(keep(20, 20), [3, 4]);
        assert_eq!(keep(20, 0), [7, 0]);
    }

    #[test]
    fn one_text_alone_must_be_long_enough() {
        assert_eq!(
            Truncation::OnlyFirst.keep(1, lengths(9, 4), 10).unwrap(),
            [3, 4]
        );
        assert_eq!(
            Truncation::OnlySecond.keep(1, lengths(4, 9), 10).unwrap(),
            [4, 3]
        );
        let message = Truncation::OnlySecond
            .keep(5, lengths(9, 2), 10)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "row 5 cannot be shortened to 10 tokens by its second text alone, which has 2 tokens"
        );
    }

    #[test]
    fn special_tokens_need_room() {
        assert!(Truncation::LongestFirst.keep(1, lengths(1, 1), 3).is_err());
        assert_eq!(
            Truncation::LongestFirst.keep(1, lengths(5, 5), 4).unwrap(),
            [0, 1]
        );
    }

    #[test]
    fn windows_share_the_stride_and_reach_the_end() {
        assert_eq!(window_starts(1, 5, 5, 9).unwrap(), [0]);
        assert_eq!(window_starts(1, 10, 5, 2).unwrap(), [0, 3, 6]);
        assert_eq!(window_starts(1, 11, 5, 2).unwrap(), [0, 3, 6]);
        assert!(window_starts(1, 6, 5, 5).is_err());
    }
}
