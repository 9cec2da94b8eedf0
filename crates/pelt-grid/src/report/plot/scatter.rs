//! Scores against what they cost, with the methods that no other one beats in both.

use plotters::prelude::*;

use super::super::format;
use super::super::score::Unit;
use super::super::summary::{CostSummary, Summary, TaskSummary};
use super::super::tables::metric_of;
use super::Plot;
use super::frame::{Axis, DrawError, draw, ink, symbol};

/// What the scores are drawn against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// Trained parameters.
    Parameters,
    /// Time of the training.
    Time,
}

impl Against {
    fn of(self, cost: &CostSummary) -> f64 {
        match self {
            Self::Parameters => cost.trainable,
            Self::Time => cost.seconds,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Parameters => "trainable parameters",
            Self::Time => "training time",
        }
    }

    /// Values at which an axis may have a label, for costs between these.
    fn candidates(self, least: f64, most: f64) -> Vec<f64> {
        let powers = |factors: &[f64]| -> Vec<f64> {
            let powers = (0..13).map(|power| 10_f64.powi(power));
            powers
                .flat_map(|power| factors.iter().map(move |factor| factor * power))
                .collect()
        };
        match self {
            Self::Parameters if most / least > 30.0 => powers(&[1.0]),
            Self::Parameters => powers(&[1.0, 2.0, 5.0]),
            Self::Time => {
                let [second, minute, hour] = [1.0, 60.0, 3600.0];
                [
                    (second, &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0][..]),
                    (minute, &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0]),
                    (hour, &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]),
                ]
                .into_iter()
                .flat_map(|(unit, factors)| factors.iter().map(move |factor| factor * unit))
                .collect()
            }
        }
    }

    fn label(self, value: f64) -> String {
        match self {
            Self::Parameters => short(value, &[(1e9, " G"), (1e6, " M"), (1e3, " k")]),
            Self::Time => short(value, &[(3600.0, " h"), (60.0, " min"), (1.0, " s")]),
        }
    }
}

fn short(value: f64, units: &[(f64, &str)]) -> String {
    let unit = units.iter().find(|(size, _)| value >= *size * 0.999);
    let (size, name) = unit.copied().unwrap_or((1.0, ""));
    let scaled = value / size;
    match scaled {
        scaled if scaled >= 9.95 || (scaled - scaled.round()).abs() < 0.01 => {
            format!("{scaled:.0}{name}")
        }
        scaled => format!("{scaled:.1}{name}"),
    }
}

/// One method: its number, cost and score.
type Point = (usize, f64, f64);

/// Score against cost of every method on a task; `None` as long as there are not two of them.
pub(crate) fn scatter(
    summary: &Summary,
    task: &TaskSummary,
    against: Against,
) -> Option<Result<Plot, DrawError>> {
    let points: Vec<Point> = task
        .methods
        .iter()
        .enumerate()
        .filter_map(|(index, method)| {
            let cost = against.of(method.cost.as_ref()?);
            (cost > 0.0).then_some((index, cost, method.mean?))
        })
        .collect();
    if points.len() < 2 {
        return None;
    }
    let unit = task.unit?;
    let deviation = |index: usize| task.methods[index].deviation.unwrap_or_default();
    let spread = points
        .iter()
        .flat_map(|(index, _, score)| [score - deviation(*index), score + deviation(*index)]);
    let costs = || points.iter().map(|(_, cost, _)| *cost);
    let least = costs().fold(f64::INFINITY, f64::min);
    let most = costs().fold(0.0, f64::max);
    let candidates = against.candidates(least, most);
    let label = |value| against.label(value);
    let x = Axis::logarithmic(against.name(), costs(), &candidates, label)?;
    // A long name has no room beside the axis; the tables have it.
    let metric = metric_of(task).filter(|name| name.len() <= 24);
    let y = Axis::linear(metric.as_deref().unwrap_or("score"), spread)?;
    let title = format!("{}: score against {}", task.name, against.name());
    let told: Vec<String> = points
        .iter()
        .map(|(index, cost, score)| {
            format!(
                "{} {} at {}",
                summary.plan.methods[*index].name,
                format::score(*score),
                against.label(*cost)
            )
        })
        .collect();
    let drawn = draw(&title, &told.join(", "), &x, &y, |chart| {
        let front = front(&points, unit);
        let line: Vec<(f64, f64)> = front
            .iter()
            .map(|(_, cost, score)| (x.place(*cost), *score))
            .collect();
        chart.draw_series([PathElement::new(line, ink().mix(0.45).stroke_width(3))])?;
        for (index, cost, score) in &points {
            let (place, deviation) = (x.place(*cost), deviation(*index));
            if deviation > 0.0 {
                let ends = [(place, score - deviation), (place, score + deviation)];
                let style = super::frame::colour(*index).mix(0.55).stroke_width(3);
                chart.draw_series([PathElement::new(ends, style)])?;
            }
            symbol(chart, *index, (place, *score), 11)?;
        }
        Ok(())
    });
    Some(drawn.map(|svg| Plot { title, svg }))
}

/// The points that no other one beats: those which cost less, or the same, have a worse score. By cost.
fn front(points: &[Point], unit: Unit) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|left, right| {
        let scores = match unit.better(left.2, right.2) {
            true => std::cmp::Ordering::Less,
            false => std::cmp::Ordering::Greater,
        };
        left.1.total_cmp(&right.1).then(scores)
    });
    let mut front: Vec<Point> = Vec::new();
    for point in sorted {
        if front.last().is_none_or(|last| unit.better(point.2, last.2)) {
            front.push(point);
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_holds_what_nothing_beats() {
        let points = [
            (0, 9.0, 90.0),
            (1, 1.0, 80.0),
            (2, 2.0, 79.0),
            (3, 3.0, 85.0),
            (4, 3.0, 86.0),
        ];
        let names =
            |unit| -> Vec<usize> { front(&points, unit).iter().map(|point| point.0).collect() };
        assert_eq!(names(Unit::Percent), [1, 4, 0]);
        assert_eq!(names(Unit::Error), [1, 2]);
    }

    #[test]
    fn costs_have_short_labels() {
        assert_eq!(Against::Parameters.label(3e6), "3 M");
        assert_eq!(Against::Parameters.label(500.0), "500");
        assert_eq!(Against::Parameters.label(1e5), "100 k");
        assert_eq!(Against::Time.label(100.0), "1.7 min");
        assert_eq!(Against::Time.label(20.0), "20 s");
    }
}
