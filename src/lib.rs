//! Neuropil trains convolutional networks on any GPU through wgpu, and shows that what the GPU computed is right.
//!
//! Model code makes symbolic [`Tensor`]s; a [`Program`] traces it once into a graph, adds gradients, schedules and compiles
//! it for a [`Device`]; running it allocates nothing. The modules below are in the order in which data flows.

pub mod array;
pub mod autocast;
pub mod autodiff;
pub mod check;
pub mod data;
pub mod device;
pub mod dtype;
pub mod error;
pub mod format;
pub mod graph;
pub mod loss;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod program;
pub mod random;
pub mod schedule;
pub mod shape;
pub mod simplify;
pub mod store;
pub mod tensor;
pub mod train;
mod vector;

pub use array::{Array, Element, Float};
pub use device::Device;
pub use dtype::DType;
pub use error::{Context, Error, ErrorKind, Result};
pub use program::{Mode, Program};
pub use store::Store;
pub use tensor::{Init, Precision, Scope, Tensor, Trace};

/// The README's program is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So is that of the page on checking.
#[cfg(doctest)]
#[doc = include_str!("../docs/checking.md")]
struct Checking;
