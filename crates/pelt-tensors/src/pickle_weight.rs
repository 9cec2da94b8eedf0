//! What the pickle of a checkpoint would take in memory, found out before `pytorch-reader` builds it.
//!
//! A pickle fetches a value again with one or two bytes, and `pytorch-reader` copies it each time. Its own limits on
//! copies leave out the keys of dictionaries, the names of classes and the extents of tensors, and it names every tensor
//! by its whole path. So this follows the stack of the pickle, opcode by opcode as `pytorch-reader` does, with the weight
//! of every value in the place of the value.

use std::collections::HashMap;

/// What copies, and names of tensors, may take beyond a multiple of the pickle's length, in bytes.
const ALLOWANCE: u64 = 64 * 1024 * 1024;

/// How many times the length of the pickle they may take: what `torch.save` writes repeats nothing but short names.
const LARGEST_GROWTH: u64 = 16;

/// The most characters of a number, which may be a key, and more bytes than it takes.
const NUMBER: u64 = 20;

/// What is wrong with a pickle, as the end of a message.
type Fault = &'static str;

const ENDS_EARLY: Fault = "one that ends early";
const IMPOSSIBLE: Fault = "an opcode or operand that it cannot have";
const TOO_HEAVY: Fault = "values that grow out of all proportion when they are copied and named";

/// Checks `count` pickles that follow one another at the start of `bytes`.
pub(crate) fn check_pickles(bytes: &[u8], count: usize) -> Result<(), &'static str> {
    let largest = LARGEST_GROWTH * bytes.len() as u64 + ALLOWANCE;
    let mut unread = Unread(bytes);
    for _ in 0..count {
        Machine::new(largest).run(&mut unread)?;
    }
    Ok(())
}

/// The bytes that have not been read yet.
struct Unread<'a>(&'a [u8]);

impl<'a> Unread<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        let count = usize::try_from(count).map_err(|_| ENDS_EARLY)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A little-endian number of at most eight bytes.
    fn number(&mut self, width: u64) -> Result<u64, Fault> {
        let bytes = self.take(width)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// The length of the bytes behind a number of `width` bytes that gives it; they are passed over.
    fn counted(&mut self, width: u64) -> Result<u64, Fault> {
        let length = self.number(width)?;
        self.take(length)?;
        Ok(length)
    }

    /// What comes before the next line feed, which is passed over.
    fn line(&mut self) -> Result<&'a [u8], Fault> {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or(ENDS_EARLY)? as u64)?;
        self.take(1)?;
        Ok(line)
    }

    /// A place of the memo, written as text.
    fn index(&mut self) -> Result<u32, Fault> {
        let line = std::str::from_utf8(self.line()?).map_err(|_| IMPOSSIBLE)?;
        let digits = line.strip_suffix('\r').unwrap_or(line);
        digits.parse().map_err(|_| IMPOSSIBLE)
    }
}

/// The weight of a value, never less than what copying the value takes; nodes are left out, which `pytorch-reader` counts.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// The length of the value as a key, where it can be one.
    text: u64,
    /// Text, keys, names of classes and numbers in it.
    bytes: u64,
    /// Tensors in it.
    tensors: u64,
    /// What their names take, from this value down.
    names: u64,
    /// The place of the memo that holds a copy.
    memo: Option<u32>,
}

impl Weight {
    fn of_bytes(bytes: u64) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    /// Puts an item into this container; `key` is the length of its key.
    fn add(&mut self, item: Self, key: u64) {
        let names = item.tensors.saturating_mul(key.saturating_add(1));
        self.bytes = self.bytes.saturating_add(item.bytes);
        self.tensors = self.tensors.saturating_add(item.tensors);
        self.names = self.names.saturating_add(item.names).saturating_add(names);
    }

    /// Puts items into this list; their places are their keys.
    fn extend(&mut self, items: impl IntoIterator<Item = Self>) {
        for item in items {
            self.add(item, NUMBER);
        }
    }

