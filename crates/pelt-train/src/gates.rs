//! What gates are on the average of many sequences.

use std::collections::HashMap;

use burn::module::ParamId;
use pelt_hooks::Pass;

use crate::TrainError;
use crate::evaluate::host_values;

/// The mean of every gate's columns over sequences, by the id of the gate's weight.
pub type GateMeans = HashMap<ParamId, Vec<f64>>;

/// The sums of every gate's columns over the sequences of a pass; nothing unless it observed gates.
pub(crate) fn sums(pass: Pass) -> Result<GateMeans, TrainError> {
    let mut sums = GateMeans::new();
    for (gate, values) in pass.into_gates() {
        let [_, columns] = values.dims();
        let mut sum = vec![0.0; columns];
        for row in host_values(values)?.chunks_exact(columns.max(1)) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        sums.insert(gate, sum);
    }
    Ok(sums)
}

/// The means over `sequences` sequences from the sums of numbered batches, which are added in the order of their numbers:
/// the result does not depend on which thread ran which batch.
pub(crate) fn means(mut batches: Vec<(usize, GateMeans)>, sequences: usize) -> GateMeans {
    batches.sort_by_key(|(number, _)| *number);
    let mut means = GateMeans::new();
    for (gate, sums) in batches.into_iter().flat_map(|(_, sums)| sums) {
        let mean = means.entry(gate).or_insert_with(|| vec![0.0; sums.len()]);
        for (mean, sum) in mean.iter_mut().zip(sums) {
            *mean += sum / sequences as f64;
        }
    }
    means
}
