//! The table of methods. A new method is one line in it; where others are needed the compiler asks for them.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use pelt_hooks::{
    ConfigError, EncoderHooks, EncoderShape, Hidden, KeyValue, Method, NamedParam, Pass,
    ProjectionDelta, ProjectionSite, Prompt, Reads, SiteInput, SublayerSite, SublayerStates,
};
use pelt_prompt::PromptConfig;
use pelt_unipelt::{Stack, Union};
use serde::{Deserialize, Serialize};

use crate::StackConfig;

/// Word embedding rows `[k, d]` for a prompt that starts from words; `None` where there are none.
pub type PromptRows<'a> = &'a dyn Fn(&PromptConfig) -> Option<Tensor<2>>;

macro_rules! methods {
    (
        $($tag:literal => $variant:ident($config:ty, $module:ty), init $init:expr;)*
        of trained adapters: $($made:ident($made_module:ty)),*
    ) => {
        /// One method of the registry.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)] // A run has a handful of these, and they are not moved about.
        pub enum AnyMethod {
            $(#[doc = concat!("`", $tag, "`.")] $variant($module),)*
            $(#[doc = concat!("[`", stringify!($made_module), "`], made of trained adapters.")] $made($made_module),)*
        }

        /// The configuration of one method; `type` names it in files.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        pub enum PartConfig {
            $(#[doc = concat!("`", $tag, "`.")] #[serde(rename = $tag)] $variant($config),)*
        }

        impl PartConfig {
            /// The names of all methods.
            pub const TYPES: &'static [&'static str] = &[$($tag),*];

            /// The name of this method.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $tag,)* }
            }

            /// Checks the settings against an encoder.
            ///
            /// # Errors
            /// The first setting that cannot work.
            pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
                match self { $(Self::$variant(config) => config.validate(shape),)* }
            }

            /// Creates the method's parameters.
            ///
            /// # Errors
            /// As [`validate`](Self::validate).
            pub fn init(
                &self,
                shape: &EncoderShape,
                device: &Device,
                rows: PromptRows<'_>,
            ) -> Result<AnyMethod, ConfigError> {
                match self {
                    $(Self::$variant(config) => {
                        let init: fn(&$config, &EncoderShape, &Device, PromptRows<'_>) -> Result<$module, ConfigError> = $init;
                        init(config, shape, device, rows).map(AnyMethod::$variant)
                    })*
                }
            }
        }

        impl EncoderHooks for AnyMethod {
            fn prompt(&self) -> Option<Prompt> {
                match self { $(Self::$variant(method) => method.prompt(),)* $(Self::$made(method) => method.prompt(),)* }
            }

            fn position_shift(&self) -> usize {
                match self { $(Self::$variant(method) => method.position_shift(),)* $(Self::$made(method) => method.position_shift(),)* }
            }

            fn input_scale(&self, site: ProjectionSite) -> Option<Tensor<1>> {
                match self { $(Self::$variant(method) => method.input_scale(site),)* $(Self::$made(method) => method.input_scale(site),)* }
            }

            fn changes(&self, site: ProjectionSite) -> bool {
                match self { $(Self::$variant(method) => method.changes(site),)* $(Self::$made(method) => method.changes(site),)* }
            }

            fn changes_layer(&self, layer: usize) -> bool {
                match self { $(Self::$variant(method) => method.changes_layer(layer),)* $(Self::$made(method) => method.changes_layer(layer),)* }
            }

            fn projection_reads(&self, site: ProjectionSite) -> Reads {
                match self { $(Self::$variant(method) => method.projection_reads(site),)* $(Self::$made(method) => method.projection_reads(site),)* }
            }

            fn sublayer_reads(&self, site: SublayerSite) -> Reads {
                match self { $(Self::$variant(method) => method.sublayer_reads(site),)* $(Self::$made(method) => method.sublayer_reads(site),)* }
            }

            fn projection(&self, site: ProjectionSite, input: &SiteInput<'_>, pass: &Pass) -> Option<Tensor<2>> {
                match self { $(Self::$variant(method) => method.projection(site, input, pass),)* $(Self::$made(method) => method.projection(site, input, pass),)* }
            }

            fn prefix(&self, layer: usize, input: &Hidden, pass: &Pass) -> Vec<KeyValue> {
                match self { $(Self::$variant(method) => method.prefix(layer, input, pass),)* $(Self::$made(method) => method.prefix(layer, input, pass),)* }
            }

            fn sublayer(&self, site: SublayerSite, states: &SublayerStates<'_>, pass: &Pass) -> Option<Tensor<2>> {
                match self { $(Self::$variant(method) => method.sublayer(site, states, pass),)* $(Self::$made(method) => method.sublayer(site, states, pass),)* }
            }

            fn needs_all_rows(&self, layer: usize) -> bool {
                match self { $(Self::$variant(method) => method.needs_all_rows(layer),)* $(Self::$made(method) => method.needs_all_rows(layer),)* }
            }
        }

        impl Method for AnyMethod {
            fn named_params(&self) -> Vec<NamedParam> {
                match self { $(Self::$variant(method) => method.named_params(),)* $(Self::$made(method) => method.named_params(),)* }
            }

            fn penalty(&self) -> Option<Tensor<1>> {
                match self { $(Self::$variant(method) => method.penalty(),)* $(Self::$made(method) => method.penalty(),)* }
            }

            fn for_inference(self) -> (Self, Vec<ProjectionDelta>) {
                match self {
                    $(Self::$variant(method) => {
                        let (method, deltas) = method.for_inference();
                        (Self::$variant(method), deltas)
                    })*
                    $(Self::$made(method) => {
                        let (method, deltas) = method.for_inference();
                        (Self::$made(method), deltas)
                    })*
                }
            }
        }
    };
}

methods! {
    "lora" => Lora(pelt_lora::LoraConfig, pelt_lora::Lora), init |config, shape, device, _| config.init(shape, device);
    "bottleneck" => Bottleneck(pelt_adapter::BottleneckConfig, pelt_adapter::Bottleneck), init |config, shape, device, _| config.init(shape, device);
    "prefix" => Prefix(pelt_prefix::PrefixConfig, pelt_prefix::Prefix), init |config, shape, device, _| config.init(shape, device);
    "ia3" => Ia3(pelt_ia3::Ia3Config, pelt_ia3::Ia3), init |config, shape, device, _| config.init(shape, device);
    "stack" => Stack(StackConfig, Stack<Adapter>), init |config, shape, device, rows| config.init(shape, device, rows);
    "prompt" => Prompt(PromptConfig, pelt_prompt::PromptTuning), init |config, shape, device, rows| config.init_with(shape, device, rows(config));
    of trained adapters: Fusion(pelt_adapter::Fusion)
}

/// What the tool trains: a union of methods.
pub type Adapter = Union<AnyMethod>;
