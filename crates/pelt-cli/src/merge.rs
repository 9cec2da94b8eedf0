//! `pelt merge`: an adapter in the weights of its encoder, or several LoRAs in one.

use anyhow::{Context, Result, ensure};
use pelt_methods::{Combination, ModelInfo, adapterhub_cannot_hold, combine_loras};

use crate::args::{CombinationChoice, ExportArgs, ExportFormat, MergeArgs};
use crate::device::device;
use crate::export;
use crate::model::Base;
use crate::talk;
use crate::trained_adapter::TrainedAdapter;

pub fn run(args: &MergeArgs) -> Result<()> {
    match &args.run {
        Some(run) => export::run(&ExportArgs {
            run: run.clone(),
            model: args.model.clone(),
            format: ExportFormat::SafetensorsMerged,
            out: args.out.clone(),
            name: args.name.clone(),
            base_name: None,
        }),
        None => combine(args),
    }
}

fn combine(args: &MergeArgs) -> Result<()> {
    ensure!(
        args.weights.len() == args.adapter.len(),
        "--weights has {} numbers for {} adapters",
        args.weights.len(),
        args.adapter.len()
    );
    ensure!(
        args.weights.iter().all(|weight| weight.is_finite()),
        "--weights must be numbers, but has one that is none"
    );
    export::check_name(&args.name)?;
    let base = Base::open(&args.model, None)?;
    let mut levels = Vec::with_capacity(args.adapter.len());
    for (folder, weight) in args.adapter.iter().zip(&args.weights) {
        let found = TrainedAdapter::to_go_on_from(folder, &base, &device())?;
        levels.push((found.level, *weight));
    }
    let combination = match args.combination {
        CombinationChoice::Concatenated => Combination::Concatenated,
        CombinationChoice::Linear => Combination::Linear,
    };
    let (config, adapter) = combine_loras(&levels, combination)?;
    config.validate(base.encoder.shape()).with_context(|| {
        format!(
            "the {} LoRAs cannot be put beside one another on this encoder; --combination linear adds up LoRAs of one rank",
            levels.len()
        )
    })?;
    if let Some(why) = config.parts.iter().find_map(adapterhub_cannot_hold) {
        talk::note(format!("`adapters` will not load the result: {why}"));
    }
    let mut info = ModelInfo {
        model_type: base.config().architecture.name().into(),
        model_name: export::model_name(&args.model)?,
        model_class: String::new(),
        hidden_size: base.encoder.shape().hidden_size,
    };
    info.model_class = info.flexible_class();
    export::in_new_folder(&args.out, |out| {
        pelt_methods::save(out, &args.name, &config, &adapter, &info)?;
        export::card_of_combination(out, args, &info.model_name)?;
        Ok(pelt_methods::save_pytorch_copies(out)?)
    })
}
