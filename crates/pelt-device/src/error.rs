//! Why there is no device of a name.

use crate::Backend;

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No backend has this name.
    #[error("no device is called `{name}`; this build has {}", built())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The backend exists and is not compiled in.
    #[error(
        "the device `{name}` is not in this build, which has {}; build with the feature `{feature}` (cargo build --release --features {feature})",
        built()
    )]
    NotBuilt {
        /// What was asked for.
        name: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The machine has no such device.
    #[error("there is no device `{name}`: {found}")]
    Missing {
        /// What was asked for.
        name: String,
        /// What there is instead.
        found: String,
    },
    /// The device is there and fails.
    #[error("the device `{name}` does not work: {message}")]
    Broken {
        /// What was asked for.
        name: String,
        /// What the backend said.
        message: String,
    },
}

/// The devices that are compiled in, as a user writes them.
pub(crate) fn built() -> String {
    let built = Backend::ALL
        .into_iter()
        .filter(|backend| backend.is_built());
    let names: Vec<String> = built.map(|backend| backend.device_name(0)).collect();
    match names.is_empty() {
        true => "none".to_string(),
        false => names.join(", "),
    }
}
