//! The time per token over the shape of a batch, as a picture.

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use serde_json::Value;

use crate::bench::program::Report;

/// Width and height in pixels.
const SIZE: (u32, u32) = (800, 500);

const FONT: &str = "sans-serif";

/// What is drawn: the field of a point, what the legend says, and the colour.
const SERIES: [(&str, &str, RGBColor); 2] = [
    ("us_per_token", "whole step", RGBColor(0, 90, 181)),
    (
        "us_per_token_without_attention",
        "without attention",
        RGBColor(200, 60, 20),
    ),
];

/// The points of a scaling report as SVG. The axis of lengths is logarithmic, that of times begins at zero.
pub fn scaling(report: &Report) -> Result<String> {
    let points = report.0.get("points").and_then(Value::as_array);
    let points = points.context("the scaling report should have a list `points`")?;
    let mut series = Vec::new();
    for (field, label, colour) in SERIES {
        let values = points.iter().map(|point| {
            let number = |name: &str| {
                let number = point.get(name).and_then(Value::as_f64);
                number.with_context(|| {
                    format!("a point of the scaling report should have a number `{name}`")
                })
            };
            Ok((number("length")?, number(field)?))
        });
        series.push((values.collect::<Result<Vec<_>>>()?, label, colour));
    }
    let method = report.text("method").unwrap_or("LoRA");
    let mut svg = String::new();
    draw(&mut svg, &series, method)
        .map_err(|error| anyhow!("cannot draw the scaling plot: {error}"))?;
    Ok(svg)
}

/// Values over the length, what they are, and their colour.
type Series = (Vec<(f64, f64)>, &'static str, RGBColor);

fn draw(
    svg: &mut String,
    series: &[Series],
    method: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let all = || series.iter().flat_map(|(values, ..)| values);
    let lengths = || all().map(|(length, _)| *length);
    let first = lengths().fold(f64::INFINITY, f64::min);
    let last = lengths().fold(0.0, f64::max);
    let top = all().map(|(_, value)| *value).fold(0.0, f64::max);
    if !(first > 0.0 && last > 0.0 && top > 0.0) {
        return Err("it has no point with a length and a time".into());
    }
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("Time per token of batches of 512 tokens, {method}"),
            (FONT, 20),
        )
        .margin(16)
        .x_label_area_size(50)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (first / 1.3..last * 1.3).log_scale().base(2.0),
            0.0..1.15 * top,
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_label_formatter(&|length| format!("{length:.0}"))
        .x_desc("tokens of each sequence")
        .y_desc("µs per token")
        .label_style((FONT, 15))
        .draw()?;
    for (values, label, colour) in series {
        chart
            .draw_series(LineSeries::new(
                values.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(*label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(
            values
                .iter()
                .map(|point| Circle::new(*point, 4, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(RGBColor(160, 160, 160))
        .label_font((FONT, 15))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(points: Value) -> Report {
        Report(json!({"method": "lora", "points": points}))
    }

    /// Centres of all circles.
    fn circles(svg: &str) -> Vec<(f64, f64)> {
        let attribute = |element: &str, name: &str| {
            let value = element.split_once(&format!(" {name}=\"")).unwrap().1;
            value.split_once('"').unwrap().0.parse().unwrap()
        };
        let elements = svg.split("<circle").skip(1);
        elements
            .map(|element| (attribute(element, "cx"), attribute(element, "cy")))
            .collect()
    }

    #[test]
    fn every_point_of_both_series_is_drawn_at_its_place() {
        let point = |length: u32, time: f64, without: f64| json!({"length": length, "us_per_token": time, "us_per_token_without_attention": without});
        let points = [
            point(32, 40.0, 20.0),
            point(16, 30.0, 20.0),
            point(8, 20.0, 10.0),
        ];
        let svg = scaling(&report(points.into())).unwrap();
        let found = circles(&svg);
        assert_eq!(found.len(), 6, "{svg}");
        let (whole, without) = found.split_at(3);
        // Lengths that double are equally far apart, and so are the three times of the whole step.
        for middle in [whole[1], without[1]] {
            assert!((whole[0].0 + whole[2].0 - 2.0 * middle.0).abs() <= 2.0);
            assert!(whole[0].0 > middle.0);
        }
        assert!((whole[0].1 + whole[2].1 - 2.0 * whole[1].1).abs() <= 2.0);
        assert_eq!(without[0].1, without[1].1);
        assert_eq!(without[0].1, whole[2].1);
        assert!(without[2].1 > without[1].1, "larger times are higher up");
        for text in [
            "tokens of each sequence",
            "µs per token",
            "whole step",
            "lora",
        ] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn a_report_without_points_is_an_error() {
        for points in [json!(null), json!([]), json!([{"length": 8}])] {
            assert!(scaling(&report(points)).is_err());
        }
    }
}
