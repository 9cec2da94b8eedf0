//! Tensors as plain values in host memory.

use crate::TensorError;

/// A float tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values in row-major order, as many as the product of `shape`.
    pub values: Vec<f32>,
}

impl HostTensor {
    /// Joins a shape and its values.
    ///
    /// # Errors
    /// [`TensorError::Shape`] where the product of `shape` is not the number of values.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, TensorError> {
        if element_count(&shape) == Some(values.len()) {
            Ok(Self { shape, values })
        } else {
            Err(TensorError::Shape {
                shape,
                values: values.len(),
            })
        }
    }
}

/// An integer tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostIntTensor {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values in row-major order, as many as the product of `shape`.
    pub values: Vec<i64>,
}

impl HostIntTensor {
    /// Joins a shape and its values.
    ///
    /// # Errors
    /// [`TensorError::Shape`] where the product of `shape` is not the number of values.
    pub fn new(shape: Vec<usize>, values: Vec<i64>) -> Result<Self, TensorError> {
        if element_count(&shape) == Some(values.len()) {
            Ok(Self { shape, values })
        } else {
            Err(TensorError::Shape {
                shape,
                values: values.len(),
            })
        }
    }
}

/// The number of elements of a shape, or nothing where it does not fit in a `usize`.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |count, extent| count.checked_mul(*extent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_values_must_agree() {
        assert!(HostTensor::new(vec![2, 3], vec![0.0; 6]).is_ok());
        assert!(HostTensor::new(vec![], vec![1.0]).is_ok());
        assert!(HostTensor::new(vec![0, 7], vec![]).is_ok());
        let error = HostTensor::new(vec![2, 3], vec![0.0; 5]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a tensor of shape [2, 3] must have as many values as its shape says, found 5"
        );
        assert!(HostIntTensor::new(vec![usize::MAX, 2], vec![]).is_err());
        assert!(HostIntTensor::new(vec![1], vec![4]).is_ok());
    }
}
