//! How many rows, and how they are made.

use burn::tensor::Device;
use pelt_hooks::{ConfigError, EncoderShape, Gate, Init, check_dropout, check_leave_out};
use serde::{Deserialize, Serialize};

use crate::{NonLinearity, Prefix, PrefixTable};

const METHOD: &str = "prefix";

/// The widest network that is accepted; a larger number in a file is taken for damage rather than for a wish.
const WIDEST_NETWORK: usize = 16_384;

/// Settings of [`Prefix`]; the names are AdapterHub's where it has the setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrefixConfig {
    /// Rows in front of every layer's keys and values. Default 30.
    pub prefix_length: usize,
    /// Width of the network that makes the rows. Default 512.
    pub bottleneck_size: usize,
    /// Whether the rows are trained directly, without a network. Default false.
    pub flat: bool,
    /// The network's activation. Default `tanh`.
    pub non_linearity: NonLinearity,
    /// Probability of dropping an entry of the rows. Default 0.
    pub dropout: f64,
    /// Whether a gate per layer and sequence scales the rows. Default false.
    pub use_gating: bool,
    /// Whether keys and values share that gate. Default true.
    pub shared_gating: bool,
    /// How parameters start, where the two public implementations of UniPELT differ. `library`, the default: embedding and
    /// flat table N(0, 1), linear layers and gate biases uniform in `±1/sqrt(fan-in)`. `original`: everything
    /// N(0, 0.02²), biases zero.
    pub init: Init,
    /// Whether positions of real tokens are moved up by `prefix_length`, as PEFT does. Default false.
    pub shift_positions: bool,
    /// Layers without a prefix, from 0. Default none.
    pub leave_out: Vec<usize>,
}

impl Default for PrefixConfig {
    fn default() -> Self {
        Self {
            prefix_length: 30,
            bottleneck_size: 512,
            flat: false,
            non_linearity: NonLinearity::Tanh,
            dropout: 0.0,
            use_gating: false,
            shared_gating: true,
            init: Init::Library,
            shift_positions: false,
            leave_out: Vec::new(),
        }
    }
}

impl PrefixConfig {
    /// Checks the settings against an encoder.
    ///
    /// # Errors
    /// If a setting is out of range, or no layer is left with a prefix.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        let error = |field, expected: String, found: String| {
            Err(ConfigError::new(METHOD, field, expected, found))
        };
        // Shifted positions must leave room for at least one real token.
        let longest = shape
            .max_positions
            .saturating_sub(usize::from(self.shift_positions));
        if self.prefix_length == 0 || self.prefix_length > longest {
            let expected = format!("from 1 to {longest}");
            return error("prefix_length", expected, self.prefix_length.to_string());
        }
        if !self.flat && !(1..=WIDEST_NETWORK).contains(&self.bottleneck_size) {
            let expected = format!("from 1 to {WIDEST_NETWORK}");
            return error(
                "bottleneck_size",
                expected,
                self.bottleneck_size.to_string(),
            );
        }
        check_dropout(METHOD, self.dropout)?;
        check_leave_out(METHOD, &self.leave_out, shape)?;
        if self.slots(shape).iter().all(Option::is_none) {
            let expected = "a list that leaves at least one layer a prefix".into();
            return error("leave_out", expected, "every layer".into());
        }
        Ok(())
    }

    /// Creates the parameters on `device`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, shape: &EncoderShape, device: &Device) -> Result<Prefix, ConfigError> {
        self.validate(shape)?;
        let width = shape.hidden_size;
        let slots = self.slots(shape);
        let columns = 2 * width * slots.iter().flatten().count();
        let table = PrefixTable::new(self, width, columns, device);
        let bias = self.init.gate_bias();
        let gate_columns = if self.shared_gating { 1 } else { 2 };
        let gate =
            |slot: &Option<usize>| slot.map(|_| Gate::new(width, gate_columns, bias, device));
        let gates = match self.use_gating {
            true => slots.iter().map(gate).collect(),
            false => Vec::new(),
        };
        Ok(Prefix {
            table,
            gates,
            slots,
            prefix_length: self.prefix_length,
            width,
            dropout: self.dropout,
            shift_positions: self.shift_positions,
        })
    }

    /// Numbers the layers that have a prefix, without gaps.
    fn slots(&self, shape: &EncoderShape) -> Vec<Option<usize>> {
        let mut next = 0..;
        (0..shape.layers)
            .map(|layer| match self.leave_out.contains(&layer) {
                true => None,
                false => next.next(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: EncoderShape = EncoderShape {
        layers: 3,
        hidden_size: 8,
        heads: 2,
        intermediate_size: 16,
        vocab_size: 10,
        max_positions: 40,
        pooler: false,
    };

    #[test]
    fn a_file_gives_the_fields_that_differ_from_the_defaults() {
        let config: PrefixConfig =
            toml::from_str("prefix_length = 10\nnon_linearity = \"relu\"\ninit = \"original\"")
                .unwrap();
        assert_eq!(config.prefix_length, 10);
        assert_eq!(config.bottleneck_size, 512);
        assert_eq!(config.non_linearity, NonLinearity::Relu);
        assert_eq!(config.init, Init::Original);
        let again: PrefixConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert!(toml::from_str::<PrefixConfig>("length = 10").is_err());
    }

    #[test]
    fn layers_that_are_left_out_leave_no_gap() {
        let config = PrefixConfig {
            leave_out: vec![1],
            ..PrefixConfig::default()
        };
        assert_eq!(config.slots(&SHAPE), [Some(0), None, Some(1)]);
    }

    #[test]
    fn settings_that_cannot_work_name_their_field() {
        let check = |field: &str, change: fn(&mut PrefixConfig)| {
            let mut config = PrefixConfig::default();
            change(&mut config);
            let message = config.validate(&SHAPE).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("prefix: {field} must be ")),
                "{message}"
            );
        };
        check("prefix_length", |config| config.prefix_length = 0);
        check("prefix_length", |config| config.prefix_length = 41);
        check("prefix_length", |config| {
            config.prefix_length = 40;
            config.shift_positions = true;
        });
        check("bottleneck_size", |config| config.bottleneck_size = 0);
        check("bottleneck_size", |config| {
            config.bottleneck_size = usize::MAX
        });
        check("dropout", |config| config.dropout = 1.5);
        check("leave_out", |config| config.leave_out = vec![3]);
        check("leave_out", |config| config.leave_out = vec![0, 1, 2]);
        let unused = PrefixConfig {
            flat: true,
            bottleneck_size: 0,
            ..PrefixConfig::default()
        };
        unused.validate(&SHAPE).unwrap();
    }
}