    /// Puts keys and values, one after the other, into this dictionary.
    fn insert(&mut self, items: &[Self]) -> Result<(), Fault> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(IMPOSSIBLE);
        };
        for [key, value] in pairs {
            self.bytes = self.bytes.saturating_add(key.bytes);
            self.add(*value, key.text);
        }
        Ok(())
    }
}

struct Machine {
    stack: Vec<Weight>,
    /// The heights of the stack at which marks lie.
    marks: Vec<usize>,
    memo: HashMap<u32, Weight>,
    /// The longest text so far.
    longest: u64,
    copied: u64,
    largest: u64,
}

impl Machine {
    fn new(largest: u64) -> Self {
        Self {
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            longest: NUMBER,
            copied: 0,
            largest,
        }
    }

    fn run(mut self, unread: &mut Unread<'_>) -> Result<(), Fault> {
        while self.step(unread)? {}
        let root = self.pop()?;
        if root.names > self.largest {
            return Err(TOO_HEAVY);
        }
        Ok(())
    }

    /// Follows one opcode; false after the last one.
    fn step(&mut self, unread: &mut Unread<'_>) -> Result<bool, Fault> {
        match unread.number(1)? as u8 {
            b'.' => return Ok(false),
            // The protocol and the length of a frame.
            0x80 => {
                unread.take(1)?;
            }
            0x95 => {
                unread.take(8)?;
            }
            // None, booleans and numbers.
            b'N' | 0x88 | 0x89 => self.push_number(),
            b'K' => {
                unread.take(1)?;
                self.push_number();
            }
            b'M' => {
                unread.take(2)?;
                self.push_number();
            }
            b'J' => {
                unread.take(4)?;
                self.push_number();
            }
            b'G' => {
                unread.take(8)?;
                self.push_number();
            }
            b'I' | b'L' | b'F' => {
                unread.line()?;
                self.push_number();
            }
            0x8a => {
                unread.counted(1)?;
                self.push_number();
            }
            0x8b => {
                unread.counted(4)?;
                self.push_number();
            }
            // Text and bytes. A byte of a line may be two of the text.
            b'V' => {
                let length = 2 * unread.line()?.len() as u64;
                self.push_text(length);
            }
            b'U' | b'C' | 0x8c => {
                let length = unread.counted(1)?;
                self.push_text(length);
            }
            b'X' | b'T' | b'B' => {
                let length = unread.counted(4)?;
                self.push_text(length);
            }
            0x8d | 0x8e | 0x96 => {
                let length = unread.counted(8)?;
                self.push_text(length);
            }
            // Containers.
            b'(' => self.marks.push(self.stack.len()),
            b')' | b']' | b'}' | 0x8f => self.stack.push(Weight::default()),
            b't' | b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push_list(items);
            }
            opcode @ 0x85..=0x87 => {
                let items = (0x84..opcode).map(|_| self.pop());
                let items = items.collect::<Result<Vec<_>, _>>()?;
                self.push_list(items);
            }
            b'a' => {
                let item = self.pop()?;
                self.top()?.extend([item]);
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.top()?.extend(items);
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                let mut dictionary = Weight::default();
                dictionary.insert(&items)?;
                self.stack.push(dictionary);
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.top()?.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.top()?.insert(&items)?;
            }
            // The stack and the memo.
            b'0' if self.mark_is_on_top() => {
                self.marks.pop();
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = *self.top()?;
                self.copy(top)?;
                self.stack.push(top);
            }
            b'g' => {
                let index = unread.index()?;
                self.fetch(index)?;
            }
            b'h' => {
                let index = unread.number(1)? as u32;
                self.fetch(index)?;
            }
            b'j' => {
                let index = unread.number(4)? as u32;
                self.fetch(index)?;
            }
            b'p' => {
                let index = unread.index()?;
                self.remember(index)?;
            }
            b'q' => {
                let index = unread.number(1)? as u32;
                self.remember(index)?;
            }
            b'r' => {
                let index = unread.number(4)? as u32;
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            // Classes, storages and objects.
            b'c' => {
                let length = unread.line()?.len() + unread.line()?.len();
                self.stack.push(Weight::of_bytes(length as u64));
            }
            0x93 | 0x81 => self.replace(2)?,
            0x92 => self.replace(3)?,
            b'Q' => self.replace(1)?,
            b'R' => self.call()?,
            b'b' => self.build()?,
            _ => return Err(IMPOSSIBLE),
        }
        Ok(true)
    }

