//! What `pelt evaluate --gates` shows.

use std::path::Path;

use anyhow::{Result, ensure};
use pelt_methods::named_gates;
use pelt_train::GateMeans;
use serde::Serialize;

use crate::output::print_line;
use crate::run_folder::Run;

/// The mean of one gate over the rows that were scored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateMean {
    /// Level of a stack, from 1 at the bottom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<usize>,
    /// The encoder's layer, from 0; none at the pooler.
    pub layer: Option<usize>,
    /// Part and place, such as `lora.query`.
    pub component: String,
    pub mean: f64,
}

/// Checks that the run in `folder` has gates.
pub fn check(run: &Run, folder: &Path) -> Result<()> {
    ensure!(
        !named_gates(&run.model.method).is_empty(),
        "--gates: the method of the run in {} has no gates",
        folder.display()
    );
    Ok(())
}

/// The means by name, in the order of the layers. Layers that were skipped are not among them.
pub fn named(run: &Run, means: &GateMeans) -> Vec<GateMean> {
    let gates = named_gates(&run.model.method).into_iter();
    let named = gates.filter_map(|gate| {
        let mean = *means.get(&gate.weight)?.get(gate.column)?;
        Some(GateMean {
            level: gate.level,
            layer: gate.layer,
            component: gate.component,
            mean,
        })
    });
    named.collect()
}

/// Prints a table; gates of a stack have their level before the component.
pub fn print(means: &[GateMean]) -> Result<()> {
    print_line(format!("  {:>5} {:32} {:>6}", "layer", "gate", "mean"))?;
    for gate in means {
        let layer = gate.layer.map_or("-".into(), |layer| layer.to_string());
        let component = match gate.level {
            Some(level) => format!("{level}: {}", gate.component),
            None => gate.component.clone(),
        };
        print_line(format!("  {layer:>5} {component:32} {:>6.4}", gate.mean))?;
    }
    Ok(())
}
