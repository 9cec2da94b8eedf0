//! The model of a case.

use anyhow::{Result, ensure};
use burn::tensor::Device;
use pelt_encoder::{Architecture, Checkpoint, Encoder, Head, HeadConfig, HeadKind, PromptLabels};
use pelt_hooks::{ADAPTER, EncoderHooks, EncoderShape, NamedParam};
use pelt_methods::{
    Adapter, AdapterConfig, AnyMethod, Fusion, Level, StackRules, StackedLora, StackedParallel,
    load_fusion, stack,
};

use crate::case::Case;

/// A case's model; what the case has gradients for is on the autodiff side of the device.
pub(crate) struct Model {
    pub encoder: Encoder,
    pub adapter: Adapter,
    pub fusion: Option<Fusion>,
    pub head: Option<Head>,
    model_type: &'static str,
    adapter_name: String,
    peft: bool,
}

impl Model {
    pub fn load(case: &Case, plain: &Device) -> Result<Self> {
        let device = plain.clone().autodiff();
        let checkpoint = Checkpoint::open(&case.shared("model"))?;
        let encoder = checkpoint.encoder(plain)?.with_dropout(0.0, 0.0);
        let model_type = checkpoint.config().architecture.name();
        let shape = *encoder.shape();
        let mut head = checkpoint_head(&checkpoint, &device)?;
        let folder = case.path("adapter");
        let none = AdapterConfig { parts: vec![] };
        let mut adapter = none.init(&shape, &device, &|_| None)?;
        let mut adapter_name = String::new();
        if folder.exists() {
            let base = |name: &str| checkpoint.tensor(name).ok().map(|tensor| tensor.values);
            let loaded = pelt_methods::load(&folder, &shape, model_type, &device, &base)?;
            if let Some(saved) = &loaded.head {
                let width = shape.hidden_size;
                head = Head::from_tensors(&saved.tensors, &loaded.name, width, &device).ok();
            }
            adapter = loaded.adapter;
            adapter_name = loaded.name;
        }
        if !case.composed("stack").is_empty() {
            let levels = levels(case, "stack", &shape, model_type, &device)?;
            adapter = stack(levels, RULES, &shape)?;
        }
        let fused = case.composed("fuse");
        let mut fusion = None;
        if !fused.is_empty() {
            adapter_name = fused.join(",");
            let levels = levels(case, "fuse", &shape, model_type, &device)?;
            let loaded = load_fusion(&case.path("fusion"), levels, &shape, model_type, &device)?;
            ensure!(loaded.names == fused, "fused adapters: {:?}", loaded.names);
            fusion = Some(loaded.fusion);
        }
        let trained: fn(&str) -> bool = match case.text("kind") {
            "bitfit" => |name| name.ends_with(".bias"),
            "base" if case.path("grads.safetensors").exists() => |_| true,
            _ => |_| false,
        };
        let params = encoder.named_params();
        let tuned = params.iter().any(|param| trained(&param.name));
        Ok(Self {
            encoder: match tuned {
                true => encoder.trainable(trained),
                false => encoder,
            },
            adapter,
            fusion,
            head,
            model_type,
            adapter_name,
            peft: case.text("kind") == "peft",
        })
    }

    pub fn hooks(&self) -> &dyn EncoderHooks {
        match &self.fusion {
            Some(fusion) => fusion,
            None => &self.adapter,
        }
    }

    /// The adapter, or those of a stack, by name.
    pub fn levels(&self) -> Vec<(&str, &Adapter)> {
        match self.adapter.parts.as_slice() {
            [AnyMethod::Stack(stack)] => stack.named_levels().collect(),
            _ => vec![(&self.adapter_name, &self.adapter)],
        }
    }

    /// The name of a trained parameter in `grads.safetensors`.
    pub fn gradient_name(&self, param: &NamedParam) -> String {
        let name = param.name.replace(ADAPTER, &self.adapter_name);
        let is_head = ["classifier", "heads.", "qa_outputs", "cls.", "lm_head."]
            .iter()
            .any(|start| name.starts_with(start));
        let model_type = self.model_type;
        if !self.peft {
            return match is_head {
                true => name,
                false => format!("{model_type}.{name}"),
            };
        }
        let lora = format!(".loras.{}.", self.adapter_name);
        let start = format!("base_model.model.{model_type}");
        match name.split_once(&lora) {
            Some((path, "bias_delta")) => format!("{start}.{path}.base_layer.bias"),
            Some((path, _)) if matches!(self.adapter.parts[0], AnyMethod::Ia3(_)) => {
                format!("{start}.{path}.ia3_l")
            }
            Some((path, tensor)) => format!("{start}.{path}.{tensor}.weight"),
            None if is_head => format!("base_model.model.{name}"),
            None => "prompt_encoder.embedding.weight".into(),
        }
    }
}

/// How the reference puts adapters on top of one another.
const RULES: StackRules = StackRules {
    lora: StackedLora::Composed,
    parallel: StackedParallel::Last,
};

/// The adapters of a stacked or fused case.
fn levels(
    case: &Case,
    how: &str,
    shape: &EncoderShape,
    model_type: &str,
    device: &Device,
) -> Result<Vec<Level>> {
    let level = |name: &str| {
        let folder = case.path(&format!("adapter_{name}"));
        let loaded = pelt_methods::load(&folder, shape, model_type, device, &|_| None)?;
        ensure!(loaded.name == name, "{} is called {}", name, loaded.name);
        Ok(Level {
            name: loaded.name,
            config: loaded.config,
            adapter: loaded.adapter,
        })
    };
    case.composed(how).into_iter().map(level).collect()
}

fn checkpoint_head(checkpoint: &Checkpoint, device: &Device) -> Result<Option<Head>> {
    let (kind, last) = match checkpoint.config().architecture {
        Architecture::Bert => (HeadKind::BertPooled, "classifier.weight"),
        Architecture::Roberta => (HeadKind::Roberta, "classifier.out_proj.weight"),
    };
    let prompt_labels = PromptLabels::default();
    let spans = (HeadKind::Span { prompt_labels }, "qa_outputs.weight");
    let bert = (HeadKind::BertMaskedLm, "cls.predictions.bias");
    let roberta = (HeadKind::RobertaMaskedLm, "lm_head.bias");
    let known = [(kind, last), spans, bert, roberta];
    let found = known.into_iter().find_map(|(kind, last)| {
        let last = checkpoint.tensor(last).ok()?;
        Some((kind, last.shape[0]))
    });
    let Some((kind, labels)) = found else {
        return Ok(None);
    };
    let config = HeadConfig {
        kind,
        labels,
        dropout: 0.0,
    };
    Ok(checkpoint.head(config, device)?)
}
