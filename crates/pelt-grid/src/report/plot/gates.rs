//! How far the parts of a gated method are open in every layer.

use std::collections::BTreeSet;

use plotters::prelude::*;

use super::super::summary::Summary;
use super::Plot;
use super::frame::{Axis, DrawError, colour, draw, symbol};

/// A plot for every method with gates and every part of it, with a line for each task.
pub(crate) fn gate_plots(summary: &Summary) -> Vec<Result<Plot, DrawError>> {
    let mut plots = Vec::new();
    for (index, method) in summary.plan.methods.iter().enumerate() {
        let gates = || {
            summary
                .tasks
                .iter()
                .flat_map(|task| &task.methods[index].gates)
        };
        let parts: BTreeSet<&str> = gates().map(|gate| gate.component.as_str()).collect();
        let last = gates().map(|gate| gate.layer).max().unwrap_or_default();
        for part in parts {
            let x = Axis::between("layer", -0.3, last as f64 + 0.3);
            let y = Axis::between("mean gate", 0.0, 1.0);
            let title = format!("{}: gate of {part}", method.name);
            let tasks: Vec<&str> = summary
                .tasks
                .iter()
                .map(|task| task.name.as_str())
                .collect();
            let drawn = draw(&title, &tasks.join(", "), &x, &y, |chart| {
                for (series, task) in summary.tasks.iter().enumerate() {
                    let own = task.methods[index]
                        .gates
                        .iter()
                        .filter(|gate| gate.component == part);
                    let mut line: Vec<(f64, f64)> =
                        own.map(|gate| (gate.layer as f64, gate.mean)).collect();
                    line.sort_by(|left, right| left.0.total_cmp(&right.0));
                    if line.is_empty() {
                        continue;
                    }
                    chart.draw_series([PathElement::new(
                        line.clone(),
                        colour(series).stroke_width(4),
                    )])?;
                    for point in line {
                        symbol(chart, series, point, 8)?;
                    }
                }
                Ok(())
            });
            plots.push(drawn.map(|svg| Plot { title, svg }));
        }
    }
    plots
}
