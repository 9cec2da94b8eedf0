//! The registry of methods, and their file formats.
//!
//! [`AdapterConfig`] describes a union of parts (one part is a union of one), and [`AdapterConfig::init`] makes the
//! [`Adapter`] that an encoder hooks in. [`load`] reads adapters saved by AdapterHub's `adapters` and by PEFT;
//! [`save`] writes AdapterHub's format, and [`save_peft`] what PEFT's can hold.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_hooks::EncoderShape;
//! use pelt_methods::{AdapterConfig, ModelInfo, load, save};
//!
//! let shape = EncoderShape {
//!     layers: 2,
//!     hidden_size: 32,
//!     heads: 4,
//!     intermediate_size: 64,
//!     vocab_size: 120,
//!     max_positions: 64,
//!     pooler: true,
//! };
//! let mut config = AdapterConfig::preset("unipelt")?;
//! config.set("lora.r=4")?;
//! let adapter = config.init(&shape, &Device::flex(), &|_| None)?;
//!
//! let info = ModelInfo {
//!     model_type: "bert".into(),
//!     model_name: "tiny".into(),
//!     model_class: "BertModel".into(),
//!     hidden_size: 32,
//! };
//! let folder = tempfile::tempdir()?;
//! save(folder.path(), "sentiment", &config, &adapter, &info)?;
//! let loaded = load(folder.path(), &shape, "bert", &Device::flex(), &|_| None)?;
//! assert_eq!(loaded.name, "sentiment");
//! assert_eq!(loaded.config, config);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapterhub;
mod combine;
mod config;
mod error;
mod format;
mod fusion;
mod gates;
mod head;
mod peft;
mod preset;
mod registry;
mod stack;
mod tensors;

pub use adapterhub::{
    LoadedFusion, ModelInfo, adapterhub_cannot_hold, load_fusion, save, save_fusion,
    save_pytorch_copies,
};
pub use combine::combine_loras;
pub use config::AdapterConfig;
pub use error::MethodError;
pub use format::{BaseTensors, Loaded, description, load};
pub use fusion::{as_adapter, as_fusion, fuse, with_fusion_setting};
pub use gates::{NamedGate, named_gates};
pub use head::{LoadedHead, load_head, save_head};
pub use peft::{PeftTarget, peft_cannot_hold, save_peft};
pub use pelt_adapter::{Fusion, FusionConfig};
pub use pelt_lora::Combination;
pub use pelt_prompt::{PromptConfig, PromptInit};
pub use pelt_unipelt::{StackRules, StackedLora, StackedParallel};
pub use preset::{Preset, presets};
pub use registry::{Adapter, AnyMethod, PartConfig};
pub use stack::{Level, StackConfig, stack, stack_on, trained_level};
