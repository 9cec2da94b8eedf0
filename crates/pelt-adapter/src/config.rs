//! Where adapters sit, and what they look like.

use burn::tensor::Device;
use pelt_hooks::{
    ConfigError, EncoderShape, check_dropout, check_leave_out, check_some_layer_left,
};
use serde::{Deserialize, Serialize};

use crate::phm::new_rule;
use crate::reduction::{OTHER_LAYERS, bottleneck_width};
use crate::{
    Bottleneck, BottleneckBlock, BottleneckLayer, InitWeights, NonLinearity, ReductionFactor,
    ResidualBeforeLn, Scaling,
};

const METHOD: &str = "bottleneck";

/// A smaller factor would make the "bottleneck" more than eight times as wide as the model.
const SMALLEST_FACTOR: f64 = 0.125;

/// Settings of [`Bottleneck`]; names and defaults are those of AdapterHub's `seq_bn`.
///
/// In the formulas `h` is a sub-layer's output, `x` its input, `LN` its layer norm, `z` what the adapter reads and `u`
/// what its up-projection gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BottleneckConfig {
    /// Whether the self-attention sub-layer has an adapter. Default false.
    pub mh_adapter: bool,
    /// Whether the feed-forward sub-layer has an adapter. Default true.
    pub output_adapter: bool,
    /// The model's width divided by the bottleneck's. Default 16.
    pub reduction_factor: ReductionFactor,
    /// The activation between the projections. Default `relu`.
    pub non_linearity: NonLinearity,
    /// Whether `z = LN(h + x)` instead of `z = h`. Default true.
    pub original_ln_before: bool,
    /// Whether the sub-layer ends with its own norm; must be true.
    pub original_ln_after: bool,
    /// Whether a new norm precedes the down-projection. Default false.
    pub ln_before: bool,
    /// Whether a new norm follows the up-projection. Default false.
    pub ln_after: bool,
    /// Whether that norm also covers the adapter's residual. Default false.
    pub adapter_residual_before_ln: bool,
    /// The adapter's residual. Default true: `h`.
    pub residual_before_ln: ResidualBeforeLn,
    /// Whether the adapter reads `x` (`z = x`) and has no residual of its own. Default false.
    pub is_parallel: bool,
    /// What `u` is multiplied by. Default 1.
    pub scaling: Scaling,
    /// Probability of dropping an entry of `u`. Default 0.
    pub dropout: f64,
    /// Whether a gate per site and sequence, read from `z`, multiplies `u`. Default false.
    pub use_gating: bool,
    /// How the projections start. Default `bert`.
    pub init_weights: InitWeights,
    /// Whether the projections are sums of Kronecker products with a rule that all of them share (Compacter). They start
    /// in their own way, whatever `init_weights` says. Default false.
    pub phm_layer: bool,
    /// Number `n` of such products; it divides the widths of the model and of the bottleneck. Default 4.
    pub phm_dim: usize,
    /// Rank of each product's second factor. Default 1.
    pub phm_rank: usize,
    /// Layers without adapters, from 0. Default none.
    pub leave_out: Vec<usize>,
}

impl Default for BottleneckConfig {
    fn default() -> Self {
        Self::seq_bn()
    }
}

impl BottleneckConfig {
    /// Pfeiffer's adapter (arXiv 2005.00052): `LN(up(relu(down(LN(h + x)))) + h + x)` after the feed-forward block.
    pub fn seq_bn() -> Self {
        Self {
            mh_adapter: false,
            output_adapter: true,
            reduction_factor: ReductionFactor::default(),
            non_linearity: NonLinearity::Relu,
            original_ln_before: true,
            original_ln_after: true,
            ln_before: false,
            ln_after: false,
            adapter_residual_before_ln: false,
            residual_before_ln: ResidualBeforeLn::Output,
            is_parallel: false,
            scaling: Scaling::default(),
            dropout: 0.0,
            use_gating: false,
            init_weights: InitWeights::Bert,
            phm_layer: false,
            phm_dim: 4,
            phm_rank: 1,
            leave_out: Vec::new(),
        }
    }

    /// Houlsby's adapter (arXiv 1902.00751): `LN(up(swish(down(h))) + h + x)` after both sub-layers. The paper also
    /// trained the norms; here, as in AdapterHub, they stay frozen.
    pub fn double_seq_bn() -> Self {
        Self {
            mh_adapter: true,
            non_linearity: NonLinearity::Swish,
            original_ln_before: false,
            ..Self::seq_bn()
        }
    }

