//! What an operation declares to the scheduler and the devices: one of a handful of kinds of work.
//!
//! Devices match on these kinds, never on operations. What is not declared here is never fused, aliased or tuned.
//! Extents that depend on the batch size (by convention those of leading axes) must stay out of program texts, so that
//! every batch size shares pipelines: devices pass them beside the text.

use super::Expression;
use crate::shape::Window;

/// The kinds of work.
#[derive(Clone, Debug)]
pub enum Lowering {
    /// Output 0 is input 0 in another shape: the same bytes.
    Alias,
    /// Each element of the output by an expression over the op's inputs; the iteration space is the shape of output 0.
    Elementwise(Expression),
    /// Elements combined over axes.
    Reduce(Reduce),
    /// Sums of products: matrix products and convolutions.
    Gemm(Gemm),
    /// Pooling and its gradients.
    Window(Pooling),
    /// A shader of its own; the CPU device runs the reference.
    Opaque(Opaque),
    /// The work of the smaller operations of [`super::Op::decompose`].
    Decompose,
}

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulator {
    /// The sum.
    Sum,
    /// The product.
    Product,
    /// The largest; NaN if there is one.
    Max,
    /// The row-major position (`u32`) of the largest among the reduced elements: the first of equals, or of NaNs.
    ArgMax,
    /// Two results: the mean and the biased variance, by Welford's and Chan's updates (no cancellation).
    Moments,
}

/// Elements of an expression combined over some axes of its iteration space.
#[derive(Clone, Debug)]
pub struct Reduce {
    /// One result, over the op's inputs.
    pub expression: Expression,
    /// The iteration space.
    pub shape: Vec<usize>,
    /// The axes that are combined, ascending.
    pub axes: Vec<usize>,
    /// How.
    pub accumulator: Accumulator,
}

impl Reduce {
    /// The same work over fewer axes: neighbours that are both combined or both kept become one where every access walks
    /// them alike. To find an element then takes fewer divisions.
    #[must_use]
    pub fn collapsed(mut self) -> Self {
        let axes = self.shape.iter().enumerate().map(|(axis, &extent)| (extent, self.axes.contains(&axis))).collect();
        let (shape, combined): (Vec<usize>, Vec<bool>) = self.expression.collapse_alike(axes).into_iter().unzip();
        let axes = combined.into_iter().enumerate().filter(|(_, combined)| *combined).map(|(axis, _)| axis).collect();
        Reduce { shape, axes, ..self }
    }
}

/// A strided matrix in memory, one a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// Elements from row to row.
    pub row: usize,
    /// Elements from column to column.
    pub column: usize,
    /// Elements from group to group.
    pub group: usize,
}

/// One operand of a GEMM: how element (row, column) of the virtual matrix is found in the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A matrix in memory.
    Matrix(Matrix),
    /// The windows of an image `[N, H, W, C]`: row = position (n, p, q), column = tap (r, s, c) (im2col).
    Patches {
        /// The window.
        window: Window,
        /// `[H, W]` of the image.
        image: [usize; 2],
        /// `[P, Q]`: positions of the window.
        positions: [usize; 2],
        /// Channels of one group.
        channels: usize,
        /// Channels of all groups: elements from pixel to pixel.
        pixel: usize,
    },
    /// The positions whose windows cover a pixel: row = pixel (n, h, w), column = tap (r, s, c), read from `[N, P, Q, C]`
    /// (the gather of a convolution's input gradient). Only input 0.
    Covering {
        /// The window.
        window: Window,
        /// `[H, W]` of the image.
        image: [usize; 2],
        /// `[P, Q]`: positions of the window.
        positions: [usize; 2],
        /// Channels of one group.
        channels: usize,
        /// Channels of all groups.
        pixel: usize,
    },
    /// Filters `[Cout, R, S, Cin]` with row = tap (r, s, cout of the group), column = cin.
    Filters {
        /// R·S.
        taps: usize,
        /// Cout of one group.
        outputs: usize,
        /// Cin of one group.
        channels: usize,
    },
}

/// `C[g][m][n] = Σ_k A[g][m][k] · B[g][k][n]`, accumulated in f32.
#[derive(Clone, Debug)]
pub struct Gemm {
    /// Independent products: batch entries or convolution groups.
    pub groups: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Input 0 as (m, k).
    pub a: Operand,
    /// Input 1 as (k, n); for [`Operand::Patches`] the position is k and the tap n.
    pub b: Operand,
    /// Output 0 as (m, n).
    pub output: Matrix,
}

/// What a pooling kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// x → (largest element, its tap as u32). First of equals; NaN wins.
    Max,
    /// (gradient of the positions, taps) → gradient of the image: each pixel sums the windows that chose it.
    MaxScatter,
    /// (image, taps) → the pixel that each window chose.
    MaxGather,
    /// x → mean of the window; padding counts as zeros if `include_padding`.
    Mean {
        /// Whether the divisor is always the number of taps.
        include_padding: bool,
    },
    /// Gradient of the positions → gradient of the image.
    MeanScatter {
        /// As in [`WindowKind::Mean`].
        include_padding: bool,
    },
}

impl WindowKind {
    /// How many tensors it reads.
    pub fn operands(self) -> usize {
        match self {
            WindowKind::MaxScatter | WindowKind::MaxGather => 2,
            WindowKind::Max | WindowKind::Mean { .. } | WindowKind::MeanScatter { .. } => 1,
        }
    }
}

/// Pooling over images `[N, H, W, C]` with positions `[N, P, Q, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pooling {
    /// What to do.
    pub kind: WindowKind,
    /// The window.
    pub window: Window,
    /// N.
    pub batch: usize,
    /// `[H, W]`.
    pub image: [usize; 2],
    /// `[P, Q]`.
    pub positions: [usize; 2],
    /// C.
    pub channels: usize,
}

/// A shader that only its operation understands.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// The WGSL text. Bindings come from a prelude: `params`, `in0 …`, `out0 …`.
    pub wgsl: &'static str,
    /// Constants of the prelude: name and WGSL expression, independent of the batch size.
    pub constants: Vec<(&'static str, String)>,
    /// Values of `params.extents`, which may depend on the batch size (at most 4).
    pub extents: Vec<u32>,
    /// Workgroups to dispatch; more than 65,535 are folded into two dimensions.
    pub workgroups: usize,
}
