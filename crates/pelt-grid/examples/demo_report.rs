//! Writes made-up results and the report on them into a folder, to look at the page: `demo_report FOLDER`.

// This is a tool for people who work on the report: it may simply stop.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use pelt_grid::report;
use pelt_grid::{
    Cell, Cost, CurvePoint, DataUsed, Failure, GateMean, GridError, Machine, Plan, Record, Scored,
    Size,
};

#[path = "../src/report/sample.rs"]
mod sample;

fn main() -> Result<(), GridError> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    let sample = sample::sample();
    sample.write(&folder)?;
    report::write(&report::Summary::of(&sample.plan, &folder)?, &folder)
}
