//! Trainable parameters by name: how files, optimisers and tests reach into any module.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// Stands for the adapter's name in [`NamedParam::name`].
pub const ADAPTER: &str = "{adapter}";

/// A parameter of a module and its name in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedParam {
    /// Name in files, possibly with [`ADAPTER`] in it.
    pub name: String,
    /// The parameter.
    pub id: ParamId,
    /// Shape in files; it may have more extents than the parameter, all of them 1.
    pub shape: Vec<usize>,
    /// Whether files hold the matrix the other way round (`[out, in]`, where the module has `[in, out]`).
    pub transposed: bool,
}

impl NamedParam {
    /// A parameter that files hold as it is.
    pub fn new<const D: usize>(name: impl Into<String>, param: &Param<Tensor<D>>) -> Self {
        Self {
            name: name.into(),
            id: param.id,
            shape: param.lazy_shape().to_vec(),
            transposed: false,
        }
    }

    /// A matrix that files hold transposed.
    pub fn transposed(name: impl Into<String>, param: &Param<Tensor<2>>) -> Self {
        let [rows, columns] = param.lazy_shape().dims();
        Self {
            name: name.into(),
            id: param.id,
            shape: vec![columns, rows],
            transposed: true,
        }
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Values of parameters in the module's own layout, flattened.
pub type ParamValues = HashMap<ParamId, Tensor<1>>;

/// Gradients of parameters, flattened like [`ParamValues`].
pub type ParamGradients = HashMap<ParamId, Tensor<1>>;

/// The values of all parameters of `module`, without autodiff.
pub fn values<M: Module>(module: &M) -> ParamValues {
    struct Collect(ParamValues);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val().without_autodiff();
            let count = value.shape().num_elements();
            self.0.insert(param.id, value.reshape([count]));
        }
    }
    let mut visitor = Collect(HashMap::new());
    module.visit(&mut visitor);
    visitor.0
}

/// The gradients of those parameters of `module` that have one.
pub fn gradients<M: Module>(module: &M, gradients: &Gradients) -> ParamGradients {
    struct Collect<'a>(ParamGradients, &'a Gradients);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            if !value.is_autodiff() {
                return;
            }
            if let Some(gradient) = value.grad(self.1) {
                let count = gradient.shape().num_elements();
                self.0.insert(param.id, gradient.reshape([count]));
            }
        }
    }
    let mut visitor = Collect(HashMap::new(), gradients);
    module.visit(&mut visitor);
    visitor.0
}

/// Replaces the parameters that `values` has, keeping device, identity and whether a gradient is wanted.
///
/// # Panics
/// If a value's size is not the parameter's.
pub fn load<M: Module>(module: M, values: ParamValues) -> M {
    struct Load(ParamValues);
    impl ModuleMapper for Load {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(value) = self.0.remove(&param.id) else {
                return param;
            };
            param.map(|old| {
                let value = value.reshape(old.dims());
                if !old.is_autodiff() {
                    return value;
                }
                let wanted = old.is_require_grad();
                Tensor::from_inner(value).set_require_grad(wanted)
            })
        }
    }
    module.map(&mut Load(values))
}

/// Fills the named parameters with what `read` finds in a file, in the file's layout.
///
/// # Errors
/// The first error of `read`.
///
/// # Panics
/// If `read` returns another number of values than the parameter's shape has.
pub fn load_named<M: Module, E>(
    module: M,
    params: &[NamedParam],
    device: &Device,
    mut read: impl FnMut(&NamedParam) -> Result<Vec<f32>, E>,
) -> Result<M, E> {
    let mut values = ParamValues::new();
    for param in params {
        let found = read(param)?;
        assert_eq!(found.len(), param.count(), "values of {}", param.name);
        values.insert(
            param.id,
            Tensor::from_data(param.from_file(found), &device.clone().inner()),
        );
    }
    Ok(load(module, values))
}

impl NamedParam {
    /// A file's values in the module's own layout.
    pub fn from_file(&self, values: Vec<f32>) -> TensorData {
        let count = values.len();
        TensorData::new(self.swap(values, true), [count])
    }

    /// The module's values in the file's layout.
    pub fn to_file(&self, values: Vec<f32>) -> Vec<f32> {
        self.swap(values, false)
    }

    fn swap(&self, values: Vec<f32>, from_file: bool) -> Vec<f32> {
        if !self.transposed {
            return values;
        }
        let (rows, columns) = match from_file {
            true => (self.shape[0], self.shape[1]),
            false => (self.shape[1], self.shape[0]),
        };
        let mut out = Vec::with_capacity(values.len());
        for column in 0..columns {
            out.extend((0..rows).map(|row| values[row * columns + column]));
        }
        out
    }
}
