//! Elements of other programs' files, as the crate's arrays.
//!
//! Files of weights have types that the crate does not compute with. Each becomes one that holds it exactly: `bf16` is the
//! upper half of an `f32`, small integers and truth values are `i32`. 64-bit integers, which count batches and indices, are
//! `i32` where they fit, and refused by their value where not. Bytes are little-endian. Before: [`super::safetensors`] and
//! `pytorch`, which say where the bytes lie.

use crate::array::Array;
use crate::error::{Error, ErrorKind, Result};

/// The type of elements in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    U32,
    I16,
    I8,
    U8,
    Bool,
}

impl ElementType {
    /// Bytes of an element.
    #[cfg(any(test, feature = "archives"))]
    pub(super) fn size(self) -> usize {
        match self {
            ElementType::F64 | ElementType::I64 => 8,
            ElementType::F32 | ElementType::I32 | ElementType::U32 => 4,
            ElementType::F16 | ElementType::Bf16 | ElementType::I16 => 2,
            ElementType::I8 | ElementType::U8 | ElementType::Bool => 1,
        }
    }

    /// The array of `shape` whose elements are `bytes`, row-major.
    ///
    /// # Errors
    /// When there are not as many bytes as the shape needs, or an integer beyond those of `i32`.
    pub(super) fn array(self, shape: &[usize], bytes: &[u8]) -> Result<Array> {
        match self {
            ElementType::F64 => Array::new(shape, words(bytes, f64::from_le_bytes)),
            ElementType::F32 => Array::new(shape, words(bytes, f32::from_le_bytes)),
            ElementType::F16 => Array::new(shape, words(bytes, half::f16::from_le_bytes)),
            ElementType::Bf16 => Array::new(shape, words(bytes, |word| half::bf16::from_le_bytes(word).to_f32())),
            ElementType::I64 => Array::new(shape, narrowed(bytes)?),
            ElementType::I32 => Array::new(shape, words(bytes, i32::from_le_bytes)),
            ElementType::U32 => Array::new(shape, words(bytes, u32::from_le_bytes)),
            ElementType::I16 => Array::new(shape, words(bytes, |word| i32::from(i16::from_le_bytes(word)))),
            ElementType::I8 => Array::new(shape, words(bytes, |word| i32::from(i8::from_le_bytes(word)))),
            ElementType::U8 => Array::new(shape, words(bytes, |[byte]: [u8; 1]| i32::from(byte))),
            ElementType::Bool => Array::new(shape, words(bytes, |[byte]: [u8; 1]| i32::from(byte != 0))),
        }
    }
}

/// What `element` makes of every `N` bytes.
fn words<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().copied().map(element).collect()
}

fn narrowed(bytes: &[u8]) -> Result<Vec<i32>> {
    let narrow = |number: i64| {
        i32::try_from(number).map_err(|_| {
            let text = format!("has the 64-bit integer {number}, which is beyond 32 bits; leave it out of the file");
            Error::new(ErrorKind::DType, text)
        })
    };
    words(bytes, i64::from_le_bytes).into_iter().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_becomes_one_that_holds_it() {
        let of = |ty: ElementType, bytes: &[u8]| ty.array(&[bytes.len() / ty.size()], bytes).unwrap().to_f64_vec();
        assert_eq!(of(ElementType::F64, &(-0.1f64).to_le_bytes()), [-0.1]);
        assert_eq!(of(ElementType::F32, &0.5f32.to_le_bytes()), [0.5]);
        assert_eq!(of(ElementType::F16, &half::f16::from_f32(-2.5).to_le_bytes()), [-2.5]);
        assert_eq!(of(ElementType::Bf16, &[0x80, 0x3F, 0x40, 0xC0]), [1.0, -3.0]);
        assert_eq!(of(ElementType::I64, &(-7i64).to_le_bytes()), [-7.0]);
        assert_eq!(of(ElementType::I32, &(-7i32).to_le_bytes()), [-7.0]);
        assert_eq!(of(ElementType::U32, &u32::MAX.to_le_bytes()), [f64::from(u32::MAX)]);
        assert_eq!(of(ElementType::I16, &(-7i16).to_le_bytes()), [-7.0]);
        assert_eq!(of(ElementType::I8, &[0xF9]), [-7.0]);
        assert_eq!(of(ElementType::U8, &[0xF9]), [249.0]);
        assert_eq!(of(ElementType::Bool, &[0, 1, 2]), [0.0, 1.0, 1.0]);
        let error = ElementType::I64.array(&[1], &(1i64 << 40).to_le_bytes()).unwrap_err();
        assert!(error.to_string().contains("1099511627776"), "{error}");
        assert!(ElementType::F32.array(&[2], &[0; 4]).is_err());
    }
}
