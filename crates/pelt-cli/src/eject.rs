//! `pelt eject`: a run with its prefixes as tables, without the networks that made them.

use anyhow::{Result, ensure};
use pelt_methods::{Adapter, AdapterConfig, AnyMethod, PartConfig};

use crate::args::EjectArgs;
use crate::method::Tuning;
use crate::model::Base;
use crate::output::print_line;
use crate::run_folder::{self, RUN_FOLDER, Run};
use crate::training::Counts;

pub fn run(args: &EjectArgs) -> Result<()> {
    let shown = args.run.display();
    let record = run_folder::read_record(&args.run)?;
    ensure!(
        record.config.stack.is_none(),
        "{shown}: the run's adapter stands on others, and only one that stands alone can be ejected"
    );
    let base = Base::open(&args.model, None)?;
    let Run {
        mut record,
        mut model,
    } = run_folder::load(&args.run, record, &base, &args.model)?;
    let ejected = match &mut record.config.tuning {
        Tuning::Adapter(config) => eject(config, &mut model.method),
        Tuning::Fusion(_) | Tuning::Full | Tuning::BitFit => 0,
    };
    ensure!(
        ejected > 0,
        "{shown}: there is no prefix in this run that a network makes"
    );
    let mut results = record.results;
    results.trainable_parameters = Counts::of(&model, &base).trained;
    run_folder::prepare(&RUN_FOLDER, &args.out, args.force, false)?;
    run_folder::save(&args.out, &record.config, results, &model, &base)?;
    print_line(format!("run: {}", args.out.display()))
}

/// Ejects every prefix, also those of the levels of a stack; how many there were.
fn eject(config: &mut AdapterConfig, adapter: &mut Adapter) -> usize {
    let mut ejected = 0;
    for parts in config.parts.iter_mut().zip(&mut adapter.parts) {
        match parts {
            (PartConfig::Prefix(prefix), AnyMethod::Prefix(made)) if !prefix.flat => {
                prefix.flat = true;
                *made = made.clone().eject();
                ejected += 1;
            }
            (PartConfig::Stack(config), AnyMethod::Stack(stack)) => {
                let levels = config.levels.iter_mut().zip(&mut stack.levels);
                ejected += levels
                    .map(|(config, level)| eject(config, level))
                    .sum::<usize>();
            }
            _ => {}
        }
    }
    ejected
}
