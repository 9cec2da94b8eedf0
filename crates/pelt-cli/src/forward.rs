//! `pelt forward`: one padded batch through a model, for comparison with other implementations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use pelt_encoder::{
    Architecture, Checkpoint, Encoder, Head, HeadConfig, HeadKind, PromptLabels, RowsRead,
    first_rows,
};
use pelt_hooks::{EncoderHooks, Hidden, PackedBatch, Packing, Pass, Sequence};
use pelt_methods::{Adapter, AdapterConfig, Fusion, Level, LoadedHead};
use pelt_tensors::{HostIntTensor, HostTensor, TensorFiles, write_safetensors};

use crate::args::ForwardArgs;
use crate::device::device;
use crate::method::Tuning;
use crate::model::{self, Base};
use crate::run_folder::{self, ADAPTER_NAME, RUN_FILE};

pub fn run(args: &ForwardArgs) -> Result<()> {
    let inputs = Inputs::read(&args.inputs)?;
    let base = Base::open(&args.model, None)?;
    let (encoder, adapter, mut head): Prepared = match args.adapter.as_slice() {
        [] => {
            let none = AdapterConfig { parts: Vec::new() };
            let none = none.init(base.encoder.shape(), &device(), &|_| None)?;
            (Arc::clone(&base.encoder), Box::new(none), None)
        }
        folders if args.fusion.is_some() => {
            let (fusion, head) = load_fused(folders, args, &base)?;
            (Arc::clone(&base.encoder), Box::new(fusion), head)
        }
        [folder] if folder.join(RUN_FILE).exists() => {
            let record = run_folder::read_record(folder)?;
            let model = run_folder::load(folder, record, &base, &args.model)?
                .model
                .valid();
            (
                Arc::new(model.encoder().clone()),
                Box::new(model.method),
                Some(model.head),
            )
        }
        [folder] => {
            let (level, head) = load_adapter(folder, &base)?;
            (Arc::clone(&base.encoder), Box::new(level.adapter), head)
        }
        folders => {
            let (adapter, head) = load_stack(folders, args, &base)?;
            (Arc::clone(&base.encoder), Box::new(adapter), head)
        }
    };
    let adapter: &dyn EncoderHooks = &*adapter;
    if let Some(folder) = &args.head {
        head = Some(head_from(folder, &base)?);
    } else if head.is_none() {
        head = model_head(&base.checkpoint)?;
    }
    let pass = Pass::evaluate().skipping(model::skipped_layers(&args.skip_layers, &base)?);
    let hidden = encoder.forward(&inputs.batch, &adapter, RowsRead::All, &pass)?;
    let first = first_rows(&hidden);
    let pooled = encoder.pool(&first, &adapter, &pass);
    let mut out = BTreeMap::new();
    let longest = inputs.columns + hidden.packing.longest() - inputs.batch.packing.longest();
    if let Some(head) = head.as_ref().filter(|head| head.config().kind.is_span()) {
        let logits = head.forward(hidden.clone(), &pass);
        for (side, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
            let side = Hidden {
                values: logits.clone().narrow(1, side, 1),
                packing: hidden.packing.clone(),
            };
            let HostTensor { mut shape, values } = padded(side, longest)?;
            shape.pop();
            out.insert(name.to_string(), HostTensor::new(shape, values)?);
        }
    } else if let Some(head) = head {
        if let Some(logits) = head.token_logits(hidden.values.clone(), &encoder) {
            let logits = Hidden {
                values: logits,
                packing: hidden.packing.clone(),
            };
            out.insert("logits".to_string(), padded(logits, longest)?);
        } else {
            out.insert(
                "logits".to_string(),
                sequence_logits(&head, &first, pooled.as_ref())?,
            );
        }
    }
    if let Some(pooled) = pooled {
        out.insert("pooler_output".to_string(), host(pooled.values)?);
    }
    out.insert("last_hidden_state".to_string(), padded(hidden, longest)?);
    Ok(write_safetensors(&args.output, &out, &BTreeMap::new())?)
}

/// The logits of a head that reads the first row of every sequence.
fn sequence_logits(head: &Head, first: &Hidden, pooled: Option<&Hidden>) -> Result<HostTensor> {
    let input = match head.config().kind {
        HeadKind::BertPooled => pooled
            .cloned()
            .context("the model has no pooler, which this head reads")?,
        _ => first.clone(),
    };
    host(head.forward(input, &Pass::evaluate()))
}

