//! Writes a small sound file of every kind that the targets read: `seeds FOLDER`, a subfolder a target. What runs write
//! (checkpoints, configs, networks) comes from a run: see `scripts/fuzz.sh`.

use std::error::Error;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use image::{DynamicImage, ImageFormat, RgbImage};
use zip::write::{SimpleFileOptions, ZipWriter};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).ok_or("name a folder")?;
    let write = |target: &str, name: &str, bytes: &[u8]| -> Outcome<()> {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), bytes)?)
    };
    write("idx", "images", &idx(&[3, 2, 2]))?;
    write("idx", "labels", &idx(&[3]))?;
    write("cifar", "ten", &ramp(2 * 3073, 10))?;
    write("cifar", "hundred", &ramp(2 * 3074, 20))?;
    write("table", "iris.csv", b"a,b,class\n1,2.5,x\n-3e2,4,y\n5,6,x\n7,8,y\n")?;
    write("npz", "digits.npz", &npz()?)?;
    write("npz", "single.npy", &npy("<f4", &[2, 2], &ramp(16, 64)))?;
    write("pickle", "one", &pickle())?;
    let picture = RgbImage::from_raw(5, 4, ramp(60, 251)).ok_or("60 numbers are 5 by 4 pixels")?;
    for format in [ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(picture.clone()).write_to(&mut bytes, format)?;
        write("image", format.extensions_str()[0], bytes.get_ref())?;
    }
    Ok(())
}

fn ramp(len: usize, below: usize) -> Vec<u8> {
    (0..len).map(|i| (i % below) as u8).collect()
}

fn idx(shape: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(ramp(shape.iter().product::<u32>() as usize, 10));
    bytes
}

fn npy(dtype: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent},")).collect();
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({extents}), }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), elements].concat()
}

/// `{'w': …}` with a view of all 16 numbers of a storage, as PyTorch writes it.
fn pickle() -> Vec<u8> {
    [
        &b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(("[..],
        b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ",
        b"K\x00K\x04K\x04\x86K\x04K\x01\x86\x89h\x00)RtRu}b.",
    ]
    .concat()
}

fn npz() -> Outcome<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in
        [("images.npy", npy("|u1", &[4, 2, 2], &ramp(16, 256))), ("labels.npy", npy("|u1", &[4], &ramp(4, 2)))]
    {
        archive.start_file(name, SimpleFileOptions::default())?;
        archive.write_all(&bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}
