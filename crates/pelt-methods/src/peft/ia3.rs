//! PEFT's (IA)³.

use pelt_hooks::{Projection, ProjectionSite};
use pelt_ia3::{Ia3Config, Ia3Target};
use pelt_tensors::TensorFiles;
use serde_json::Value;

use super::targets::{choose, names, refuse};
use crate::format::Target;

/// The name of the factors of a projection.
pub const FACTOR: &str = "ia3_l";

/// Settings that change what is computed in ways that are not supported.
const REFUSED: [&str; 2] = ["exclude_modules", "fan_in_fan_out"];

/// What the file describes; the message is completed with the file's name by the caller.
pub fn config(json: &Value, target: &Target<'_>, files: &TensorFiles) -> Result<Ia3Config, String> {
    refuse(json, &REFUSED)?;
    let pooler = format!("pooler.dense.{FACTOR}");
    let in_file = files.names().any(|name| name.ends_with(&pooler));
    let usual = ["key", "value", "output.dense"];
    let chosen = choose(json, &usual, target, in_file)?;
    let feedforward = names(json, "feedforward_modules", &["output.dense"])?;
    // Unlike a target, this may end within a name.
    let is_feedforward = |site: ProjectionSite| {
        let path = site.path();
        feedforward.iter().any(|end| path.ends_with(end))
    };
    let sites = chosen.projections.iter().map(|projection| {
        let site = ProjectionSite::Layer(0, *projection);
        (ia3_target(*projection), site)
    });
    let pooler = chosen
        .pooler
        .then_some((Ia3Target::Pooler, ProjectionSite::Pooler));
    let sites: Vec<(Ia3Target, ProjectionSite)> = sites.chain(pooler).collect();
    let scaled_inputs = sites.iter().filter(|(_, site)| is_feedforward(*site));
    Ok(Ia3Config {
        targets: sites.iter().map(|(target, _)| *target).collect(),
        feedforward: scaled_inputs.map(|(target, _)| *target).collect(),
        leave_out: chosen.leave_out,
        ..Ia3Config::default()
    })
}

fn ia3_target(projection: Projection) -> Ia3Target {
    match projection {
        Projection::Query => Ia3Target::Query,
        Projection::Key => Ia3Target::Key,
        Projection::Value => Ia3Target::Value,
        Projection::AttentionOutput => Ia3Target::AttentionOutput,
        Projection::Intermediate => Ia3Target::Intermediate,
        Projection::Output => Ia3Target::Output,
    }
}
