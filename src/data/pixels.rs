//! Where the images of a data set are: in memory, as the bytes or floats that they came as, or in files until a batch
//! asks for them.
//!
//! However they are stored, they are read one at a time as floats, row-major, channels last; bytes are scaled to [0, 1]
//! while they are read. Copies share what they hold. Before: files; after: [`Dataset`](super::Dataset), which says which
//! images there are.

use std::fmt::Debug;
use std::sync::Arc;

use crate::array::Array;
use crate::error::Result;

/// Images that are read when they are asked for: what a data set needs that does not fit the memory.
pub trait OnDemand: Debug + Send + Sync {
    /// The number of images.
    fn count(&self) -> usize;

    /// Writes image `index` to `image`, row-major, channels last, in [0, 1] by convention. Called by several threads.
    ///
    /// # Errors
    /// When it cannot be read; the message names it.
    fn read(&self, index: usize, image: &mut [f32]) -> Result<()>;
}

#[derive(Clone, Debug)]
pub(super) enum Pixels {
    /// `[N, H, W, C]`, of `f32`.
    Floats(Arc<Array>),
    Bytes {
        values: Arc<Vec<u8>>,
        /// What every byte stands for.
        scale: Arc<[f32; 256]>,
    },
    OnDemand(Arc<dyn OnDemand>),
}

impl Pixels {
    /// Bytes of 0 to `white`.
    pub(super) fn bytes(values: Vec<u8>, white: u8) -> Self {
        let scale = std::array::from_fn(|byte| byte as f32 / f32::from(white));
        Pixels::Bytes { values: Arc::new(values), scale: Arc::new(scale) }
    }

    /// Writes the image at `place` to `image`, whose length is that of an image.
    pub(super) fn read(&self, place: usize, image: &mut [f32]) -> Result<()> {
        let range = place * image.len()..(place + 1) * image.len();
        match self {
            Pixels::Floats(array) => image.copy_from_slice(&array.as_slice::<f32>()?[range]),
            Pixels::Bytes { values, scale } => {
                image.iter_mut().zip(&values[range]).for_each(|(number, &byte)| *number = scale[usize::from(byte)]);
            }
            Pixels::OnDemand(source) => source.read(place, image)?,
        }
        Ok(())
    }

    /// The bytes of memory that hold the images.
    pub(super) fn memory(&self) -> usize {
        match self {
            Pixels::Floats(array) => array.len() * size_of::<f32>(),
            Pixels::Bytes { values, .. } => values.len(),
            Pixels::OnDemand(_) => 0,
        }
    }
}
