//! Neuropil trains convolutional networks on any GPU through wgpu.
pub mod array;
pub mod dtype;
pub mod error;
pub mod shape;

pub use array::{Array, Element, Float};
pub use dtype::DType;
pub use error::{Context, Error, ErrorKind, Result};