    /// The parallel adapter (arXiv 2110.04366): `LN(4 up(relu(down(x))) + h + x)` beside the feed-forward block.
    pub fn par_bn() -> Self {
        Self {
            reduction_factor: ReductionFactor::Everywhere(2.0),
            original_ln_before: false,
            is_parallel: true,
            scaling: Scaling::Fixed(4.0),
            init_weights: InitWeights::MamAdapter,
            ..Self::seq_bn()
        }
    }

    /// [`par_bn`](Self::par_bn) with a learned scale.
    pub fn scaled_par_bn() -> Self {
        Self {
            scaling: Scaling::Learned,
            ..Self::par_bn()
        }
    }

    /// Compacter (arXiv 2106.04647): [`double_seq_bn`](Self::double_seq_bn) with GELU, a narrower bottleneck, and
    /// projections that are sums of Kronecker products.
    pub fn compacter() -> Self {
        Self {
            reduction_factor: ReductionFactor::Everywhere(32.0),
            non_linearity: NonLinearity::Gelu,
            phm_layer: true,
            ..Self::double_seq_bn()
        }
    }

    /// Compacter++: the same behind the feed-forward block only, placed as in [`seq_bn`](Self::seq_bn).
    pub fn compacter_pp() -> Self {
        Self {
            mh_adapter: false,
            original_ln_before: true,
            ..Self::compacter()
        }
    }

