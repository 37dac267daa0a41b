//! Trees of pictures: what is read, what is refused and how, and what damaged bytes do.

use std::fs;
use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};

use super::picture::MAX_EXTENT;
use super::*;
use crate::array::Array;
use crate::data::testing::TempDir;
use crate::random::Stream;

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG of `height` × `width` whose pixels are all `value`.
fn gray([height, width]: [u32; 2], value: u8) -> Vec<u8> {
    encoded(&GrayImage::from_pixel(width, height, Luma([value])).into(), ImageFormat::Png)
}

fn colored(color: [u8; 3]) -> Vec<u8> {
    encoded(&RgbImage::from_pixel(2, 2, Rgb(color)).into(), ImageFormat::Png)
}

fn tree(files: &[(&str, Vec<u8>)]) -> TempDir {
    let dir = TempDir::new();
    for (name, bytes) in files {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        dir.write(name, bytes);
    }
    dir
}

fn texts(folder: &Parts) -> Vec<String> {
    folder.unusable.iter().map(ToString::to_string).collect()
}

#[test]
fn two_parts_are_read_in_the_order_of_names() {
    let dir = tree(&[
        ("train/dog/2.png", gray([2, 3], 51)),
        ("train/dog/10.PNG", gray([2, 3], 102)),
        ("train/cat/a.png", gray([2, 3], 0)),
        ("train/.hidden/a.png", vec![]),
        ("train/cat/.DS_Store", vec![]),
        ("test/dog/a.png", gray([2, 3], 255)),
    ]);
    let folder = read(dir.path(), &Options::default()).unwrap();
    assert!(folder.unusable.is_empty(), "{:?}", folder.unusable);
    let (train, test) = folder.complete().unwrap();
    assert_eq!((train.class_names(), train.labels()), (&["cat".to_owned(), "dog".to_owned()][..], &[0, 1, 1][..]));
    assert_eq!((train.image_shape(), test.labels()), ([2, 3, 1], &[1][..]));
    let firsts: Vec<f32> = train.images().unwrap().as_slice::<f32>().unwrap().iter().copied().step_by(6).collect();
    assert_eq!(firsts, [0.0, 0.4, 0.2]);
}

#[test]
fn one_colored_picture_makes_all_of_them_colored() {
    let dir = tree(&[
        ("train/a/1.png", gray([2, 2], 51)),
        ("train/b/1.png", colored([255, 0, 102])),
        ("test/a/1.png", gray([2, 2], 51)),
    ]);
    let (train, test) = read(dir.path(), &Options::default()).unwrap().complete().unwrap();
    assert_eq!(train.images().unwrap().as_slice::<f32>().unwrap()[9..15], [0.2, 0.2, 0.2, 1.0, 0.0, 0.4]);
    assert_eq!(test.image_shape(), [2, 2, 3]);
}

#[test]
fn a_split_is_drawn_by_the_seed_from_names_alone() {
    let mut files: Vec<(String, Vec<u8>)> =
        (0..20).map(|i| (format!("{}/{i:02}.png", ["a", "b"][i / 10]), gray([1, 1], i as u8))).collect();
    let parts = |files: &[(String, Vec<u8>)], split_seed| {
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let folder = read(tree(&files).path(), &Options { split_seed, ..Options::default() }).unwrap();
        let values = |part: &Dataset| -> Vec<u8> {
            part.images().unwrap().as_slice::<f32>().unwrap().iter().map(|x| (x * 255.0).round() as u8).collect()
        };
        (values(&folder.train), values(&folder.test))
    };
    let (train, test) = parts(&files, 0);
    assert_eq!((train.len(), test.len(), test.iter().filter(|&&i| i < 10).count()), (16, 4, 2));
    assert_eq!([train.clone(), test.clone()].concat().into_iter().collect::<BTreeSet<_>>().len(), 20);
    assert_eq!(parts(&files, 0), (train.clone(), test.clone()));
    assert_ne!(parts(&files, 1).1, test);
    // A damaged picture does not move the others.
    files[train[0] as usize].1.truncate(20);
    assert_eq!(parts(&files, 0), (train[1..].to_vec(), test));
}