    fn push_number(&mut self) {
        self.stack.push(Weight {
            text: NUMBER,
            ..Weight::of_bytes(NUMBER)
        });
    }

    fn push_text(&mut self, length: u64) {
        self.longest = self.longest.max(length);
        self.stack.push(Weight {
            text: length,
            ..Weight::of_bytes(length)
        });
    }

    fn push_list(&mut self, items: Vec<Weight>) {
        let mut list = Weight::default();
        list.extend(items);
        self.stack.push(list);
    }

    fn mark_is_on_top(&self) -> bool {
        self.marks.last() == Some(&self.stack.len())
    }

    fn pop(&mut self) -> Result<Weight, Fault> {
        if self.mark_is_on_top() {
            return Err(IMPOSSIBLE);
        }
        self.stack.pop().ok_or(IMPOSSIBLE)
    }

    fn top(&mut self) -> Result<&mut Weight, Fault> {
        if self.mark_is_on_top() {
            return Err(IMPOSSIBLE);
        }
        self.stack.last_mut().ok_or(IMPOSSIBLE)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Weight>, Fault> {
        let mark = self.marks.pop().ok_or(IMPOSSIBLE)?;
        Ok(self.stack.drain(mark..).collect())
    }

    fn copy(&mut self, weight: Weight) -> Result<(), Fault> {
        self.copied = self.copied.saturating_add(weight.bytes);
        if self.copied > self.largest {
            return Err(TOO_HEAVY);
        }
        Ok(())
    }

    fn fetch(&mut self, index: u32) -> Result<(), Fault> {
        let weight = *self.memo.get(&index).ok_or(IMPOSSIBLE)?;
        self.copy(weight)?;
        self.stack.push(weight);
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), Fault> {
        let top = self.top()?;
        top.memo = Some(index);
        let weight = *top;
        self.copy(weight)?;
        self.memo.insert(index, weight);
        Ok(())
    }

    /// Puts a class, a storage or an object that is not interpreted in the place of what it is made from.
    fn replace(&mut self, operands: usize) -> Result<(), Fault> {
        let mut bytes: u64 = 0;
        for _ in 0..operands {
            bytes = bytes.saturating_add(self.pop()?.bytes);
        }
        self.stack.push(Weight::of_bytes(bytes));
        Ok(())
    }

    /// A call gives a tensor, one of its arguments, or a dictionary or list of them. A tensor has arguments.
    fn call(&mut self) -> Result<(), Fault> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let mut result = Weight {
            text: self.longest,
            bytes: callable.bytes,
            ..Weight::default()
        };
        result.add(arguments, self.longest);
        if arguments.bytes > 0 {
            result.tensors = result.tensors.saturating_add(1);
        }
        self.stack.push(result);
        Ok(())
    }

    /// The state of an object is joined to it, and to the copy of it in the memo.
    fn build(&mut self) -> Result<(), Fault> {
        let state = self.pop()?;
        let object = self.pop()?;
        let mut built = Weight {
            text: 0,
            memo: None,
            ..object
        };
        built.add(state, 0);
        if let Some(index) = object.memo {
            self.copy(built)?;
            let memo = object.memo;
            self.memo.insert(index, Weight { memo, ..built });
        }
        self.stack.push(built);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 200;

    fn text(length: usize) -> Vec<u8> {
        let mut bytes = b"X".to_vec();
        bytes.extend_from_slice(&(length as u32).to_le_bytes());
        bytes.resize(bytes.len() + length, b'x');
        bytes
    }

    fn check(parts: &[&[u8]]) -> Result<(), &'static str> {
        check_pickles(&parts.concat(), 1)
    }

