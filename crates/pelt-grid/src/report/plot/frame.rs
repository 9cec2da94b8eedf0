//! The frame of a plot: axes, colours, and the symbols of its series.
//!
//! Plotters knows fixed colours only, so that a plot is drawn with colours that occur nowhere else, and these are then replaced by
//! variables of the page, which has a light and a dark set of them.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::super::html_text::escape;

/// Width and height of a plot in units of its own; it is shown at about half of that, so that whole numbers are fine enough.
const SIZE: (u32, u32) = (760, 540);

/// Different colours of series; further ones begin again, with another symbol.
pub(crate) const COLOURS: usize = 8;

const INK: RGBColor = RGBColor(0, 1, 0);
const GRID: RGBColor = RGBColor(0, 2, 0);
const FONT: &str = "plot-font";

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Places, Places>>;

/// A straight axis with labels where they are wanted.
pub(crate) struct Places {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

/// Why a plot cannot be drawn.
pub(crate) type DrawError = Box<dyn std::error::Error + Send + Sync>;

/// One entry of a legend.
#[derive(Debug, Clone)]
pub(crate) struct Legend {
    pub name: String,
    pub series: usize,
}

/// The numbers of an axis.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub name: String,
    from: f64,
    to: f64,
    /// Where there is a label, and the label.
    ticks: Vec<(f64, String)>,
    logarithmic: bool,
}

impl Axis {
    /// An axis that holds these values, with a little room.
    pub(crate) fn linear(name: &str, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = ends(values)?;
        let room = ((high - low) * 0.08).max(high.abs() * 1e-3).max(1e-6);
        Some(Self::between(name, low - room, high + room))
    }

    /// An axis with these ends.
    pub(crate) fn between(name: &str, from: f64, to: f64) -> Self {
        let step = nice_step((to - from) / 6.0);
        let first = (from / step).ceil() as i64;
        let last = (to / step).floor() as i64;
        let decimals = (-step.log10()).ceil().max(0.0) as usize;
        let ticks = (first..=last).map(|number| {
            let value = number as f64 * step;
            (value, format!("{value:.decimals$}"))
        });
        Self {
            name: name.into(),
            from,
            to,
            ticks: ticks.collect(),
            logarithmic: false,
        }
    }

    /// A logarithmic axis with labels at some of the candidates, which ascend; values that are not positive have no place on it.
    pub(crate) fn logarithmic(
        name: &str,
        values: impl Iterator<Item = f64>,
        candidates: &[f64],
        label: impl Fn(f64) -> String,
    ) -> Option<Self> {
        let (low, high) = ends(values.filter(|value| *value > 0.0).map(f64::log10))?;
        let room = ((high - low) * 0.08).max(0.15);
        let (from, to) = (low - room, high + room);
        let inside: Vec<f64> = candidates
            .iter()
            .copied()
            .filter(|value| (from..=to).contains(&value.log10()))
            .collect();
        // Labels need room: of many, only every second or third one is kept.
        let every = inside.len().div_ceil(5).max(1);
        let ticks = inside.into_iter().step_by(every);
        Some(Self {
            name: name.into(),
            from,
            to,
            ticks: ticks.map(|value| (value.log10(), label(value))).collect(),
            logarithmic: true,
        })
    }

    /// Where a value lies.
    pub(crate) fn place(&self, value: f64) -> f64 {
        match self.logarithmic {
            true => value.log10(),
            false => value,
        }
    }

    fn label(&self, place: f64) -> String {
        let close = |(tick, _): &&(f64, String)| (tick - place).abs() < 1e-9 * (1.0 + place.abs());
        self.ticks
            .iter()
            .find(close)
            .map_or(String::new(), |(_, label)| label.clone())
    }

    fn places(&self) -> Places {
        Places {
            from: self.from,
            to: self.to,
            ticks: self.ticks.iter().map(|(place, _)| *place).collect(),
        }
    }
}

fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |ends, value| {
        let (low, high) = ends.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// 1, 2 or 5 times a power of ten.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = factors
        .into_iter()
        .find(|factor| factor * power >= least * 0.999);
    fits.unwrap_or(10.0) * power
}

/// The colour of a series.
pub(crate) fn colour(series: usize) -> RGBColor {
    RGBColor(0, 3, (series % COLOURS) as u8)
}

/// Colour of guide lines.
pub(crate) fn ink() -> RGBColor {
    INK
}

/// Draws a frame and what `content` puts into it.
pub(crate) fn draw(
    title: &str,
    description: &str,
    x: &Axis,
    y: &Axis,
    content: impl FnOnce(&mut Chart) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let area: Area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(20)
            .margin_right(28)
            .x_label_area_size(98)
            .y_label_area_size(112)
            .build_cartesian_2d(x.places(), y.places())?;
        let text = (FONT, 34).into_font().color(&INK);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID.stroke_width(2))
            .light_line_style(TRANSPARENT)
            .axis_style(GRID.stroke_width(2))
            .x_label_formatter(&|place| x.label(*place))
            .y_label_formatter(&|place| y.label(*place))
            .x_desc(&x.name)
            .y_desc(&y.name)
            .label_style(text.clone())
            .axis_desc_style(text)
            .draw()?;
        content(&mut chart)?;
        area.present()?;
    }
    Ok(for_page(&svg, title, description))
}

