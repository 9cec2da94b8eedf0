//! How much narrower the bottleneck is than the model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The model's width divided by the bottleneck's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "reduction_factor must be a number or a map from layer numbers and `default` to numbers"
)]
pub enum ReductionFactor {
    /// The same in every layer.
    Everywhere(f64),
    /// By layer number, e.g. `{"0": 4, "default": 16}`.
    PerLayer(BTreeMap<String, f64>),
}

/// The key for all layers that a map does not name.
pub(crate) const OTHER_LAYERS: &str = "default";

impl ReductionFactor {
    /// The factor of one layer; `None` where a map has neither the layer nor a default.
    pub fn of_layer(&self, layer: usize) -> Option<f64> {
        match self {
            Self::Everywhere(factor) => Some(*factor),
            Self::PerLayer(factors) => factors
                .get(&layer.to_string())
                .or_else(|| factors.get(OTHER_LAYERS))
                .copied(),
        }
    }
}

impl Default for ReductionFactor {
    fn default() -> Self {
        Self::Everywhere(16.0)
    }
}

/// `floor(width / factor)`, at least 1.
pub(crate) fn bottleneck_width(width: usize, factor: f64) -> usize {
    ((width as f64 / factor).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_gives_named_layers_first_and_the_default_elsewhere() {
        let map: ReductionFactor = serde_json::from_str(r#"{"0": 4, "default": 16}"#).unwrap();
        assert_eq!(map.of_layer(0), Some(4.0));
        assert_eq!(map.of_layer(1), Some(16.0));
        let partial: ReductionFactor = serde_json::from_str(r#"{"0": 4}"#).unwrap();
        assert_eq!(partial.of_layer(1), None);
        let number: ReductionFactor = serde_json::from_str("8").unwrap();
        assert_eq!(number.of_layer(5), Some(8.0));
        let error = serde_json::from_str::<ReductionFactor>("\"x\"").unwrap_err();
        assert!(error.to_string().contains("a number or a map"), "{error}");
    }

    #[test]
    fn a_bottleneck_has_at_least_one_column() {
        assert_eq!(bottleneck_width(768, 16.0), 48);
        assert_eq!(bottleneck_width(100, 16.0), 6);
        assert_eq!(bottleneck_width(8, 100.0), 1);
        assert_eq!(bottleneck_width(8, 0.5), 16);
    }
}