    #[test]
    fn what_a_checkpoint_repeats_is_light() {
        // A call with an argument stands for a tensor, and the memo gives it again under other keys.
        let key = text(100);
        let again = [key.as_slice(), b"h\x00".as_slice()].concat();
        let again = again.repeat(MANY);
        let parts: [&[u8]; 5] = [b"\x80\x02}(", &key, b"cm\nn\n(NtRq\x00", &again, b"u."];
        check(&parts).unwrap();
    }

    #[test]
    fn copies_of_long_names_keys_and_shapes_are_refused() {
        let long = vec![b'x'; 1 << 20];
        let again = b"2".repeat(MANY);
        let class: [&[u8]; 5] = [b"c", &long, b"\nname\n", &again, b"."];
        assert_eq!(check(&class), Err(TOO_HEAVY));
        let key = text(1 << 20);
        let dictionary: [&[u8]; 4] = [b"}", &key, b"Ns", b"."];
        check(&dictionary).unwrap();
        let dictionary: [&[u8]; 5] = [b"}", &key, b"Ns", &again, b"."];
        assert_eq!(check(&dictionary), Err(TOO_HEAVY));
        let extents = b"K\x01".repeat(1 << 20);
        let again = b"h\x00".repeat(MANY);
        let shape: [&[u8]; 5] = [b"(", &extents, b"tq\x00", &again, b"."];
        assert_eq!(check(&shape), Err(TOO_HEAVY));
    }

    #[test]
    fn copies_that_double_are_refused_in_time() {
        let (value, doubled) = (text(1000), b"2\x86".repeat(60));
        let parts: [&[u8]; 3] = [&value, &doubled, b"."];
        assert_eq!(check(&parts), Err(TOO_HEAVY));
    }

    #[test]
    fn many_tensors_below_a_long_key_are_refused() {
        let tensors = [b"cm\nn\n(NtRq\x00".to_vec(), b"h\x00".repeat(MANY)].concat();
        let file = |key: usize| {
            let key = text(key);
            let parts: [&[u8]; 5] = [b"}", &key, b"](", &tensors, b"es."];
            check(&parts)
        };
        file(100).unwrap();
        assert_eq!(file(1 << 20), Err(TOO_HEAVY));
    }

    #[test]
    fn state_set_later_counts_in_the_copy_of_the_memo() {
        let key = text(1 << 20);
        let again = b"h\x00".repeat(MANY);
        let parts: [&[u8]; 5] = [b"}q\x00}", &key, b"Nsb", &again, b"."];
        assert_eq!(check(&parts), Err(TOO_HEAVY));
    }

    #[test]
    fn what_is_no_pickle_is_refused() {
        let cases: [(&[u8], Fault); 11] = [
            (b"", ENDS_EARLY),
            (b"X\xff\xff\xff\xffab.", ENDS_EARLY),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", ENDS_EARLY),
            (b"cmodule", ENDS_EARLY),
            (b".", IMPOSSIBLE),
            (b"(.", IMPOSSIBLE),
            (b"(\x85.", IMPOSSIBLE),
            (b"t.", IMPOSSIBLE),
            (b"h\x00.", IMPOSSIBLE),
            (b"}(Nu.", IMPOSSIBLE),
            (b"\x82\x00.", IMPOSSIBLE),
        ];
        for (bytes, fault) in cases {
            assert_eq!(check(&[bytes]), Err(fault), "{bytes:?}");
        }
        assert!(check_pickles(b"N.N.", 2).is_ok());
        assert!(check_pickles(b"N.", 2).is_err());
    }
}