/// Draws a symbol of a series at a point.
pub(crate) fn symbol(
    chart: &mut Chart,
    series: usize,
    point: (f64, f64),
    size: i32,
) -> Result<(), DrawError> {
    let style = colour(series).filled();
    match outline(series) {
        None => {
            chart.draw_series([Circle::new(point, size, style)])?;
        }
        Some(corners) => {
            let corners: Vec<(i32, i32)> = corners
                .iter()
                .map(|(x, y)| {
                    let scaled = |part: f64| (part * f64::from(size)).round() as i32;
                    (scaled(*x), scaled(*y))
                })
                .collect();
            chart.draw_series([EmptyElement::at(point) + Polygon::new(corners, style)])?;
        }
    }
    Ok(())
}

/// The corners of a series' symbol around its middle; a circle if `None`. The symbols have a longer period than the colours have, and
/// none in common with it, so that many series differ in one or the other.
fn outline(series: usize) -> Option<&'static [(f64, f64)]> {
    const SQUARE: &[(f64, f64)] = &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)];
    const UP: &[(f64, f64)] = &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)];
    const DIAMOND: &[(f64, f64)] = &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)];
    const DOWN: &[(f64, f64)] = &[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)];
    match series % 5 {
        0 => None,
        1 => Some(SQUARE),
        2 => Some(UP),
        3 => Some(DIAMOND),
        _ => Some(DOWN),
    }
}

/// A series' symbol for a legend outside of the plot.
pub(crate) fn legend_symbol(series: usize) -> String {
    let colour = format!("var(--series-{})", series % COLOURS);
    let shape = match outline(series) {
        None => format!("<circle cx=\"7\" cy=\"7\" r=\"4.6\" fill=\"{colour}\"/>"),
        Some(corners) => {
            let points: Vec<String> = corners
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", 7.0 + 4.6 * x, 7.0 + 4.6 * y))
                .collect();
            format!(
                "<polygon points=\"{}\" fill=\"{colour}\"/>",
                points.join(" ")
            )
        }
    };
    format!(
        "<svg viewBox=\"0 0 14 14\" width=\"14\" height=\"14\" aria-hidden=\"true\">{shape}</svg>"
    )
}

/// Gives the picture the page's colours and font, and a name.
fn for_page(svg: &str, title: &str, description: &str) -> String {
    let hex = |colour: RGBColor| format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
    let mut text = svg
        .replace(&hex(INK), "var(--plot-ink)")
        .replace(&hex(GRID), "var(--plot-grid)")
        .replace(&format!(" font-family=\"{FONT}\""), "")
        .replace(" opacity=\"1\"", "");
    for series in 0..COLOURS {
        text = text.replace(&hex(colour(series)), &format!("var(--series-{series})"));
    }
    // The first element is the picture itself, whose size the page decides.
    let inside = text.split_once('>').map_or("", |(_, inside)| inside);
    format!(
        "<svg viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{}\"><title>{}</title>{inside}",
        SIZE.0,
        SIZE.1,
        escape(&format!("{title}. {description}")),
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_round_numbers() {
        let labels = |axis: &Axis| -> Vec<String> {
            axis.ticks.iter().map(|(_, label)| label.clone()).collect()
        };
        let axis = Axis::between("score", 78.3, 91.2);
        assert_eq!(labels(&axis), ["80", "85", "90"]);
        let axis = Axis::between("gate", 0.0, 1.0);
        assert_eq!(labels(&axis), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        let candidates: Vec<f64> = (0..10).map(|power| 10_f64.powi(power)).collect();
        let shown = |value: f64| format!("{value:e}");
        let wide = [700.0, 1.2e8].into_iter();
        let axis = Axis::logarithmic("size", wide, &candidates, shown).unwrap();
        assert_eq!(labels(&axis), ["1e3", "1e5", "1e7"]);
        let narrow = [2e4, 2e6].into_iter();
        let axis = Axis::logarithmic("size", narrow, &candidates, shown).unwrap();
        assert_eq!(labels(&axis), ["1e5", "1e6"]);
        assert!(Axis::linear("none", std::iter::empty()).is_none());
        // A single value has an axis as well.
        assert!(
            !Axis::linear("one", [5.0].into_iter())
                .unwrap()
                .ticks
                .is_empty()
        );
    }

    #[test]
    fn no_fixed_colour_is_left() {
        let axis = || Axis::between("x & y", 0.0, 1.0);
        let svg = draw("A <title>", "of \"two\"", &axis(), &axis(), |chart| {
            (0..10).try_for_each(|series| symbol(chart, series, (0.5, 0.5), 6))
        })
        .unwrap();
        assert!(!svg.contains("#0"), "{svg}");
        assert!(svg.contains("A &lt;title&gt;") && svg.contains("x &amp; y"));
        assert!(svg.contains("var(--series-7)") && svg.contains("var(--plot-ink)"));
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
