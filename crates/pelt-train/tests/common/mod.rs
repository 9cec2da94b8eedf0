//! Rows that several tests train on.

use pelt_data::Label;
use pelt_hooks::Sequence;
use pelt_train::Examples;

/// Six rows of different lengths and three classes.
pub fn examples() -> Examples {
    let sequence = |row: u32| Sequence {
        input_ids: (0..5 + row)
            .map(|token| 5 + (token * 7 + row) % 40)
            .collect(),
        token_type_ids: vec![0; 5 + row as usize],
    };
    Examples {
        sequences: (0..6).map(sequence).collect(),
        labels: (0..6).map(|row| Label::Class(row % 3)).collect(),
    }
}
