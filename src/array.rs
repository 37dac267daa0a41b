//! Concrete data on the host: a dense n-dimensional array of one of a few element types.
//!
//! An [`Array`] is an [`ndarray::ArrayD`] in standard (row-major) layout, tagged with its [`DType`]. It is what goes into
//! a program and comes out of it, and what the reference implementations compute with. Images are `[N, H, W, C]`.

use half::f16;
use ndarray::{ArrayD, IxDyn};

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::element_count;

/// Dense data on the host, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 64-bit floats.
    F64(ArrayD<f64>),
    /// 16-bit floats: what mixed precision stores. Reference implementations get them as one of the other two.
    F16(ArrayD<f16>),
    /// 32-bit unsigned integers.
    U32(ArrayD<u32>),
    /// 32-bit signed integers.
    I32(ArrayD<i32>),
}

/// A Rust type that can be an element of an [`Array`].
pub trait Element: Copy + Default + Send + Sync + std::fmt::Debug + PartialOrd + 'static {
    /// The element type's tag.
    const DTYPE: DType;
    /// Wraps a typed array.
    fn wrap(array: ArrayD<Self>) -> Array;
    /// The typed array inside, if `array` holds this type.
    fn unwrap(array: &Array) -> Option<&ArrayD<Self>>;
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// This value as `f64`.
    fn to_f64(self) -> f64;
}