/// What is run: an encoder, what contributes to it, and a head.
type Prepared = (Arc<Encoder>, Box<dyn EncoderHooks>, Option<Head>);

/// A padded batch from a file, packed.
struct Inputs {
    batch: PackedBatch,
    columns: usize,
}

impl Inputs {
    fn read(path: &Path) -> Result<Self> {
        let files = TensorFiles::open(path)?;
        let ids = files.read_int("input_ids")?;
        let [rows, columns] = ids.shape[..] else {
            bail!(
                "{}: input_ids should be [batch, seq] but is {:?}",
                path.display(),
                ids.shape
            );
        };
        let same = |tensor: HostIntTensor, name: &str| {
            ensure!(
                tensor.shape == ids.shape,
                "{}: {name} should be {:?} like input_ids but is {:?}",
                path.display(),
                ids.shape,
                tensor.shape
            );
            Ok(tensor)
        };
        let mask = same(files.read_int("attention_mask")?, "attention_mask")?;
        let types = match files.contains("token_type_ids") {
            true => same(files.read_int("token_type_ids")?, "token_type_ids")?.values,
            false => vec![0; ids.values.len()],
        };
        ensure!(
            rows > 0 && columns > 0,
            "{}: input_ids has no rows",
            path.display()
        );
        let mut sequences = Vec::with_capacity(rows);
        for row in 0..rows {
            let range = row * columns..(row + 1) * columns;
            let mask = &mask.values[range.clone()];
            let length = mask.iter().take_while(|m| **m == 1).count();
            ensure!(
                length > 0 && mask[length..].iter().all(|m| *m == 0),
                "{}: row {row} of attention_mask should be ones and then zeros, starting with a one",
                path.display()
            );
            let numbers = |values: &[i64], name: &str| -> Result<Vec<u32>> {
                let values = values[range.clone()][..length].iter();
                let converted: Result<Vec<u32>, _> = values.map(|v| u32::try_from(*v)).collect();
                converted.ok().with_context(|| {
                    format!(
                        "{}: row {row} of {name} holds a number that is no token",
                        path.display()
                    )
                })
            };
            sequences.push(Sequence {
                input_ids: numbers(&ids.values, "input_ids")?,
                token_type_ids: numbers(&types, "token_type_ids")?,
            });
        }
        Ok(Self {
            batch: PackedBatch::new(&sequences),
            columns,
        })
    }
}

fn load_adapter(folder: &Path, base: &Base) -> Result<(Level, Option<Head>)> {
    let loaded = base.load_adapter(folder, &device())?;
    let head = match &loaded.head {
        Some(head) => Some(head_of(head, &loaded.name, base, folder, &device())?),
        None => None,
    };
    let level = Level {
        name: loaded.name,
        config: loaded.config,
        adapter: loaded.adapter,
    };
    Ok((level, head))
}

/// Several adapters, with the head of the last one that has a head.
fn load_levels(
    folders: &[PathBuf],
    args: &ForwardArgs,
    base: &Base,
) -> Result<(Vec<Level>, Option<Head>)> {
    let (mut levels, mut head) = (Vec::with_capacity(folders.len()), None);
    for folder in folders {
        let (level, own_head) = match folder.join(RUN_FILE).exists() {
            true => {
                let record = run_folder::read_record(folder)?;
                let tuning = record.config.tuning.clone();
                let trained = match &tuning {
                    Tuning::Adapter(_) => None,
                    Tuning::Fusion(_) => Some("a mixture of adapters"),
                    Tuning::Full | Tuning::BitFit => Some("the encoder itself"),
                };
                if let Some(trained) = trained {
                    bail!(
                        "{}: the run trained {trained}, which cannot be combined with adapters",
                        folder.display()
                    );
                }
                ensure!(
                    record.config.stack.is_none(),
                    "{}: the run was trained on top of other adapters, which it brings with it, so it cannot be combined with more",
                    folder.display()
                );
                let model = run_folder::load(folder, record, base, &args.model)?.model;
                let level = Level {
                    name: ADAPTER_NAME.into(),
                    config: tuning.adapter(),
                    adapter: model.method,
                };
                (level, Some(model.head))
            }
            false => load_adapter(folder, base)?,
        };
        levels.push(level);
        head = own_head.or(head);
    }
    Ok((levels, head))
}

