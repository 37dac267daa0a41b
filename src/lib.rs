//! Neuropil trains convolutional networks on any GPU through wgpu.
pub mod array;
pub mod autodiff;
pub mod dtype;
pub mod data;
pub mod error;
pub mod format;
pub mod graph;
pub mod ops;
pub mod random;
pub mod schedule;
pub mod shape;
pub mod simplify;

pub use array::{Array, Element, Float};
pub use dtype::DType;
pub use error::{Context, Error, ErrorKind, Result};
