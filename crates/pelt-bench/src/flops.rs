//! How many floating-point operations the matrix products of a training step take.
//!
//! The rule counts what the mathematics asks for, whatever a program does on top (recomputing, padding):
//!
//! - a product of `[m, k]` and `[k, n]` is `2 m k n` operations forward;
//! - backward it is that number again for each of its two sides that needs a gradient: a trained matrix does, and so does
//!   every value that depends on something trained. Below the first trained tensor nothing does, and the frozen weights
//!   never do, so a frozen layer above that point costs its input's gradient alone;
//! - attention is two products per sequence, `Q Kᵀ` and the weighted sum of the values, with prefix rows among the keys;
//! - where only the first row of every sequence is read, the last layer's queries and all that follows its attention
//!   have one row per sequence, but its keys and values have all rows;
//! - sums, norms, activations, dropout, embeddings, the optimiser, and the averaging of gates are not counted.
//!
//! What a method multiplies is read off the names and shapes of what it trains: every trained matrix multiplies the rows
//! of the site that its name says.

use pelt_hooks::EncoderShape;

/// Matrices that read what another trained matrix gave, so that their input always needs a gradient.
const READS_TRAINED: [&str; 4] = ["lora_B", "adapter_up", "control_trans", "out_proj"];

/// A training step on sequences of equal length.
#[derive(Debug, Clone)]
pub struct Work {
    /// Sizes of the encoder.
    pub shape: EncoderShape,
    /// Rows of the batch.
    pub sequences: usize,
    /// Tokens of each sequence, prompts not counted.
    pub length: usize,
    /// Prompt rows in front of each sequence.
    pub prompt: usize,
    /// Prefix rows of each layer.
    pub prefixes: Vec<usize>,
    /// Whether the method needs all rows of the last layer.
    pub all_rows_in_last_layer: bool,
    /// Whether the head reads the pooler's output.
    pub reads_pooler: bool,
    /// Name and shape (`[out, in]`) of everything that is trained.
    pub trained: Vec<(String, Vec<usize>)>,
}

/// Operations of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flops {
    /// Of the forward pass.
    pub forward: u64,
    /// Of the backward pass.
    pub backward: u64,
}

impl Flops {
    /// Of both passes.
    pub fn total(&self) -> u64 {
        self.forward + self.backward
    }
}

/// Counts the operations of a step.
pub fn count(work: &Work) -> Flops {
    let mut counter = Counter {
        work,
        flops: Flops::default(),
    };
    counter.prefix_network();
    let mut tracked = work.prompt > 0 || counter.trains_below("embeddings.");
    for layer in 0..work.shape.layers {
        tracked = counter.layer(layer, tracked);
    }
    counter.head(tracked);
    counter.flops
}

/// How many rows a site has: those that are projected, and all of the batch's.
#[derive(Debug, Clone, Copy)]
struct Rows {
    read: usize,
    all: usize,
}

struct Counter<'a> {
    work: &'a Work,
    flops: Flops,
}

