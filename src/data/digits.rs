//! The UCI optical digits: 1,797 images of 8×8 that are part of the crate, so that training needs no download.
//!
//! The file is a gzipped table, one image a line: 64 pixels of 0 to 16 in row-major order, then the digit. It is decoded
//! anew at each call, in a few milliseconds.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{Dataset, numerals};
use crate::error::{Error, ErrorKind, Result};

const TABLE: &[u8] = include_bytes!("digits.csv.gz");
const SHAPE: [usize; 3] = [8, 8, 1];
const PIXELS: usize = SHAPE[0] * SHAPE[1];
/// The largest value of a pixel, which counts the inked points in a 4×4 cell of the scan.
const WHITE: u8 = 16;

/// The UCI optical digits as (train, test): 1,438 and 359 images `[8, 8, 1]` in [0, 1], ten classes.
///
/// The test part is a fifth of every class, the same at all times: [`Dataset::split`] of 0.2, which takes the 3rd, 8th,
/// 13th, … sample of each digit in the order of the file. No seed has a part in it.
///
/// Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (its test file of 1,797 images), UCI
/// Machine Learning Repository, 1998, [doi 10.24432/C50P49](https://doi.org/10.24432/C50P49), licensed under
/// [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/); the values are scaled by 1/16 and otherwise unchanged.
///
/// # Errors
/// Only if the crate was built with a damaged file.
pub fn digits() -> Result<(Dataset, Dataset)> {
    parse(TABLE)?.split(0.2)
}

fn parse(table: &[u8]) -> Result<Dataset> {
    let damaged = |what: String| Error::new(ErrorKind::Format, format!("the digits built into this crate: {what}"));
    let mut text = String::new();
    MultiGzDecoder::new(table).read_to_string(&mut text).map_err(|e| damaged(e.to_string()))?;

    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let values: Vec<u8> = line.split(',').map_while(|value| value.parse().ok()).collect();
        match values.split_last() {
            Some((&label, image)) if image.len() == PIXELS && image.iter().all(|&pixel| pixel <= WHITE) => {
                pixels.extend_from_slice(image);
                labels.push(u32::from(label));
            }
            _ => {
                let number = number + 1;
                return Err(damaged(format!("line {number} is not {PIXELS} values of 0 to {WHITE} and a label")));
            }
        }
    }
    Dataset::of_bytes("digits", SHAPE, pixels, WHITE, labels, numerals())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn the_parts_are_as_documented() {
        let (train, test) = digits().unwrap();
        assert_eq!((train.len(), test.len(), train.classes(), train.image_shape()), (1438, 359, 10, [8, 8, 1]));
        let counts = |part: &Dataset| {
            let mut counts = [0; 10];
            part.labels().iter().for_each(|&label| counts[label as usize] += 1);
            counts
        };
        assert_eq!(counts(&test), [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]);
        assert!(train.images().unwrap().as_slice::<f32>().unwrap().iter().all(|x| (0.0..=1.0).contains(x)));
        let sixteenths: f32 = train.images().unwrap().as_slice::<f32>().unwrap()[..8].iter().map(|x| x * 16.0).sum();
        assert_eq!(sixteenths, 5.0 + 13.0 + 9.0 + 1.0);
        assert_eq!(&train.labels()[..5], [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_damaged_table_is_an_error() {
        let gzip = |text: String| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let row = |pixel: &str, label: &str| format!("{}{label}\n", format!("{pixel},").repeat(PIXELS));
        assert_eq!(parse(&gzip(row("16", "9"))).unwrap().len(), 1);
        for bad in [row("17", "9"), row("1", "10"), row("x", "1"), row("1", ""), "1,2\n".to_owned()] {
            assert_eq!(parse(&gzip(bad)).unwrap_err().kind(), ErrorKind::Format);
        }
        assert!(parse(&TABLE[..TABLE.len() - 9]).is_err());
    }
}
