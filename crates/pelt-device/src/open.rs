//! From a name to a device.

use burn::tensor::Device;

use crate::probe::{devices, try_out};
use crate::{Backend, DeviceError};

/// The device of this name: a [backend's](Backend) with a number behind a colon where it can have several (0 without).
///
/// # Errors
/// [`DeviceError`]: there is no such device, it is not compiled in, or it does not work.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown { name: name.into() };
    let (start, number) = match name.split_once(':') {
        Some((start, number)) => (start, Some(number.parse().map_err(|_| unknown())?)),
        None => (name, None),
    };
    let backend = Backend::from_name(start).ok_or_else(unknown)?;
    if number.is_some() && !backend.is_numbered() {
        return Err(unknown());
    }
    if !backend.is_built() {
        return Err(DeviceError::NotBuilt {
            name: name.into(),
            feature: backend.feature(),
        });
    }
    let broken = |message| DeviceError::Broken {
        name: name.into(),
        message,
    };
    let mut devices = devices(backend).map_err(broken)?;
    let number: usize = number.unwrap_or(0);
    if number >= devices.len() {
        return Err(DeviceError::Missing {
            name: name.into(),
            found: match devices.len() {
                0 => backend.why_none().into(),
                1 => format!("there is one, `{}`", backend.device_name(0)),
                count => format!("there are {count}, numbered from 0"),
            },
        });
    }
    let device = devices.swap_remove(number);
    try_out(&device).map_err(broken)?;
    Ok(device)
}

/// The device that is used where none is named: the first of [`Backend::ALL`] that is compiled in.
pub fn default_name() -> &'static str {
    let built = Backend::ALL.into_iter().find(|backend| backend.is_built());
    built.unwrap_or(Backend::Flex).name()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> String {
        open(name).unwrap_err().to_string()
    }

    #[test]
    fn a_name_that_nothing_has_lists_what_there_is() {
        for name in [
            "gpu",
            "",
            "flex:0",
            "tch-cpu:1",
            "cuda:first",
            "cuda:-1",
            "cuda:",
            "Flex",
        ] {
            let expected = format!("no device is called `{name}`; this build has flex");
            assert!(error(name).starts_with(&expected), "{}", error(name));
        }
    }

    #[test]
    #[cfg(not(any(feature = "tch", feature = "cuda")))]
    fn a_device_that_is_not_compiled_in_names_its_feature() {
        for (name, feature) in [("tch-cpu", "tch"), ("tch-cuda:1", "tch"), ("cuda", "cuda")] {
            let found = error(name);
            assert!(found.contains(&format!("--features {feature}")), "{found}");
            assert!(found.contains(&format!("`{name}`")), "{found}");
        }
    }

    #[test]
    fn the_processor_is_the_default_where_it_is_compiled_in() {
        assert_eq!(default_name(), "flex");
        assert_eq!(open("flex").unwrap(), Device::flex());
    }
}