    /// Checks the settings against an encoder.
    ///
    /// # Errors
    /// If a setting is out of range, no site is adapted, or two settings exclude each other.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        let error = |field, expected: &str, found: String| {
            Err(ConfigError::new(METHOD, field, expected, found))
        };
        if !self.mh_adapter && !self.output_adapter {
            let expected = "true when mh_adapter is false";
            return error("output_adapter", expected, "false".into());
        }
        if !self.original_ln_after {
            return error("original_ln_after", "true", "false".into());
        }
        if self.residual_before_ln == ResidualBeforeLn::Sum
            && !self.is_parallel
            && !self.original_ln_before
        {
            let expected = "true or false when original_ln_before is false";
            return error("residual_before_ln", expected, "\"post_add\"".into());
        }
        if let Scaling::Fixed(number) = self.scaling
            && !number.is_finite()
        {
            return error(
                "scaling",
                "a finite number or \"learned\"",
                number.to_string(),
            );
        }
        check_dropout(METHOD, self.dropout)?;
        check_leave_out(METHOD, &self.leave_out, shape)?;
        check_some_layer_left(METHOD, &self.leave_out, shape)?;
        self.validate_reduction(shape)?;
        match self.phm_layer {
            true => self.validate_phm(shape),
            false => Ok(()),
        }
    }

    fn validate_phm(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        let (d, n) = (shape.hidden_size, self.phm_dim);
        if n == 0 || !d.is_multiple_of(n) {
            let expected = format!("a divisor of the hidden size {d}");
            return Err(ConfigError::new(METHOD, "phm_dim", expected, n));
        }
        if self.phm_rank == 0 || self.phm_rank > d / n {
            let expected = format!("from 1 to {}", d / n);
            let found = self.phm_rank;
            return Err(ConfigError::new(METHOD, "phm_rank", expected, found));
        }
        for layer in self.adapted_layers(shape) {
            let factor = self.reduction_factor.of_layer(layer);
            match factor.map(|factor| bottleneck_width(d, factor)) {
                Some(width) if !width.is_multiple_of(n) => {
                    let expected = format!("a divisor of the bottleneck's width {width}");
                    return Err(ConfigError::new(METHOD, "phm_dim", expected, n));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn validate_reduction(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        const FIELD: &str = "reduction_factor";
        if let ReductionFactor::PerLayer(factors) = &self.reduction_factor {
            let known = |key: &str| {
                key == OTHER_LAYERS || (0..shape.layers).any(|layer| layer.to_string() == key)
            };
            if let Some(key) = factors.keys().find(|key| !known(key)) {
                let expected = format!(
                    "a map whose keys are `{OTHER_LAYERS}` and layers below {}",
                    shape.layers
                );
                return Err(ConfigError::new(
                    METHOD,
                    FIELD,
                    expected,
                    format!("`{key}`"),
                ));
            }
        }
        for layer in self.adapted_layers(shape) {
            match self.reduction_factor.of_layer(layer) {
                Some(factor) if factor.is_finite() && factor >= SMALLEST_FACTOR => {}
                Some(factor) => {
                    let expected = format!("at least {SMALLEST_FACTOR}");
                    return Err(ConfigError::new(METHOD, FIELD, expected, factor));
                }
                None => {
                    let expected = format!("a map with `{OTHER_LAYERS}` or every layer");
                    let found = format!("without layer {layer}");
                    return Err(ConfigError::new(METHOD, FIELD, expected, found));
                }
            }
        }
        Ok(())
    }

    /// Creates the parameters on `device`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, shape: &EncoderShape, device: &Device) -> Result<Bottleneck, ConfigError> {
        self.validate(shape)?;
        let d = shape.hidden_size;
        let layers = (0..shape.layers).map(|layer| {
            let factor = self
                .reduction_factor
                .of_layer(layer)
                .filter(|_| !self.leave_out.contains(&layer));
            let block = |wanted: bool| {
                let width = bottleneck_width(d, factor?);
                wanted.then(|| BottleneckBlock::new(self, d, width, device))
            };
            BottleneckLayer {
                attention: block(self.mh_adapter),
                feed_forward: block(self.output_adapter),
            }
        });
        Ok(Bottleneck {
            layers: layers.collect(),
            phm_rule: self.phm_layer.then(|| new_rule(self.phm_dim, device)),
        })
    }

    fn adapted_layers(&self, shape: &EncoderShape) -> impl Iterator<Item = usize> {
        (0..shape.layers).filter(|layer| !self.leave_out.contains(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: EncoderShape = EncoderShape {
        layers: 2,
        hidden_size: 8,
        heads: 2,
        intermediate_size: 16,
        vocab_size: 10,
        max_positions: 16,
        pooler: false,
    };

    #[test]
    fn a_file_gives_the_fields_that_differ_from_the_defaults() {
        let text = "mh_adapter = true\nreduction_factor = { 0 = 4, default = 8 }\n\
                    non_linearity = \"gelu\"\nresidual_before_ln = \"post_add\"\nscaling = \"learned\"";
        let config: BottleneckConfig = toml::from_str(text).unwrap();
        assert!(config.mh_adapter && config.output_adapter);
        assert_eq!(config.reduction_factor.of_layer(1), Some(8.0));
        assert_eq!(config.non_linearity, NonLinearity::Gelu);
        assert_eq!(config.residual_before_ln, ResidualBeforeLn::Sum);
        assert_eq!(config.scaling, Scaling::Learned);
        let again: BottleneckConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert!(toml::from_str::<BottleneckConfig>("reduction = 4").is_err());
    }

    #[test]
    fn settings_that_cannot_work_name_their_field() {
        let check = |field: &str, change: fn(&mut BottleneckConfig)| {
            let mut config = BottleneckConfig::double_seq_bn();
            change(&mut config);
            let message = config.validate(&SHAPE).unwrap_err().to_string();
            let start = format!("bottleneck: {field} must be ");
            assert!(message.starts_with(&start), "{message}");
        };
        check("output_adapter", |config| {
            config.mh_adapter = false;
            config.output_adapter = false;
        });
        check("original_ln_after", |config| {
            config.original_ln_after = false
        });
        check("residual_before_ln", |config| {
            config.residual_before_ln = ResidualBeforeLn::Sum;
        });
        check("scaling", |config| {
            config.scaling = Scaling::Fixed(f64::INFINITY)
        });
        check("dropout", |config| config.dropout = -0.1);
        check("leave_out", |config| config.leave_out = vec![5]);
        check("leave_out", |config| config.leave_out = vec![1, 0]);
        for factor in [0.0, -1.0, 1e-9, f64::NAN] {
            let mut config = BottleneckConfig::seq_bn();
            config.reduction_factor = ReductionFactor::Everywhere(factor);
            assert_eq!(
                config.validate(&SHAPE).unwrap_err().field,
                "reduction_factor"
            );
        }
        let map = |text: &str| BottleneckConfig {
            reduction_factor: serde_json::from_str(text).unwrap(),
            ..BottleneckConfig::seq_bn()
        };
        for text in [r#"{"0": 4}"#, r#"{"2": 4, "default": 2}"#, r#"{"x": 4}"#] {
            let error = map(text).validate(&SHAPE).unwrap_err();
            assert_eq!(error.field, "reduction_factor", "{text}");
        }
        map(r#"{"0": 4, "1": 2}"#).validate(&SHAPE).unwrap();
    }
}
