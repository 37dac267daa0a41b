//! Images inside of a page: PNG as a data address, so that the page needs no other file.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use neuropil::{Error, ErrorKind};

/// Small pictures side by side have this many pixels between them.
const GAP: usize = 1;

/// A small picture.
#[derive(Clone, Debug)]
pub struct Tile {
    /// Height and width.
    pub size: [usize; 2],
    /// Red, green and blue of every pixel, row by row.
    pub pixels: Vec<[u8; 3]>,
}

impl Tile {
    /// An image `[H, W, C]` with numbers in [0, 1]: grey where it has not three channels, of which the mean is shown.
    pub fn of_image([height, width, channels]: [usize; 3], image: &[f32]) -> Self {
        let byte = |share: f32| (share.clamp(0.0, 1.0) * 255.0).round() as u8;
        let pixel = |pixel: &[f32]| match *pixel {
            [red, green, blue] => [byte(red), byte(green), byte(blue)],
            _ => [byte(pixel.iter().sum::<f32>() / pixel.len().max(1) as f32); 3],
        };
        Tile { size: [height, width], pixels: image.chunks(channels.max(1)).map(pixel).collect() }
    }

    /// Numbers of any size, row by row: from white for 0 to dark for the largest, or, where some are negative, from orange
    /// over white to blue, which the colour-blind tell apart too.
    pub fn of_numbers(size: [usize; 2], numbers: &[f32]) -> Self {
        let largest = numbers.iter().filter(|number| number.is_finite()).fold(0f32, |most, n| most.max(n.abs()));
        let mix = |share: f32, end: [u8; 3]| end.map(|end| (255.0 + share * (f32::from(end) - 255.0)).round() as u8);
        let pixel = |&number: &f32| {
            let share = if largest > 0.0 && number.is_finite() { number / largest } else { 0.0 };
            match share < 0.0 {
                true => mix(-share, [179, 88, 6]),
                false => mix(share, [20, 60, 120]),
            }
        };
        Tile { size, pixels: numbers.iter().map(pixel).collect() }
    }

    /// Numbers `[H, W, 3]` as colours, of which 0 is grey.
    pub fn of_colors(size: [usize; 2], numbers: &[f32]) -> Self {
        let largest = numbers.iter().filter(|number| number.is_finite()).fold(1e-12f32, |most, n| most.max(n.abs()));
        let shares: Vec<f32> = numbers.iter().map(|number| 0.5 + 0.5 * number / largest).collect();
        Tile::of_image([size[0], size[1], 3], &shares)
    }
}

/// One picture as the address of an image.
///
/// # Errors
/// When it is too large for a PNG.
pub fn image(tile: &Tile) -> Result<String, Error> {
    sheet(std::slice::from_ref(tile), 1)
}

/// Pictures of one size in rows of `columns`, as the address of one image; empty without pictures.
///
/// # Errors
/// When it is too large for a PNG.
pub fn sheet(tiles: &[Tile], columns: usize) -> Result<String, Error> {
    let Some(first) = tiles.first() else { return Ok(String::new()) };
    let [height, width] = first.size;
    let columns = columns.min(tiles.len()).max(1);
    let rows = tiles.len().div_ceil(columns);
    let extent = |count: usize, size: usize| (count * (size + GAP)).saturating_sub(GAP).max(1) as u32;
    // Transparent where there is nothing.
    let mut whole = RgbaImage::new(extent(columns, width), extent(rows, height));
    for (index, tile) in tiles.iter().enumerate() {
        let corner = [index / columns * (height + GAP), index % columns * (width + GAP)];
        for (place, &[red, green, blue]) in tile.pixels.iter().enumerate().take(height * width) {
            let (x, y) = (corner[1] + place % width, corner[0] + place / width);
            whole.put_pixel(x as u32, y as u32, Rgba([red, green, blue, 255]));
        }
    }
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(whole)
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|e| Error::new(ErrorKind::Format, format!("a picture of the report: {e}")))?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes.get_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_its_tiles_in_rows() {
        let tile = |grey: f32| Tile::of_image([2, 3, 1], &[grey; 6]);
        let address = sheet(&[tile(0.0), tile(0.5), tile(1.0)], 2).unwrap();
        let bytes = STANDARD.decode(address.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let read = image::load_from_memory(&bytes).unwrap().to_rgba8();
        assert_eq!(read.dimensions(), (7, 5));
        let greys = [(0, 0), (3, 0), (4, 1), (2, 3), (6, 4)].map(|(x, y)| read.get_pixel(x, y).0);
        assert_eq!(greys, [[0, 0, 0, 255], [0; 4], [128, 128, 128, 255], [255; 4], [0; 4]]);
        assert_eq!(sheet(&[], 3).unwrap(), "");
    }

    #[test]
    fn signs_have_colours_and_nothing_is_white() {
        let tile = Tile::of_numbers([1, 4], &[0.0, 2.0, -1.0, f32::NAN]);
        assert_eq!(tile.pixels, [[255; 3], [20, 60, 120], [217, 172, 131], [255; 3]]);
        assert_eq!(Tile::of_numbers([1, 1], &[0.0]).pixels, [[255; 3]]);
        assert_eq!(Tile::of_colors([1, 1], &[0.0, 1.0, -1.0]).pixels, [[128, 255, 0]]);
    }
}
