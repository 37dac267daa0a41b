//! Vectors of floats, as wide as the machine has them: [`Lanes`].
//!
//! What is written over them is compiled for each implementation. Products are added fused where the machine has that, so
//! bits differ between widths.

/// A vector of [`Lanes::COUNT`] floats.
///
/// # Safety
/// All functions are to be called where the machine has the instructions of the implementation.
pub(crate) trait Lanes: Copy {
    /// Floats in it.
    const COUNT: usize;

    /// All lanes zero.
    unsafe fn zero() -> Self;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;

    /// The floats from `from` on; any alignment.
    unsafe fn load(from: *const f32) -> Self;

    /// To `to` and after; any alignment.
    unsafe fn store(self, to: *mut f32);

    /// `self + a * b`.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;

    /// `self + other`.
    unsafe fn plus(self, other: Self) -> Self;

    /// `self - other`.
    unsafe fn minus(self, other: Self) -> Self;

    /// The first floats of `from`.
    ///
    /// # Panics
    /// When there are too few.
    #[inline(always)]
    unsafe fn of(from: &[f32]) -> Self {
        assert!(from.len() >= Self::COUNT);
        // SAFETY: there are so many; the rest by the caller.
        unsafe { Self::load(from.as_ptr()) }
    }

    /// To the first floats of `to`.
    ///
    /// # Panics
    /// When there are too few.
    #[inline(always)]
    unsafe fn put(self, to: &mut [f32]) {
        assert!(to.len() >= Self::COUNT);
        // SAFETY: as above.
        unsafe { self.store(to.as_mut_ptr()) }
    }
}

/// One float, for what is left.
impl Lanes for f32 {
    const COUNT: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> Self {
        0.0
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        x
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the caller, as below.
        unsafe { from.read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.write(self) }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        self + a * b
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self - other
    }
}

/// Four floats in ordinary Rust.
#[derive(Clone, Copy)]
pub(crate) struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Four(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Four {
    const COUNT: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Four([0.0; 4])
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Four([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the caller.
        Four(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: by the caller.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        let product = a.zip(b, |a, b| a * b);
        // Where fusing is an instruction; elsewhere it would be a call.
        if cfg!(target_arch = "aarch64") {
            return Four(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], self.0[i])));
        }
        self.zip(product, |sum, product| sum + product)
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

/// A vector type of x86-64 by its intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! x86_lanes {
    ($name:ident, $register:ident, $count:literal, $zero:ident, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $sub:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name(std::arch::x86_64::$register);

        impl Lanes for $name {
            const COUNT: usize = $count;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: by the caller, as below.
                $name(unsafe { std::arch::x86_64::$zero() })
            }

            #[inline(always)]
            unsafe fn splat(x: f32) -> Self {
                $name(unsafe { std::arch::x86_64::$splat(x) })
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                $name(unsafe { std::arch::x86_64::$load(from) })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                unsafe { std::arch::x86_64::$store(to, self.0) }
            }

            #[inline(always)]
            unsafe fn plus_product(self, a: Self, b: Self) -> Self {
                $name(unsafe { std::arch::x86_64::$fma(a.0, b.0, self.0) })
            }

            #[inline(always)]
            unsafe fn plus(self, other: Self) -> Self {
                $name(unsafe { std::arch::x86_64::$add(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn minus(self, other: Self) -> Self {
                $name(unsafe { std::arch::x86_64::$sub(self.0, other.0) })
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86_lanes!(
    Eight,
    __m256,
    8,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_sub_ps
);

#[cfg(target_arch = "x86_64")]
x86_lanes!(
    Sixteen,
    __m512,
    16,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_sub_ps
);