#[test]
fn what_cannot_be_used_is_named_with_the_remedy() {
    let dir = tree(&[
        ("train/a/1.png", gray([2, 2], 1)),
        ("train/a/2.png", gray([2, 2], 2)),
        ("train/a/cut.png", gray([2, 2], 3)[..40].to_vec()),
        ("train/a/notes.txt", b"hello".to_vec()),
        ("train/a/text.jpg", b"hello".to_vec()),
        ("train/b/odd.png", gray([3, 2], 4)),
        ("train/c/1.png", gray([2, 2], 5)),
        ("test/a/1.png", gray([2, 2], 6)),
        ("test/b/1.png", gray([2, 2], 7)),
        ("test/c/1.png", gray([2, 2], 8)),
        ("test/x/1.png", gray([2, 2], 9)),
    ]);
    let folder = read(dir.path(), &Options::default()).unwrap();
    let texts = texts(&folder);
    for (file, finding, remedy) in [
        ("notes.txt", "no picture by its name", "remove it"),
        ("test/x", "no class of this name in train", "rename or remove"),
        ("train/a/cut.png", "no whole picture", "copy it again"),
        ("train/a/text.jpg", "no whole picture", "copy it again"),
        ("train/b/odd.png", "3×2 pixels (height×width), most are 2×2", "scale"),
        ("class b", "no usable picture to train on", "remove the folder"),
    ] {
        let named = |text: &&String| text.contains(file) && text.contains(finding) && text.contains(remedy);
        assert_eq!(texts.iter().filter(named).count(), 1, "{file}: {finding} in {texts:?}");
        assert!(texts.iter().all(|text| !text.contains('\n')));
    }
    assert_eq!(texts.len(), 6, "{texts:?}");
    // What is left has labels without a gap.
    assert_eq!(folder.train.class_names(), ["a", "c"]);
    assert_eq!((folder.train.labels(), folder.test.labels()), (&[0, 0, 1][..], &[0, 1][..]));
    let error = folder.complete().unwrap_err().to_string();
    assert!(error.starts_with("6 things cannot be used"), "{error}");
}

#[test]
fn a_size_that_is_asked_for_scales_every_picture() {
    let dir = tree(&[("a/1.png", gray([8, 6], 51)), ("a/2.png", gray([3, 9], 51)), ("a/3.png", gray([4, 4], 51))]);
    let options = Options { size: Some([4, 5]), ..Options::default() };
    let (train, test) = read(dir.path(), &options).unwrap().complete().unwrap();
    assert_eq!((train.len() + test.len(), train.image_shape()), (3, [4, 5, 1]));
    assert!(train.images().unwrap().as_slice::<f32>().unwrap().iter().all(|&x| x == 0.2));
}

/// What does not fit the memory is decoded when a batch asks for it, to the same numbers.
#[test]
fn pictures_beyond_the_memory_stay_files() {
    let dir = tree(&[
        ("train/a/1.png", gray([2, 2], 51)),
        ("train/b/1.png", colored([255, 0, 102])),
        ("test/a/1.png", gray([2, 3], 51)),
        ("test/b/1.png", colored([1, 2, 3])),
    ]);
    // Four pictures of 2×2 in RGB.
    for (size, memory, on_demand) in [(Some([2, 2]), 48, false), (Some([2, 2]), 47, true), (None, 0, true)] {
        let whole = read(dir.path(), &Options { size, ..Options::default() }).unwrap();
        let folder = read(dir.path(), &Options { size, memory, ..Options::default() }).unwrap();
        assert_eq!(texts(&folder), texts(&whole));
        for (part, whole) in [(&folder.train, &whole.train), (&folder.test, &whole.test)] {
            assert_eq!((part.is_on_demand(), part.labels()), (on_demand, whole.labels()), "{memory}");
            assert_eq!(part.images().unwrap(), whole.images().unwrap());
        }
    }
    let train = read(dir.path(), &Options { memory: 0, ..Options::default() }).unwrap().train;
    dir.write("train/a/1.png", &gray([3, 2], 51));
    let error = train.batch(&[1, 0]).unwrap_err().to_string();
    assert!(error.contains("1.png: is [3, 2] pixels") && error.contains("leave pictures alone"), "{error}");
    fs::remove_file(dir.path().join("train/a/1.png")).unwrap();
    assert_eq!(train.batch(&[0]).unwrap_err().kind(), ErrorKind::Io);
    assert!(train.batch(&[1]).is_ok());
}

