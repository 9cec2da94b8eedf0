//! Several trained LoRAs as one adapter.

use pelt_lora::{Combination, Weighted, combine};

use crate::config::union;
use crate::{Adapter, AdapterConfig, AnyMethod, Level, MethodError, PartConfig};

/// One LoRA in the place of several, each times its weight.
///
/// # Errors
/// If one is no LoRA, and as [`pelt_lora::combine`].
pub fn combine_loras(
    levels: &[(Level, f64)],
    combination: Combination,
) -> Result<(AdapterConfig, Adapter), MethodError> {
    let weighted = levels.iter().map(|(level, weight)| {
        match (
            level.config.parts.as_slice(),
            level.adapter.parts.as_slice(),
        ) {
            ([PartConfig::Lora(config)], [AnyMethod::Lora(lora)]) => Ok(Weighted {
                config,
                lora,
                weight: *weight,
            }),
            (parts, _) => {
                let names: Vec<&str> = parts.iter().map(PartConfig::name).collect();
                Err(MethodError::Union(format!(
                    "only LoRAs can be combined, but \"{}\" is {}",
                    level.name,
                    names.join(" + ")
                )))
            }
        }
    });
    let weighted = weighted.collect::<Result<Vec<_>, _>>()?;
    let combined = combine(&weighted, combination);
    let (config, lora) = combined.map_err(|error| MethodError::Union(error.to_string()))?;
    let config = AdapterConfig {
        parts: vec![PartConfig::Lora(config)],
    };
    Ok((config, union(vec![AnyMethod::Lora(lora)])?))
}
