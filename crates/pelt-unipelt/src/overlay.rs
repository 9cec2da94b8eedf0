//! Settings written over a preset.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Error, Map, Value};

/// `preset` with the given fields replaced; fields that are not given keep the preset's value, not the type's default.
///
/// # Errors
/// If a field is unknown or has the wrong type.
pub(crate) fn overlay<T: Serialize + DeserializeOwned>(
    preset: &T,
    given: Map<String, Value>,
) -> Result<T, Error> {
    let mut value = serde_json::to_value(preset)?;
    if let Value::Object(fields) = &mut value {
        fields.extend(given);
    }
    serde_json::from_value(value)
}
