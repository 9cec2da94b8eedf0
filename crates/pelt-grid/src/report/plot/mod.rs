//! Plots as SVG that takes its colours from the page.

mod curves;
mod frame;
mod gates;
mod scatter;

pub(crate) use curves::learning_curves;
pub(crate) use frame::{Legend, legend_symbol};
pub(crate) use gates::gate_plots;
pub(crate) use scatter::{Against, scatter};

/// A drawn plot.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// What it shows.
    pub title: String,
    /// The picture, to be put into a page.
    pub svg: String,
}
