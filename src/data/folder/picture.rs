//! One picture: from the bytes of a file to pixels.
//!
//! The form is told by the first bytes, not by the name; a decoder gets no more memory than [`MAX_BYTES`]. Whatever the file
//! holds, a picture becomes 8-bit gray or RGB, row-major, channels last; what is transparent shows the background, which is black
//! unless another is asked for. After: the tree of pictures.

use std::fs;
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// The largest width and height that is read.
pub(super) const MAX_EXTENT: u32 = 1 << 14;
/// The most bytes that decoding one picture may take.
pub const MAX_BYTES: u64 = 1 << 29;

/// The color behind what is transparent, red, green and blue.
pub const BACKGROUND: [u8; 3] = [0; 3];

/// The picture at `path` as `[H, W, channels]` in [0, 1], scaled to `size` (height, width) if there is one; with one
/// channel it is made gray, with three colored.
///
/// # Errors
/// A file that cannot be read, is damaged, or is no picture; the message starts with its path.
pub fn picture(path: &Path, size: Option<[usize; 2]>, channels: usize) -> Result<Array> {
    picture_on(path, size, channels, BACKGROUND)
}

/// As [`picture`], with another color behind what is transparent.
///
/// # Errors
/// As [`picture`].
pub fn picture_on(path: &Path, size: Option<[usize; 2]>, channels: usize, background: [u8; 3]) -> Result<Array> {
    if channels != 1 && channels != 3 {
        let text = format!("{}: a picture has 1 or 3 channels, {channels} are asked for", path.display());
        return Err(Error::new(ErrorKind::Shape, text));
    }
    let picture = decode_on(path, size, background)?;
    let shape = [picture.height() as usize, picture.width() as usize, channels];
    let numbers = bytes(&picture, channels == 3).into_iter().map(|byte| f32::from(byte) / f32::from(u8::MAX));
    Array::new(&shape, numbers.collect())
}

/// The picture in the file `path`, scaled to `size` (height, width) if there is one; the middle is kept where proportions
/// differ.
pub(super) fn decode_file(path: &Path, size: Option<[usize; 2]>) -> Result<DynamicImage> {
    decode_on(path, size, BACKGROUND)
}

fn decode_on(path: &Path, size: Option<[usize; 2]>, background: [u8; 3]) -> Result<DynamicImage> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    let picture = decode(&bytes).context(|| path.display().to_string())?;
    // Before it is scaled, so that colors nobody sees do not bleed into their neighbours.
    let picture = if picture.color().has_alpha() { opaque(&picture, background) } else { picture };
    Ok(scaled_picture(picture, size))
}

fn scaled_picture(picture: DynamicImage, size: Option<[usize; 2]>) -> DynamicImage {
    match size {
        Some([height, width]) if [picture.height() as usize, picture.width() as usize] != [height, width] => {
            picture.resize_to_fill(width as u32, height as u32, FilterType::Triangle)
        }
        _ => picture,
    }
}

/// The picture before a background; gray if both are.
fn opaque(picture: &DynamicImage, background: [u8; 3]) -> DynamicImage {
    let color = picture.color().has_color() || background.iter().any(|&part| part != background[0]);
    let over = RgbImage::from_fn(picture.width(), picture.height(), |_, _| Rgb(background));
    let mut over = DynamicImage::ImageRgb8(over);
    image::imageops::overlay(&mut over, picture, 0, 0);
    if color { over } else { DynamicImage::ImageLuma8(over.to_luma8()) }
}

/// Gray pixels `[H, W, 1]` in [0, 1] as `[height, width, channels]` of `size`; the middle is kept where proportions differ.
///
/// # Errors
/// When there are not as many pixels.
pub fn scaled_gray(pixels: &[f32], shape: [usize; 2], size: [usize; 2], channels: usize) -> Result<Array> {
    let [height, width] = shape;
    let colored: Vec<f32> = pixels.iter().flat_map(|&pixel| [pixel; 3]).collect();
    let Some(picture) = ImageBuffer::from_raw(width as u32, height as u32, colored) else {
        let text = format!("{} pixels are none of {height}×{width}", pixels.len());
        return Err(Error::new(ErrorKind::Shape, text));
    };
    let picture = scaled_picture(DynamicImage::ImageRgb32F(picture), Some(size)).into_rgb32f();
    let gray = picture.pixels().flat_map(|&Rgb([gray, ..])| std::iter::repeat_n(gray, channels));
    Array::new(&[size[0], size[1], channels], gray.collect())
}

/// The picture in the bytes of a file, whose form is told by its first bytes, not by its name.
///
/// # Errors
/// Bytes that are no picture, are damaged, or claim to be of a size beyond 16,384 or [`MAX_BYTES`].
pub fn decode(bytes: &[u8]) -> Result<DynamicImage> {
    let damaged = |e: &dyn std::fmt::Display| {
        let text = format!("is no whole picture ({e}); save or copy it again, or remove it");
        Error::new(ErrorKind::Format, text)
    };
    let reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|e| damaged(&e))?;
    if reader.format() == Some(ImageFormat::Jpeg) && is_cut(bytes) {
        return Err(damaged(&"it ends before the picture does"));
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_EXTENT), Some(MAX_EXTENT));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let picture = reader.decode().map_err(|e| damaged(&e))?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(damaged(&"it has no pixels"));
    }
    Ok(picture)
}

/// Whether a JPEG lacks its end, of which the decoder would make gray pixels. In what is compressed no byte 0xFF comes
/// before a marker's byte, so the last end marker is behind the last start of a scan, unless it is a thumbnail's.
fn is_cut(jpeg: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xFF, 0xDA];
    const END: [u8; 2] = [0xFF, 0xD9];
    let last = |marker: [u8; 2]| jpeg.windows(2).rposition(|bytes| bytes == marker);
    last(END) < last(START_OF_SCAN) || last(END).is_none()
}

/// The pixels, row-major, channels last: RGB, or gray.
pub(super) fn bytes(picture: &DynamicImage, color: bool) -> Vec<u8> {
    if color { picture.to_rgb8().into_raw() } else { picture.to_luma8().into_raw() }
}
