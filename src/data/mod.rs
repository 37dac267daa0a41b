//! Datasets of labelled images, the order of their samples, and their batches.
//!
//! A [`Dataset`] holds images `[N, H, W, C]`, one label below the number of classes for each, and the names of the classes.
//! An epoch is an order ([`shuffle`], [`balanced`]), cut into slices of indices ([`Dataset::batches`]), each gathered into
//! arrays ([`Dataset::batch`]) that a program takes as input; a [`Loader`] does that in the background, with random changes
//! ([`augment`]). Orders, splits and changes are functions of their arguments alone: the same on every machine.
//!
//! The sources are [`digits`](fn@digits), which is part of the crate, the files that [`idx`] and [`cifar`] read, and with the
//! feature `images` the folders of pictures that `folder` reads, with `archives` the arrays of NumPy that `arrays` reads, with
//! `tables` the tables that `table` reads.

#[cfg(feature = "archives")]
pub mod arrays;
pub mod augment;
pub mod cifar;
mod dataset;
mod digits;
#[cfg(feature = "fetch")]
pub mod fetch;
mod files;
#[cfg(feature = "images")]
pub mod folder;
pub mod idx;
mod loader;
pub mod npy;
mod order;
mod parts;
mod pixels;
mod statistics;
#[cfg(feature = "tables")]
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use dataset::{Batches, Dataset};
pub use digits::digits;
pub use loader::{Batch, Loader, Mixed, Plan};
pub use order::{balanced, shuffle};
pub use parts::{HELD_OUT, Parts};
pub use pixels::OnDemand;
pub use statistics::Normalization;

/// The class names of a dataset of digits.
fn numerals() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}
