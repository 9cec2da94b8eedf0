//! Mixtures of trained adapters.

use burn::tensor::Device;
use pelt_adapter::{Bottleneck, Fusion, FusionConfig};
use pelt_hooks::{EncoderShape, draw};

use crate::config::{parse_value, union, with_setting};
use crate::stack::names_apart;
use crate::{Adapter, AnyMethod, Level, MethodError};

/// A new mixture of trained adapters, which stay as they are, and their names, told apart by numbers.
///
/// # Errors
/// If one of them is no bottleneck adapter, and as [`FusionConfig::init`].
pub fn fuse(
    adapters: Vec<Level>,
    config: &FusionConfig,
    shape: &EncoderShape,
    device: &Device,
) -> Result<(Vec<String>, Adapter), MethodError> {
    let adapters = names_apart(adapters);
    let names = adapters.iter().map(|level| level.name.clone()).collect();
    let adapters = adapters.into_iter().map(bottleneck);
    let adapters = adapters
        .collect::<Result<_, _>>()
        .map_err(MethodError::Union)?;
    let adapter = as_adapter(config.init(adapters, shape, device)?)?;
    draw(&adapter);
    Ok((names, adapter))
}

/// A mixture as the only part of a method.
///
/// # Errors
/// None that can happen: one part fits together with itself.
pub fn as_adapter(fusion: Fusion) -> Result<Adapter, MethodError> {
    union(vec![AnyMethod::Fusion(fusion)])
}

/// The mixture that is the only part of a method.
pub fn as_fusion(adapter: &Adapter) -> Option<&Fusion> {
    match adapter.parts.as_slice() {
        [AnyMethod::Fusion(fusion)] => Some(fusion),
        _ => None,
    }
}

/// The settings with one changed: `fusion.kind=static`.
///
/// # Errors
/// Naming what is unknown, and what is there instead.
pub fn with_fusion_setting(
    config: &FusionConfig,
    setting: &str,
) -> Result<FusionConfig, MethodError> {
    let error = |message: String| MethodError::Setting {
        setting: setting.to_string(),
        message,
    };
    let expected = || error("expected fusion.KEY=VALUE, e.g. fusion.kind=static".into());
    let (path, value) = setting.split_once('=').ok_or_else(expected)?;
    let key = path.trim().strip_prefix("fusion.").ok_or_else(expected)?;
    with_setting(config, &[key], parse_value(value)).map_err(error)
}

/// The bottleneck adapter that a level is.
pub(crate) fn bottleneck(level: Level) -> Result<Bottleneck, String> {
    let mut parts = level.adapter.parts;
    match (parts.pop(), parts.is_empty()) {
        (Some(AnyMethod::Bottleneck(bottleneck)), true) => Ok(bottleneck),
        _ => Err(format!(
            "only bottleneck adapters can be fused, but {} is another method",
            level.name
        )),
    }
}
