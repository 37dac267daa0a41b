//! Concrete data on the host: a dense n-dimensional array of one of a few element types.
//!
//! An [`Array`] is an [`ndarray::ArrayD`] in standard (row-major) layout, tagged with its [`DType`]. It is what goes into
//! a program and comes out of it, and what the reference implementations compute with. Images are `[N, H, W, C]`.

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
    ($type:ty, $variant:ident) => {
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
                value as $type
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }
    };
}
element!(f32, F32);
element!(f64, F64);
element!(u32, U32);
element!(i32, I32);

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
            DType::F32 | DType::F16 => Array::full(shape, 0f32),
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
            Array::U32(a) => a.shape(),
            Array::I32(a) => a.shape(),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Array::F32(_) => DType::F32,
            Array::F64(_) => DType::F64,
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
        let view = self.view::<T>()?.into_dimensionality();
        view.map_err(|_| Error::new(ErrorKind::Shape, format!("four axes are needed, got {:?}", self.shape())))
    }

    /// Every element as `f64`, in row-major order.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        match self {
            Array::F32(a) => a.iter().map(|v| v.to_f64()).collect(),
            Array::F64(a) => a.iter().copied().collect(),
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

    /// The same values as `dtype`, rounded to nearest; `F16` is held as `f32`.
    #[must_use]
    pub fn cast(&self, dtype: DType) -> Self {
        fn convert<T: Element>(array: &Array) -> Array {
            let elements = array.to_f64_vec().into_iter().map(T::from_f64).collect();
            T::wrap(ArrayD::from_shape_vec(array.shape(), elements).expect("the shape is unchanged"))
        }
        match dtype {
            _ if dtype == self.dtype() => self.clone(),
            DType::F32 | DType::F16 => convert::<f32>(self),
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
            Array::U32(a) => typed(a, shape),
            Array::I32(a) => typed(a, shape),
        };
        reshaped.ok_or_else(|| {
            Error::new(ErrorKind::Shape, format!("cannot reshape {:?} into {shape:?}: the sizes differ", self.shape()))
        })
    }

    /// The elements as the words a device stores: floats by their bits, `F64` rounded to `f32`.
    pub fn to_words(&self) -> Vec<u32> {
        match self {
            Array::F32(a) => a.iter().map(|v| v.to_bits()).collect(),
            Array::F64(a) => a.iter().map(|&v| (v as f32).to_bits()).collect(),
            Array::U32(a) => a.iter().copied().collect(),
            Array::I32(a) => a.iter().map(|&v| v as u32).collect(),
        }
    }

    /// An array of `shape` and `dtype` from the words a device stores.
    ///
    /// # Errors
    /// When the number of words is not the product of `shape`, or `dtype` is not stored in 32-bit words.
    pub fn from_words(shape: &[usize], dtype: DType, words: &[u32]) -> Result<Self> {
        match dtype {
            DType::F32 => Array::new(shape, words.iter().map(|&w| f32::from_bits(w)).collect()),
            DType::U32 => Array::new(shape, words.to_vec()),
            DType::I32 => Array::new(shape, words.iter().map(|&w| w as i32).collect()),
            DType::F16 | DType::F64 => {
                Err(Error::new(ErrorKind::DType, format!("{dtype} is not stored in 32-bit words")))
            }
        }
    }
}
