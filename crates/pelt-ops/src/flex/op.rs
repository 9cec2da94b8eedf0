//! Operations on Flex tensors whose backward pass is written by hand.

use std::fmt::Debug;

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    AutodiffBackend, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
    Flex,
};
use burn::tensor::{DType, Tensor};

use super::sum::add;
use crate::generic;

/// The value of an expression; with the feature `profile` its time is added to that of an operation.
macro_rules! timed {
    ($op:ty, $direction:ident, $work:expr) => {{
        #[cfg(feature = "profile")]
        let value =
            crate::profile::measured::<$op, _>(crate::profile::Direction::$direction, || $work);
        #[cfg(not(feature = "profile"))]
        let value = $work;
        value
    }};
}

/// A tensor of the Flex backend.
pub(crate) type FlexTensor = FloatTensor<Flex>;

/// The same tensor under autodiff.
type TrackedTensor = FloatTensor<burn::backend::Autodiff<Flex>>;

/// An operation with `N` inputs and one output, and its gradient.
pub(crate) trait FlexOp<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// The output, and what backward needs; `tracked` tells which inputs will be asked for a gradient.
    fn forward(
        &self,
        inputs: [FlexTensor; N],
        tracked: [bool; N],
    ) -> (FlexTensor, Option<Self::Saved>);

    /// The gradient of every input for which `tracked` is set. Where `before` holds what other operations found for the
    /// same input, this may be taken, and the sum of both returned: where a product ends, adding costs nothing.
    fn backward(
        &self,
        saved: Self::Saved,
        gradient: FlexTensor,
        tracked: [bool; N],
        before: &mut [Option<FlexTensor>; N],
    ) -> [Option<FlexTensor>; N];
}

/// Whether the kernels of this module can work on a tensor: it is on Flex, under autodiff or not, and holds `f32`.
pub(crate) fn serves<const D: usize>(tensor: &Tensor<D>) -> bool {
    if tensor.dtype() != DType::F32 || generic::is_forced() {
        return false;
    }
    match tensor.clone().into_dispatch().kind {
        DispatchTensorKind::Autodiff(inner) => matches!(*inner, DispatchTensorKind::Flex(_)),
        kind => matches!(kind, DispatchTensorKind::Flex(_)),
    }
}

/// Runs an operation, and records its backward step if an input is tracked.
///
/// # Panics
/// If an input is not one that [`serves`] accepts.
pub(crate) fn run<O: FlexOp<N>, const N: usize, const D: usize>(
    op: O,
    inputs: [DispatchTensor; N],
) -> Tensor<D> {
    let context = inputs
        .iter()
        .map(|input| input.autodiff)
        .fold(DispatchAutodiffContext::Disabled, |all, one| all.merge(one));
    let kind = match context {
        DispatchAutodiffContext::Disabled => {
            let inputs = inputs.map(plain);
            let (output, _) = timed!(O, Forward, op.forward(inputs, [false; N]));
            DispatchTensorKind::Flex(BackendTensor::Float(output))
        }
        DispatchAutodiffContext::Enabled(_) => {
            let output = record(op, inputs.map(tracked));
            let output = DispatchTensorKind::Flex(BackendTensor::Autodiff(output));
            DispatchTensorKind::Autodiff(Box::new(output))
        }
    };
    Tensor::from_dispatch(DispatchTensor {
        kind,
        autodiff: context,
    })
}

/// The Flex tensor in a tensor that is not under autodiff.
///
/// # Panics
/// If it is, or on another backend.
pub(crate) fn into_flex(tensor: Tensor<1>) -> FlexTensor {
    plain(tensor.into_dispatch())
}

/// The other way round.
pub(crate) fn from_flex(tensor: FlexTensor) -> Tensor<1> {
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

fn plain(input: DispatchTensor) -> FlexTensor {
    match input.kind {
        DispatchTensorKind::Flex(tensor) => tensor.float(),
        _ => panic!("a kernel for Flex was given a tensor of another backend"),
    }
}

fn tracked(input: DispatchTensor) -> TrackedTensor {
    match input.kind {
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff(),
            _ => panic!("a kernel for Flex was given a tensor of another backend"),
        },
        kind => {
            let constant = DispatchTensor {
                kind,
                autodiff: DispatchAutodiffContext::Disabled,
            };
            <burn::backend::Autodiff<Flex>>::from_inner(plain(constant))
        }
    }
}

fn record<O: FlexOp<N>, const N: usize>(op: O, inputs: [TrackedTensor; N]) -> TrackedTensor {
    let tracked = inputs.each_ref().map(|input| input.is_tracked());
    let nodes = inputs.each_ref().map(|input| input.node());
    let primitives = inputs.map(|input| input.into_primitive());
    let (output, saved) = timed!(O, Forward, op.forward(primitives, tracked));
    let preparation = Step(op)
        .prepare::<NoCheckpointing>(nodes)
        .compute_bound()
        .stateful();
    match preparation {
        OpsKind::Tracked(preparation) => preparation.finish(saved, output),
        OpsKind::UnTracked(preparation) => preparation.finish(output),
    }
}

#[derive(Debug)]
struct Step<O>(O);

impl<O: FlexOp<N>, const N: usize> Backward<Flex, N> for Step<O> {
    type State = Option<O::Saved>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        waiting::remove(ops.node.id);
        let Some(saved) = ops.state else { return };
        let tracked = ops.parents.each_ref().map(|parent| parent.is_some());
        let mut before = ops.parents.each_ref().map(|parent| {
            let parent = parent.as_ref()?;
            waiting::remove(parent.id).then(|| gradients.consume::<Flex>(parent))
        });
        let work = || self.0.backward(saved, gradient, tracked, &mut before);
        let found = timed!(O, Backward, work());
        for ((parent, found), before) in ops.parents.into_iter().zip(found).zip(before) {
            let total = match (before, found) {
                (Some(before), Some(found)) => Some(add(before, found)),
                (before, found) => before.or(found),
            };
            if let (Some(parent), Some(total)) = (parent, total) {
                gradients.register::<Flex>(parent.id, total);
                // The gradients of leaves stay where they are, for the optimiser.
                if !parent.parents.is_empty() {
                    waiting::insert(parent.id);
                }
            }
        }
    }
}

/// For which tensors a gradient has been registered that is still there: asking for one that is not there would panic.
mod waiting {
    use std::cell::RefCell;
    use std::collections::HashSet;

    use burn::backend::autodiff::NodeId;

    /// Tensors whose gradient an operation of burn's own picks up stay in the list; there are a few in each step.
    const FULL: usize = 4096;

    thread_local! {
        static WAITING: RefCell<HashSet<NodeId>> = RefCell::default();
    }

    pub(super) fn insert(id: NodeId) {
        WAITING.with_borrow_mut(|waiting| {
            if waiting.len() >= FULL {
                // Whatever is no longer listed is added up by burn instead.
                waiting.clear();
            }
            waiting.insert(id);
        });
    }

    /// Whether it was there.
    pub(super) fn remove(id: NodeId) -> bool {
        WAITING.with_borrow_mut(|waiting| waiting.remove(&id))
    }
}
