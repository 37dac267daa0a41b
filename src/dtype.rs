//! Element types.
//!
//! A graph is made of `F32`, `F16`, `U32` and `I32` tensors. `F16` is for storage: a load widens it, arithmetic is that of
//! `F32`, a store rounds. `F64` exists on the host alone: the reference runs a graph in it, no device stores it. There is
//! no boolean: a comparison gives `U32` zeros and ones, since WGSL has no storable `bool`.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float: what networks compute in.
    F32,
    /// 64-bit IEEE float, for the reference on the host only.
    F64,
    /// 16-bit IEEE float: how the CPU, and GPUs with `SHADER_F16`, may store floats. The largest is 65,504, the smallest
    /// above zero 2⁻²⁴, and a value is rounded by at most 2⁻¹¹ of it.
    F16,
    /// 32-bit unsigned integer: labels, positions, masks (0 and 1), random bits.
    U32,
    /// 32-bit signed integer.
    I32,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::F16 => 2,
            DType::F32 | DType::U32 | DType::I32 => 4,
            DType::F64 => 8,
        }
    }

    /// The 32-bit words in which a device stores `count` elements.
    pub const fn words(self, count: usize) -> usize {
        match self {
            DType::F16 => count.div_ceil(2),
            DType::F32 | DType::F64 | DType::U32 | DType::I32 => count,
        }
    }

    /// The elements that `words` 32-bit words hold.
    pub const fn elements(self, words: usize) -> usize {
        match self {
            DType::F16 => 2 * words,
            DType::F32 | DType::F64 | DType::U32 | DType::I32 => words,
        }
    }

    /// The type of an element while it is computed with: `F32` for `F16`.
    pub const fn computed(self) -> DType {
        match self {
            DType::F16 => DType::F32,
            other => other,
        }
    }

    /// Whether elements are floating-point numbers, and so can have gradients.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16)
    }

    /// The name in WGSL.
    pub const fn wgsl(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::U32 => "u32",
            DType::I32 => "i32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wgsl())
    }
}
