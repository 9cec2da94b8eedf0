//! Scores on the development rows during training.

use std::collections::BTreeMap;

use plotters::prelude::*;

use super::super::statistics::mean;
use super::super::summary::{Curve, TaskSummary};
use super::Plot;
use super::frame::{Axis, DrawError, colour, draw, symbol};

/// The learning curves of a task: a thin line for every seed, and where all seeds still run, their mean. `None` without any.
pub(crate) fn learning_curves(task: &TaskSummary) -> Option<Result<Plot, DrawError>> {
    let unit = task.unit?;
    let line = |curve: &Curve| -> Vec<(f64, f64)> {
        let points = curve.points.iter().filter(|point| point.score.is_finite());
        points
            .map(|point| (point.step as f64, unit.shown(point.score)))
            .collect()
    };
    let methods: Vec<Vec<Vec<(f64, f64)>>> = task
        .methods
        .iter()
        .map(|method| method.curves.iter().map(line).collect())
        .collect();
    let all = || methods.iter().flatten().flatten();
    let last = all().map(|(step, _)| *step).reduce(f64::max)?;
    let x = Axis::between("steps", 0.0, last * 1.02);
    let y = Axis::linear("development score", all().map(|(_, score)| *score))?;
    let title = format!("{}: learning curves", task.name);
    let names: Vec<&str> = task
        .methods
        .iter()
        .map(|method| method.name.as_str())
        .collect();
    let drawn = draw(&title, &names.join(", "), &x, &y, |chart| {
        for (index, lines) in methods.iter().enumerate() {
            for line in lines
                .iter()
                .filter(|line| lines.len() > 1 && line.len() > 1)
            {
                let style = colour(index).mix(0.3).stroke_width(2);
                chart.draw_series([PathElement::new(line.clone(), style)])?;
            }
        }
        for (index, lines) in methods.iter().enumerate() {
            let middle = middle(lines);
            chart.draw_series([PathElement::new(
                middle.clone(),
                colour(index).stroke_width(4),
            )])?;
            for point in middle {
                symbol(chart, index, point, 7)?;
            }
        }
        Ok(())
    });
    Some(drawn.map(|svg| Plot { title, svg }))
}

/// The mean at every step that all lines have.
fn middle(lines: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let mut scores: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (step, score) in lines.iter().flatten() {
        scores.entry(*step as u64).or_default().push(*score);
    }
    let complete = scores
        .into_iter()
        .filter(|(_, scores)| scores.len() == lines.len());
    complete
        .filter_map(|(step, scores)| Some((step as f64, mean(&scores)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_ends_where_the_first_seed_does() {
        let lines = [vec![(10.0, 1.0), (20.0, 3.0)], vec![(10.0, 2.0)]];
        assert_eq!(middle(&lines), [(10.0, 1.5)]);
        assert!(middle(&[]).is_empty());
    }
}
