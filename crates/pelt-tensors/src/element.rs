//! Element types of the file formats, and how their bytes become values.

use std::fmt;

use half::{bf16, f16};
use safetensors::Dtype;

/// What a tensor in a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementType {
    Float(FloatType),
    Integer(IntegerType),
    /// A type that the format has and this crate does not read (eight-bit floats, complex numbers, ...).
    Other(Dtype),
}

/// Floating-point types, all read into `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatType {
    F16,
    BF16,
    F32,
    F64,
}

/// Integer types and booleans, all read into `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntegerType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
}

impl ElementType {
    pub(crate) fn of_safetensors(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F16 => Self::Float(FloatType::F16),
            Dtype::BF16 => Self::Float(FloatType::BF16),
            Dtype::F32 => Self::Float(FloatType::F32),
            Dtype::F64 => Self::Float(FloatType::F64),
            Dtype::BOOL => Self::Integer(IntegerType::Bool),
            Dtype::U8 => Self::Integer(IntegerType::U8),
            Dtype::I8 => Self::Integer(IntegerType::I8),
            Dtype::U16 => Self::Integer(IntegerType::U16),
            Dtype::I16 => Self::Integer(IntegerType::I16),
            Dtype::U32 => Self::Integer(IntegerType::U32),
            Dtype::I32 => Self::Integer(IntegerType::I32),
            Dtype::U64 => Self::Integer(IntegerType::U64),
            Dtype::I64 => Self::Integer(IntegerType::I64),
            other => Self::Other(other),
        }
    }

    pub(crate) fn of_pytorch(dtype: pytorch_reader::DType) -> Self {
        use pytorch_reader::DType;
        match dtype {
            DType::F16 => Self::Float(FloatType::F16),
            DType::BF16 => Self::Float(FloatType::BF16),
            DType::F32 => Self::Float(FloatType::F32),
            DType::F64 => Self::Float(FloatType::F64),
            DType::Bool => Self::Integer(IntegerType::Bool),
            DType::U8 => Self::Integer(IntegerType::U8),
            DType::I8 => Self::Integer(IntegerType::I8),
            DType::U16 => Self::Integer(IntegerType::U16),
            DType::I16 => Self::Integer(IntegerType::I16),
            DType::U32 => Self::Integer(IntegerType::U32),
            DType::I32 => Self::Integer(IntegerType::I32),
            DType::U64 => Self::Integer(IntegerType::U64),
            DType::I64 => Self::Integer(IntegerType::I64),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(float) => write!(formatter, "{float:?}"),
            Self::Integer(IntegerType::Bool) => formatter.write_str("BOOL"),
            Self::Integer(integer) => write!(formatter, "{integer:?}"),
            Self::Other(dtype) => write!(formatter, "{dtype}"),
        }
    }
}

/// Appends the values of little-endian `bytes`, a whole number of elements, rounding `f64` to the nearest `f32`.
pub(crate) fn decode_floats(float: FloatType, bytes: &[u8], values: &mut Vec<f32>) {
    match float {
        FloatType::F16 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32()),
        ),
        FloatType::BF16 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32()),
        ),
        FloatType::F32 => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        FloatType::F64 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b) as f32),
        ),
    }
}

/// An unsigned integer that does not fit in an `i64`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge(pub(crate) u64);

/// Appends the values of little-endian `bytes`, a whole number of elements; any boolean byte but zero is one.
pub(crate) fn decode_integers(
    integer: IntegerType,
    bytes: &[u8],
    values: &mut Vec<i64>,
) -> Result<(), TooLarge> {
    match integer {
        IntegerType::Bool => values.extend(bytes.iter().map(|b| i64::from(*b != 0))),
        IntegerType::U8 => values.extend(bytes.iter().map(|b| i64::from(*b))),
        IntegerType::I8 => values.extend(bytes.iter().map(|b| i64::from(b.cast_signed()))),
        IntegerType::U16 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from(u16::from_le_bytes(*b))),
        ),
        IntegerType::I16 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from(i16::from_le_bytes(*b))),
        ),
        IntegerType::U32 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from(u32::from_le_bytes(*b))),
        ),
        IntegerType::I32 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from(i32::from_le_bytes(*b))),
        ),
        IntegerType::I64 => {
            values.extend(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)))
        }
        IntegerType::U64 => {
            for b in bytes.as_chunks().0 {
                let value = u64::from_le_bytes(*b);
                values.push(i64::try_from(value).map_err(|_| TooLarge(value))?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(float: FloatType, bytes: &[u8]) -> Vec<f32> {
        let mut values = Vec::new();
        decode_floats(float, bytes, &mut values);
        values
    }

    fn integers(integer: IntegerType, bytes: &[u8]) -> Result<Vec<i64>, TooLarge> {
        let mut values = Vec::new();
        decode_integers(integer, bytes, &mut values)?;
        Ok(values)
    }

    #[test]
    fn every_float_type_is_read() {
        assert_eq!(
            floats(FloatType::F16, &[0x00, 0x3c, 0x00, 0xc1]),
            [1.0, -2.5]
        );
        assert_eq!(
            floats(FloatType::BF16, &[0x80, 0x3f, 0x20, 0xc0]),
            [1.0, -2.5]
        );
        assert_eq!(floats(FloatType::F32, &(-2.5f32).to_le_bytes()), [-2.5]);
        assert_eq!(floats(FloatType::F64, &0.1f64.to_le_bytes()), [0.1f32]);
    }

    #[test]
    fn every_integer_type_is_read_with_its_sign() {
        assert_eq!(integers(IntegerType::Bool, &[0, 1, 7]), Ok(vec![0, 1, 1]));
        assert_eq!(integers(IntegerType::U8, &[255]), Ok(vec![255]));
        assert_eq!(integers(IntegerType::I8, &[255]), Ok(vec![-1]));
        assert_eq!(integers(IntegerType::U16, &[255, 255]), Ok(vec![65535]));
        assert_eq!(integers(IntegerType::I16, &[254, 255]), Ok(vec![-2]));
        assert_eq!(
            integers(IntegerType::U32, &[255; 4]),
            Ok(vec![4_294_967_295])
        );
        assert_eq!(
            integers(IntegerType::I32, &(-7i32).to_le_bytes()),
            Ok(vec![-7])
        );
        assert_eq!(
            integers(IntegerType::I64, &(-7i64).to_le_bytes()),
            Ok(vec![-7])
        );
        assert_eq!(integers(IntegerType::U64, &7u64.to_le_bytes()), Ok(vec![7]));
        assert_eq!(
            integers(IntegerType::U64, &[255; 8]),
            Err(TooLarge(u64::MAX))
        );
    }
}