macro_rules! element {
    ($type:ty, $variant:ident, $from_f64:expr) => {
        impl Element for $type {
            const DTYPE: DType = DType::$variant;
            fn wrap(array: ArrayD<Self>) -> Array {
                Array::$variant(array)
            }
            fn unwrap(array: &Array) -> Option<&ArrayD<Self>> {
                match array {
                    Array::$variant(a) => Some(a),
                    _ => None,
                }
            }
            fn from_f64(value: f64) -> Self {
                let from_f64: fn(f64) -> $type = $from_f64;
                from_f64(value)
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }
    };
}
element!(f32, F32, |value| value as f32);
element!(f64, F64, |value| value);
element!(f16, F16, f16::from_f64);
element!(u32, U32, |value| value as u32);
element!(i32, I32, |value| value as i32);

/// A floating-point element: what the reference implementations are generic over.
pub trait Float: Element + num_traits::Float + std::ops::AddAssign + std::ops::MulAssign + std::iter::Sum {
    /// The constant `value` in this type.
    fn c(value: f64) -> Self {
        Self::from_f64(value)
    }
    /// The error function.
    fn erf(self) -> Self;
    /// The complementary error function, accurate where `erf` is near 1.
    fn erfc(self) -> Self;
}
impl Float for f32 {
    fn erf(self) -> Self {
        libm::erff(self)
    }
    fn erfc(self) -> Self {
        libm::erfcf(self)
    }
}
impl Float for f64 {
    fn erf(self) -> Self {
        libm::erf(self)
    }
    fn erfc(self) -> Self {
        libm::erfc(self)
    }
}

/// Runs `$body` with `$T` bound to the float type of `$array` (`f32` or `f64`); integers are a dtype error.
#[macro_export]
macro_rules! with_float {
    ($op:expr, $array:expr, $T:ident => $body:expr) => {
        match $array.dtype() {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            other => return Err($crate::Error::dtype($op, format_args!("takes floats, got {other}"))),
        }
    };
}

impl Array {
    /// An array of `shape` from its elements in row-major order.
    ///
    /// # Errors
    /// When the number of elements is not the product of `shape`.
    pub fn new<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Self> {
        let found = elements.len();
        ArrayD::from_shape_vec(IxDyn(shape), elements).map(T::wrap).map_err(|_| {
            let wanted = shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
            let wanted = wanted.map_or("too many".to_owned(), |count| count.to_string());
            Error::new(ErrorKind::Shape, format!("an array of shape {shape:?} has {wanted} elements, got {found}"))
        })
    }

    /// An array with every element equal to `value`.
    pub fn full<T: Element>(shape: &[usize], value: T) -> Self {
        T::wrap(ArrayD::from_elem(IxDyn(shape), value))
    }

    /// An array of `shape` and `dtype` filled with zeros.
    pub fn zeros(shape: &[usize], dtype: DType) -> Self {
        match dtype {
            DType::F32 => Array::full(shape, 0f32),
            DType::F16 => Array::full(shape, f16::ZERO),
            DType::F64 => Array::full(shape, 0f64),
            DType::U32 => Array::full(shape, 0u32),
            DType::I32 => Array::full(shape, 0i32),
        }
    }

    /// An array without axes, of one element.
    pub fn scalar<T: Element>(value: T) -> Self {
        Array::full(&[], value)
    }

    /// Calls `f` with every multi-index of `shape` in row-major order.
    pub fn from_fn<T: Element>(shape: &[usize], f: impl FnMut(IxDyn) -> T) -> Self {
        T::wrap(ArrayD::from_shape_fn(IxDyn(shape), f))
    }

    /// The extents.
    pub fn shape(&self) -> &[usize] {
        match self {
            Array::F32(a) => a.shape(),
            Array::F64(a) => a.shape(),
            Array::F16(a) => a.shape(),
            Array::U32(a) => a.shape(),
            Array::I32(a) => a.shape(),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Array::F32(_) => DType::F32,
            Array::F64(_) => DType::F64,
            Array::F16(_) => DType::F16,
            Array::U32(_) => DType::U32,
            Array::I32(_) => DType::I32,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        element_count(self.shape())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// When the array holds another element type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        let typed = T::unwrap(self).ok_or_else(|| {
            Error::new(ErrorKind::DType, format!("an array of {} was read as {}", self.dtype(), T::DTYPE))
        })?;
        // Every constructor gives standard layout, so there is always a slice.
        Ok(typed.as_slice().unwrap_or(&[]))
    }

    /// The typed [`ndarray`] view.
    ///
    /// # Errors
    /// When the array holds another element type.
    pub fn view<T: Element>(&self) -> Result<ndarray::ArrayViewD<'_, T>> {
        T::unwrap(self).map(|typed| typed.view()).ok_or_else(|| {
            Error::new(ErrorKind::DType, format!("an array of {} was read as {}", self.dtype(), T::DTYPE))
        })
    }

    /// The typed view of an array of four axes, such as images `[N, H, W, C]`.
    ///
    /// # Errors
    /// When the array holds another element type or has another number of axes.
    pub fn view4<T: Element>(&self) -> Result<ndarray::ArrayView4<'_, T>> {
        self.view_of(4)
    }

    /// The typed view of an array of three axes, such as sequences `[N, L, C]`.
    ///
    /// # Errors
    /// As [`Array::view4`].
    pub fn view3<T: Element>(&self) -> Result<ndarray::ArrayView3<'_, T>> {
        self.view_of(3)
    }

    fn view_of<T: Element, D: ndarray::Dimension>(&self, axes: usize) -> Result<ndarray::ArrayView<'_, T, D>> {
        let view = self.view::<T>()?.into_dimensionality();
        view.map_err(|_| Error::new(ErrorKind::Shape, format!("{axes} axes are needed, got {:?}", self.shape())))
    }

    /// Every element as `f64`, in row-major order.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        match self {
            Array::F32(a) => a.iter().map(|v| v.to_f64()).collect(),
            Array::F64(a) => a.iter().copied().collect(),
            Array::F16(a) => a.iter().map(|v| v.to_f64()).collect(),
            Array::U32(a) => a.iter().map(|v| v.to_f64()).collect(),
            Array::I32(a) => a.iter().map(|v| v.to_f64()).collect(),
        }
    }

    /// The only element of an array of one element, as `f64`.
    ///
    /// # Errors
    /// When there is not exactly one element.
    pub fn item(&self) -> Result<f64> {
        match self.to_f64_vec()[..] {
            [value] => Ok(value),
            _ => {
                Err(Error::new(ErrorKind::Shape, format!("item() needs one element, the shape is {:?}", self.shape())))
            }
        }
    }

    /// The same values as `dtype`, rounded to nearest, ties to even; what `dtype` cannot hold becomes infinite, or of
    /// integers the nearest limit.
    #[must_use]
    pub fn cast(&self, dtype: DType) -> Self {
        fn convert<T: Element>(array: &Array) -> Array {
            let elements = array.to_f64_vec().into_iter().map(T::from_f64).collect();
            T::wrap(ArrayD::from_shape_vec(array.shape(), elements).expect("the shape is unchanged"))
        }
        match dtype {
            _ if dtype == self.dtype() => self.clone(),
            DType::F32 => convert::<f32>(self),
            DType::F16 => convert::<f16>(self),
            DType::F64 => convert::<f64>(self),
            DType::U32 => convert::<u32>(self),
            DType::I32 => convert::<i32>(self),
        }
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        fn typed<T: Element>(array: &ArrayD<T>, shape: &[usize]) -> Option<Array> {
            array.clone().into_shape_with_order(shape).ok().map(T::wrap)
        }
        let reshaped = match self {
            Array::F32(a) => typed(a, shape),
            Array::F64(a) => typed(a, shape),
            Array::F16(a) => typed(a, shape),
            Array::U32(a) => typed(a, shape),
            Array::I32(a) => typed(a, shape),
        };
        reshaped.ok_or_else(|| {
            Error::new(ErrorKind::Shape, format!("cannot reshape {:?} into {shape:?}: the sizes differ", self.shape()))
        })
    }

    /// The elements as the words a device stores: floats by their bits, `F64` rounded to `f32`, two of `F16` a word, the
    /// first in the low half.
    pub fn to_words(&self) -> Vec<u32> {
        match self {
            Array::F32(a) => a.iter().map(|v| v.to_bits()).collect(),
            Array::F64(a) => a.iter().map(|&v| (v as f32).to_bits()).collect(),
            Array::F16(a) => {
                let bits: Vec<u32> = a.iter().map(|v| u32::from(v.to_bits())).collect();
                bits.chunks(2).map(|pair| pair.iter().rev().fold(0, |word, bits| word << 16 | bits)).collect()
            }
            Array::U32(a) => a.iter().copied().collect(),
            Array::I32(a) => a.iter().map(|&v| v as u32).collect(),
        }
    }

    /// An array of `shape` and `dtype` from the words a device stores.
    ///
    /// # Errors
    /// When there are not as many words as `shape` needs, or `dtype` is not stored in 32-bit words.
    pub fn from_words(shape: &[usize], dtype: DType, words: &[u32]) -> Result<Self> {
        match dtype {
            DType::F32 => Array::new(shape, words.iter().map(|&w| f32::from_bits(w)).collect()),
            DType::U32 => Array::new(shape, words.to_vec()),
            DType::I32 => Array::new(shape, words.iter().map(|&w| w as i32).collect()),
            DType::F16 => {
                let count = shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
                let fits = count.is_some_and(|count| dtype.words(count) == words.len());
                let halves =
                    words.iter().flat_map(|&word| [f16::from_bits(word as u16), f16::from_bits((word >> 16) as u16)]);
                // The upper half of the last word may be no element.
                Array::new(shape, halves.take(if fits { count.unwrap_or(0) } else { usize::MAX }).collect())
            }
            DType::F64 => Err(Error::new(ErrorKind::DType, format!("{dtype} is not stored in 32-bit words"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_round_to_even_and_overflow_to_infinity() {
        let exact = |x: f64| Array::scalar(x).cast(DType::F16).item().unwrap();
        // One unit in the last place at 1 is 2⁻¹⁰; halfway goes to the even neighbour.
        let unit = 2f64.powi(-10);
        assert_eq!([exact(1.0 + 0.5 * unit), exact(1.0 + 1.5 * unit)], [1.0, 1.0 + 2.0 * unit]);
        assert_eq!([exact(65519.0), exact(65520.0), exact(-1e30)], [65504.0, f64::INFINITY, f64::NEG_INFINITY]);
        let least = 2f64.powi(-24);
        assert_eq!([exact(0.5 * least), exact(0.51 * least), exact(1.5 * least)], [0.0, least, 2.0 * least]);
        assert!(exact(f64::NAN).is_nan());
    }

    #[test]
    fn half_floats_are_two_a_word() {
        let array = Array::new(&[3], vec![1f32, -2.0, f32::INFINITY]).unwrap().cast(DType::F16);
        let words = array.to_words();
        assert_eq!(words, [0xc000_3c00, 0x0000_7c00]);
        assert_eq!(Array::from_words(&[3], DType::F16, &words).unwrap(), array);
        assert!(Array::from_words(&[5], DType::F16, &words).is_err());
        assert!(Array::from_words(&[2], DType::F16, &words).is_err());
        assert_eq!(Array::from_words(&[0], DType::F16, &[]).unwrap(), Array::zeros(&[0], DType::F16));
    }
}
