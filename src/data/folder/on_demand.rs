//! Pictures that stay files, and are decoded when a batch asks for them.
//!
//! Each was decoded once when the folder was read, so an error here means that the file changed since.

use std::path::PathBuf;

use super::picture::{bytes, decode_file};
use crate::data::OnDemand;
use crate::error::{Error, ErrorKind, Result};

/// Pictures of one size.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) paths: Vec<PathBuf>,
    /// Height and width.
    pub(super) size: [usize; 2],
    /// Whether pictures of other sizes are scaled.
    pub(super) scaled: bool,
    /// Whether they are RGB, not gray.
    pub(super) color: bool,
}

impl OnDemand for Files {
    fn count(&self) -> usize {
        self.paths.len()
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<()> {
        let path = &self.paths[index];
        let picture = decode_file(path, self.scaled.then_some(self.size))?;
        let (found, size) = ([picture.height() as usize, picture.width() as usize], self.size);
        if found != size {
            let text = format!(
                "{}: is {found:?} pixels (height, width), and was {size:?} when the folder was read; leave pictures alone \
                 while they are trained on",
                path.display()
            );
            return Err(Error::new(ErrorKind::Shape, text));
        }
        for (number, byte) in image.iter_mut().zip(bytes(&picture, self.color)) {
            *number = f32::from(byte) / f32::from(u8::MAX);
        }
        Ok(())
    }
}
