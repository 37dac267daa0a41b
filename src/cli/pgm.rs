//! Binary PGM files (P5): the plainest grayscale images there are.
//!
//! A file is `P5`, width, height and the value of white, each after blanks or comments, one blank, then the pixels row by
//! row, in one byte each, or in two, high byte first, where white is above 255.
//!
//! Source: <https://netpbm.sourceforge.net/doc/pgm.html>.

use std::path::Path;

use neuropil::{Context, Error, ErrorKind};

const REMEDY: &str = "convert the image to one, for example with `magick IMAGE -colorspace gray -depth 8 IMAGE.pgm`";

/// The largest width and height that is read.
const MAX_EXTENT: usize = 1 << 14;

/// A grayscale image.
#[derive(Debug, PartialEq)]
pub struct Image {
    pub height: usize,
    pub width: usize,
    /// Row-major, 0 for black to 1 for white.
    pub pixels: Vec<f32>,
}

/// Reads the file `path`.
///
/// # Errors
/// When it cannot be read, is not a binary PGM file, or is truncated.
pub fn read(path: &Path) -> Result<Image, Error> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(&bytes).context(|| path.display().to_string())
}

fn parse(bytes: &[u8]) -> Result<Image, Error> {
    let malformed = |what: &str| Error::new(ErrorKind::Format, format!("is not a binary PGM file ({what}); {REMEDY}"));
    let mut rest = bytes.strip_prefix(b"P5").ok_or_else(|| malformed("it does not start with P5"))?;
    let mut header = [0; 3];
    for number in &mut header {
        *number = next_number(&mut rest).ok_or_else(|| malformed("width, height and white should follow P5"))?;
    }
    let [width, height, white] = header;
    if !(1..=MAX_EXTENT).contains(&width) || !(1..=MAX_EXTENT).contains(&height) || !(1..=0xFFFF).contains(&white) {
        return Err(malformed(&format!("it claims to be {width} wide, {height} high and {white} where it is white")));
    }
    let data = rest.get(1..).unwrap_or_default();
    let bytes_a_pixel = if white > 0xFF { 2 } else { 1 };
    let size = width * height * bytes_a_pixel;
    let data =
        data.get(..size).ok_or_else(|| malformed(&format!("{size} bytes of pixels should follow its header")))?;
    let value = |bytes: &[u8]| bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
    let pixels = data.chunks(bytes_a_pixel).map(|bytes| (value(bytes) as f32 / white as f32).min(1.0)).collect();
    Ok(Image { height, width, pixels })
}

/// The number after blanks and comments, which run from `#` to the end of the line.
fn next_number(rest: &mut &[u8]) -> Option<usize> {
    loop {
        match rest {
            [b'#', ..] => *rest = &rest[rest.iter().position(|&byte| byte == b'\n')?..],
            [blank, tail @ ..] if blank.is_ascii_whitespace() => *rest = tail,
            _ => break,
        }
    }
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, tail) = rest.split_at(length);
    *rest = tail;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_words_and_comments_are_read() {
        let image = parse(b"P5 # drawn by hand\n3\t1\n# white:\n10\n\x00\x05\x0aleft over").unwrap();
        assert_eq!(image, Image { height: 1, width: 3, pixels: vec![0.0, 0.5, 1.0] });
        assert_eq!(parse(b"P5 1 2 256 \x00\x80\x01\x00").unwrap().pixels, [0.5, 1.0]);
    }

    #[test]
    fn other_files_are_refused() {
        let large = b"P5 99999 99999 255 ";
        let bad: [&[u8]; 8] =
            [b"", b"P2 1 1 1 1", b"P5", b"P5 2 2 255", b"P5 2 2 255 abc", b"P5 1 1 0 a", b"P5 -1 1 9 a", large];
        for bytes in bad {
            let error = parse(bytes).unwrap_err();
            assert!(error.kind() == ErrorKind::Format && error.to_string().contains("magick"), "{error}");
        }
    }
}