/// The fusion of several adapters.
fn load_fused(
    folders: &[PathBuf],
    args: &ForwardArgs,
    base: &Base,
) -> Result<(Fusion, Option<Head>)> {
    let (levels, head) = load_levels(folders, args, base)?;
    let folder = args.fusion.as_ref().context("there is no --fusion")?;
    let loaded = base.load_fusion(folder, levels)?;
    Ok((loaded.fusion, head))
}

/// Several adapters on top of one another.
fn load_stack(
    folders: &[PathBuf],
    args: &ForwardArgs,
    base: &Base,
) -> Result<(Adapter, Option<Head>)> {
    let (levels, head) = load_levels(folders, args, base)?;
    let rules = args.stack_rules.rules();
    let adapter = pelt_methods::stack(levels, rules, base.encoder.shape())?;
    Ok((adapter, head))
}

/// The head in a folder: that of an adapter, or of a model.
pub fn head_from(folder: &Path, base: &Base) -> Result<Head> {
    if let Some(head) = pelt_methods::load_head(folder)? {
        let name = head.name.clone().unwrap_or_default();
        return head_of(&head, &name, base, folder, &device());
    }
    let shown = folder.display();
    let head = model_head(&Checkpoint::open(folder)?)?;
    let head =
        head.with_context(|| format!("{shown}: there is no classification head in this folder"))?;
    head.check_fits(base.encoder.shape())
        .map_err(|message| anyhow::anyhow!("{shown}: {message}"))?;
    Ok(head)
}

/// The classification, span or masked-language head of a checkpoint, if it has one.
fn model_head(checkpoint: &Checkpoint) -> Result<Option<Head>> {
    let classes = match checkpoint.config().architecture {
        Architecture::Bert => (HeadKind::BertPooled, "classifier.weight"),
        Architecture::Roberta => (HeadKind::Roberta, "classifier.out_proj.weight"),
    };
    let prompt_labels = PromptLabels::default();
    let spans = (HeadKind::Span { prompt_labels }, "qa_outputs.weight");
    let tokens = match checkpoint.config().architecture {
        Architecture::Bert => (HeadKind::BertMaskedLm, "cls.predictions.bias"),
        Architecture::Roberta => (HeadKind::RobertaMaskedLm, "lm_head.bias"),
    };
    let found = [classes, spans, tokens]
        .into_iter()
        .find_map(|(kind, name)| {
            let last = checkpoint.tensor(name).ok()?;
            Some((kind, *last.shape.first()?))
        });
    let Some((kind, labels)) = found else {
        return Ok(None);
    };
    let config = HeadConfig {
        kind,
        labels,
        dropout: 0.0,
    };
    Ok(checkpoint.head(config, &device())?)
}

/// The head of which a file holds the tensors, on `device`.
pub fn head_of(
    loaded: &LoadedHead,
    name: &str,
    base: &Base,
    folder: &Path,
    device: &Device,
) -> Result<Head> {
    let shape = base.encoder.shape();
    let head = Head::from_tensors(&loaded.tensors, name, shape.hidden_size, device);
    head.and_then(|head| head.check_fits(shape).map(|()| head))
        .map_err(|message| anyhow::anyhow!("{}: {message}", folder.display()))
}

fn host(tensor: Tensor<2>) -> Result<HostTensor> {
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data().try_to_vec_as::<f32>();
    let values =
        values.map_err(|e| anyhow::anyhow!("cannot read values from the device: {e:?}"))?;
    Ok(HostTensor::new(shape, values)?)
}

/// `[batch, longest, d]` with zeros where there is no token.
fn padded(hidden: Hidden, longest: usize) -> Result<HostTensor> {
    let Hidden { values, packing } = hidden;
    let width = values.dims()[1];
    let packed = host(values)?.values;
    let packing: Packing = packing;
    let mut out = vec![0.0; packing.sequences() * longest * width];
    for (sequence, rows) in out.chunks_exact_mut(longest * width).enumerate() {
        let range = packing.rows(sequence);
        rows[..range.len() * width]
            .copy_from_slice(&packed[range.start * width..range.end * width]);
    }
    Ok(HostTensor::new(
        vec![packing.sequences(), longest, width],
        out,
    )?)
}