impl Counter<'_> {
    /// `[m, k]` by `[k, n]`; `tracked` says which side needs a gradient.
    fn product(&mut self, [m, k, n]: [usize; 3], tracked: [bool; 2]) {
        let once = 2 * (m as u64) * (k as u64) * (n as u64);
        let gradients = tracked.iter().filter(|side| **side).count() as u64;
        self.flops.forward += once;
        self.flops.backward += gradients * once;
    }

    fn trains_below(&self, path: &str) -> bool {
        let mut names = self.work.trained.iter();
        names.any(|(name, _)| name.starts_with(path))
    }

    /// The trained matrices below a path, other than the weight of the frozen layer itself.
    fn added(&mut self, path: &str, rows: Rows, tracked: bool) {
        let own_weight = format!("{path}weight");
        for (name, shape) in &self.work.trained {
            let [outputs, inputs] = shape[..] else {
                continue;
            };
            if !name.starts_with(path) || *name == own_weight {
                continue;
            }
            // A gate averages over whole sequences, even where only some of their rows are projected.
            let rows = if name.contains("gate") {
                rows.all
            } else {
                rows.read
            };
            let reads_trained = READS_TRAINED.iter().any(|part| name.contains(part));
            self.product([rows, inputs, outputs], [tracked || reads_trained, true]);
        }
    }

    /// A linear layer with what a method adds to it; whether its output needs a gradient.
    fn linear(
        &mut self,
        path: &str,
        rows: Rows,
        [inputs, outputs]: [usize; 2],
        tracked: bool,
    ) -> bool {
        let weight = format!("{path}.weight");
        let trained = self.trains_below(&weight);
        self.product([rows.read, inputs, outputs], [tracked, trained]);
        let path = format!("{path}.");
        self.added(&path, rows, tracked);
        tracked || self.trains_below(&path)
    }

    /// One layer; `tracked` and the result say whether the hidden states need a gradient.
    fn layer(&mut self, layer: usize, tracked: bool) -> bool {
        let EncoderShape {
            layers,
            hidden_size: d,
            intermediate_size: f,
            ..
        } = self.work.shape;
        let keys = self.work.length + self.work.prompt;
        let all = self.work.sequences * keys;
        let last = layer + 1 == layers && !self.work.all_rows_in_last_layer;
        let read = if last { self.work.sequences } else { all };
        let every = Rows { read: all, all };
        let behind = Rows { read, all: read };
        let path = |name: &str| format!("encoder.layer.{layer}.{name}");

        let query = self.linear(
            &path("attention.self.query"),
            Rows { read, all },
            [d, d],
            tracked,
        );
        let key = self.linear(&path("attention.self.key"), every, [d, d], tracked);
        let value = self.linear(&path("attention.self.value"), every, [d, d], tracked);
        self.added(&path("attention.self.prefix_tuning."), every, tracked);
        let prefix = self.work.prefixes.get(layer).copied().unwrap_or(0);
        let weights = query || key || prefix > 0;
        self.product([read, d, keys], [query, key]);
        self.product([read, d, prefix], [query, true]);
        self.product([read, keys, d], [weights, value]);
        self.product([read, prefix, d], [weights, true]);

        let output = self.linear(
            &path("attention.output.dense"),
            behind,
            [d, d],
            weights || value,
        );
        let x = tracked | self.close(&path("attention.output."), behind, output);
        let inner = self.linear(&path("intermediate.dense"), behind, [d, f], x);
        let output = self.linear(&path("output.dense"), behind, [f, d], inner);
        x | self.close(&path("output."), behind, output)
    }

    /// Adapters and norm behind a sub-layer.
    fn close(&mut self, path: &str, rows: Rows, tracked: bool) -> bool {
        let (adapters, norm) = (format!("{path}adapters."), format!("{path}LayerNorm."));
        self.added(&adapters, rows, tracked);
        tracked || self.trains_below(&adapters) || self.trains_below(&norm)
    }

    /// The network that makes the prefixes multiplies one row for each of their rows.
    fn prefix_network(&mut self) {
        let rows = self.work.prefixes.iter().copied().max().unwrap_or(0);
        for (name, shape) in &self.work.trained {
            if let ([outputs, inputs], true) = (&shape[..], name.contains(".control_trans.")) {
                self.product([rows, *inputs, *outputs], [true, true]);
            }
        }
    }

    fn head(&mut self, mut tracked: bool) {
        let (sequences, d) = (self.work.sequences, self.work.shape.hidden_size);
        let rows = Rows {
            read: sequences,
            all: sequences,
        };
        if self.work.reads_pooler {
            tracked = self.linear("pooler.dense", rows, [d, d], tracked);
        }
        for (name, shape) in &self.work.trained {
            let is_head = name.starts_with("classifier.") || name.starts_with("heads.");
            if let ([outputs, inputs], true) = (&shape[..], is_head) {
                self.product([sequences, *inputs, *outputs], [tracked, true]);
                tracked = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One layer of width 2 with a feed-forward layer of width 4, two sequences of three tokens, three labels.
    fn tiny(trained: &[(&str, &[usize])]) -> Work {
        let head: (&str, &[usize]) = ("classifier.weight", &[3, 2]);
        let trained = trained.iter().chain([&head]);
        Work {
            shape: EncoderShape {
                layers: 1,
                hidden_size: 2,
                heads: 1,
                intermediate_size: 4,
                vocab_size: 10,
                max_positions: 8,
                pooler: false,
            },
            sequences: 2,
            length: 3,
            prompt: 0,
            prefixes: vec![0],
            all_rows_in_last_layer: false,
            reads_pooler: false,
            trained: trained
                .map(|(name, shape)| (name.to_string(), shape.to_vec()))
                .collect(),
        }
    }

    #[test]
    fn a_frozen_encoder_is_only_run_forward() {
        let flops = count(&tiny(&[]));
        // Query and output of the attention 16 each, key and value 48 each, both attention products 24 each, the
        // feed-forward layers 32 each, the head 24.
        let expected = Flops {
            forward: 264,
            backward: 24,
        };
        assert_eq!(flops, expected);
    }

    #[test]
    fn lora_at_the_values_needs_gradients_from_there_up_only() {
        let flops = count(&tiny(&[
            (
                "encoder.layer.0.attention.self.value.loras.{adapter}.lora_A",
                &[1, 2],
            ),
            (
                "encoder.layer.0.attention.self.value.loras.{adapter}.lora_B",
                &[2, 1],
            ),
        ]));
        // A and B are 24 each. Backward: A's weight 24; B's input and weight 48; the values 24; output of the attention
        // 16; feed-forward 64; the head's input and weight 48. Nothing for the frozen query, key and value.
        let expected = Flops {
            forward: 264 + 48,
            backward: 24 + 48 + 24 + 16 + 64 + 48,
        };
        assert_eq!(flops, expected);
    }

    #[test]
    fn training_everything_costs_twice_the_forward_pass_backward() {
        let layer = "encoder.layer.0.";
        let names = [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ];
        let mut work = tiny(&[("embeddings.word_embeddings.weight", &[10, 2])]);
        for name in names {
            work.trained
                .push((format!("{layer}{name}.weight"), vec![2, 2]));
        }
        work.trained
            .push((format!("{layer}intermediate.dense.weight"), vec![4, 2]));
        work.trained
            .push((format!("{layer}output.dense.weight"), vec![2, 4]));
        let flops = count(&work);
        assert_eq!(flops.forward, 264);
        assert_eq!(flops.backward, 2 * 264);
        work.all_rows_in_last_layer = true;
        assert!(count(&work).forward > 264);
    }

    #[test]
    fn prefix_rows_and_the_network_behind_them_are_counted() {
        let name = "prefix_tuning.prefix_tunings.{adapter}.self_prefix.control_trans";
        let mut work = tiny(&[
            (&format!("{name}.0.weight"), &[5, 2]),
            (&format!("{name}.2.weight"), &[4, 5]),
        ]);
        work.prefixes = vec![2];
        // The network multiplies 2 x 2 x 5 and 2 x 5 x 4; both attention products get two more keys.
        let expected = 264 + 40 + 80 + 16 + 16;
        assert_eq!(count(&work).forward, expected);
        // Twice the network; the prefix keys 16; attention weights, prefix values and own values' weights 16 + 16 + 24;
        // output 16, feed-forward 64, head 48.
        assert_eq!(count(&work).backward, 240 + 16 + 32 + 24 + 16 + 64 + 48);
    }
}