#[test]
fn trees_without_pictures_or_parts_are_errors() {
    let error = |files: &[(&str, Vec<u8>)]| read(tree(files).path(), &Options::default()).unwrap_err().to_string();
    assert!(error(&[("1.png", gray([1, 1], 0))]).contains("has no folders"));
    assert!(error(&[("train/a/1.png", gray([1, 1], 0))]).contains("no folder test"));
    assert!(error(&[("train/a/1.png", vec![]), ("test/a/1.png", vec![])]).contains("no usable picture to train on"));
    assert!(error(&[("a/1.png", gray([1, 1], 0))]).contains("no usable picture to test on"));
    assert_eq!(read("/nonexistent", &Options::default()).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_picture_is_read_with_the_channels_asked_for() {
    let dir = tree(&[("a.png", colored([255, 255, 255])), ("b.png", gray([1, 2], 51))]);
    assert_eq!(picture(&dir.path().join("a.png"), None, 1).unwrap(), Array::full(&[2, 2, 1], 1f32));
    assert_eq!(picture(&dir.path().join("b.png"), None, 3).unwrap(), Array::full(&[1, 2, 3], 0.2f32));
    assert_eq!(picture(&dir.path().join("b.png"), Some([3, 3]), 1).unwrap().shape(), [3, 3, 1]);
    assert!(picture(&dir.path().join("b.png"), None, 2).is_err());
}

#[test]
fn a_file_that_ends_early_is_always_an_error() {
    let picture: DynamicImage = RgbImage::from_fn(19, 17, |x, y| Rgb([(x * 13) as u8, (y * 15) as u8, 7])).into();
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::WebP] {
        let whole = encoded(&picture, format);
        // A PNG is whole without its empty last chunk, of 12 bytes.
        let needed = whole.len() - if format == ImageFormat::Png { 12 } else { 0 };
        for length in 0..needed {
            assert!(decode(&whole[..length]).is_err(), "{length} of {} bytes of {format:?}", whole.len());
        }
    }
}

/// Bits flipped, ends cut off, sizes in headers made huge: no panic, no allocation beyond the limit.
#[test]
fn damaged_bytes_are_read_or_refused() {
    let mut stream = Stream::new(0, "picture mutations");
    let picture: DynamicImage = RgbImage::from_fn(9, 7, |x, y| Rgb([(x * 28) as u8, (y * 36) as u8, 77])).into();
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP] {
        let original = encoded(&picture, format);
        assert_eq!(decode(&original).unwrap().width(), 9, "{format:?}");
        for _ in 0..3000 {
            let mut bytes = original.clone();
            for _ in 0..=stream.below(3) {
                let at = stream.below(bytes.len() as u64) as usize;
                bytes[at] =
                    [stream.next_u32() as u8, 0xFF, bytes[at] ^ (1 << stream.below(8))][stream.below(3) as usize];
            }
            if stream.below(4) == 0 {
                bytes.truncate(stream.below(bytes.len() as u64) as usize);
            }
            match decode(&bytes) {
                Ok(picture) => assert!(picture.width() <= MAX_EXTENT && picture.height() <= MAX_EXTENT),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Format, "{error}"),
            }
        }
    }
}
