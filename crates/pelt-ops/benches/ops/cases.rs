//! What an operation is run on, and how it is run.

use std::fmt;

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use divan::counter::ItemsCount;
use pelt_hooks::Packing;
use pelt_ops::generic;

/// Width of hidden states.
pub const HIDDEN: usize = 384;
/// Width between the two halves of a feed-forward layer.
pub const INTERMEDIATE: usize = 1536;

/// 2048 rows.
pub const LONG: Batch = Batch::Even {
    sequences: 32,
    tokens: 64,
};
/// 352 rows.
pub const SHORT: Batch = Batch::Even {
    sequences: 32,
    tokens: 11,
};

/// The sequences whose tokens are the rows of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Batch {
    /// All of one length.
    Even { sequences: usize, tokens: usize },
    /// 32 sequences of 33, 35, and so on up to 95 tokens, which are 2048 too.
    Mixed,
}

impl Batch {
    pub fn packing(self) -> Packing {
        match self {
            Self::Even { sequences, tokens } => Packing::new(vec![tokens; sequences]),
            Self::Mixed => Packing::new((33..=95).step_by(2)),
        }
    }

    /// Random numbers for all rows.
    pub fn random(self, width: usize) -> Tensor<2> {
        random([self.packing().tokens(), width])
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Even { sequences, tokens } => write!(formatter, "{sequences} x {tokens}"),
            Self::Mixed => write!(formatter, "32 x 33 to 95"),
        }
    }
}

/// Which implementation runs.
#[derive(Debug, Clone, Copy)]
pub enum Bodies {
    Kernels,
    Generic,
}

impl Bodies {
    pub const BOTH: [Self; 2] = [Self::Kernels, Self::Generic];

    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Kernels => work(),
            Self::Generic => generic::force(work),
        }
    }
}

impl fmt::Display for Bodies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kernels => "kernels",
            Self::Generic => "generic",
        })
    }
}

/// How far an operation is run.
#[derive(Debug, Clone, Copy)]
pub enum Direction {
    /// Without autodiff, as in evaluation.
    Forward,
    /// With the gradient of every input that [`Case::input`] gave, from a gradient of ones.
    ForwardAndBackward,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Forward, Self::ForwardAndBackward];
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Forward => "forward",
            Self::ForwardAndBackward => "forward and backward",
        })
    }
}

/// One line of the report, but for the operation.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub batch: Batch,
    pub direction: Direction,
    pub bodies: Bodies,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (batch, direction, bodies) = (self.batch, self.direction, self.bodies);
        write!(formatter, "{batch}, {direction}, {bodies}")
    }
}

/// Both directions of both bodies.
pub fn cases(batches: &[Batch]) -> Vec<Case> {
    let directed = |direction| directed(batches, direction);
    Direction::BOTH.into_iter().flat_map(directed).collect()
}

/// As [`cases`], for what differs in the backward pass alone.
pub fn backward_cases(batches: &[Batch]) -> Vec<Case> {
    directed(batches, Direction::ForwardAndBackward)
}

fn directed(batches: &[Batch], direction: Direction) -> Vec<Case> {
    let of_batch = |&batch: &Batch| {
        Bodies::BOTH.map(|bodies| Case {
            batch,
            direction,
            bodies,
        })
    };
    batches.iter().flat_map(of_batch).collect()
}

impl Case {
    /// An input of one run, whose gradient is asked for if there is a backward pass. It shares no memory with `values`,
    /// so that an operation may write over it as it may in a step.
    pub fn input<const D: usize>(&self, values: &Tensor<D>) -> Tensor<D> {
        match self.direction {
            Direction::Forward => copy(values),
            Direction::ForwardAndBackward => copy(values).autodiff().require_grad(),
        }
    }

    /// As [`input`](Self::input), for a module.
    pub fn trained<const D: usize>(&self, values: &Tensor<D>) -> Param<Tensor<D>> {
        Param::from_tensor(self.input(values))
    }

    /// Times `operation`, and reports rows per second. What `inputs` does is not part of the time; inputs and results are
    /// hidden from the optimiser, and results dropped after the clock was read, by the library.
    pub fn measure<I, const D: usize>(
        &self,
        bencher: Bencher,
        inputs: impl FnMut() -> I,
        operation: impl Fn(I) -> Tensor<D>,
    ) {
        let rows = self.batch.packing().tokens();
        let bencher = bencher.counter(ItemsCount::new(rows)).with_inputs(inputs);
        match self.direction {
            Direction::Forward => {
                bencher.bench_local_values(|input| self.bodies.run(|| operation(input)));
            }
            Direction::ForwardAndBackward => bencher.bench_local_values(|input| {
                self.bodies.run(|| {
                    let output = operation(input);
                    let gradients = output.backward();
                    (output, gradients)
                })
            }),
        }
    }
}

pub fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// A matrix that does not change the size of numbers. With larger products GELU and the sigmoid would reach denormal
/// numbers, which take many times as long as others and are rare in a model.
pub fn random_weight([inputs, outputs]: [usize; 2]) -> Tensor<2> {
    random([inputs, outputs]) / (inputs as f64).sqrt()
}

/// The same values in memory of their own.
pub fn copy<const D: usize>(values: &Tensor<D>) -> Tensor<D> {
    // A clone would share its memory; the sum cannot, as `values` is still needed.
    values.clone().add_scalar(0.0)
}
