//! Kernels for the Flex backend: forward and hand-written backward, `f32` only.

pub(crate) mod adamw;
pub(crate) mod attention;
mod buffer;
pub(crate) mod dropout;
pub(crate) mod gate;
pub(crate) mod gelu;
pub(crate) mod linear;
mod math;
pub(crate) mod narrow;
pub(crate) mod norm;
mod op;
mod parallel;
mod product;
mod reduce;
mod skinny;
mod small;
pub(crate) mod sum;
#[cfg(test)]
mod tests;
mod vectorise;

pub(crate) use op::{FlexOp, run, serves};
pub(crate) use parallel::{side_by_side, threads};
