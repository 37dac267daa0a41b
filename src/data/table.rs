//! Tables as data: a sample a line, features as numbers, one column with the class.
//!
//! The separator (comma, semicolon or tab) and whether there is a line of names are told from the first line; a table may be
//! gzipped. The class is the column that is asked for, else one called `label`, `class`, `target` or `species`, else the last.
//! Its distinct texts are the classes, in numerical order if all are numbers, else in that of their bytes. Features become
//! images `[1, 1, F]`, or of a height and width that are asked for; their numbers are taken as they are. A fifth of every class
//! is held out for testing. A line that cannot be used is named by its number, and is in neither part.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::path::Path;

use csv::{ByteRecord, Position, ReaderBuilder, Trim};

use super::{Dataset, HELD_OUT, Parts, files};
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// What the column with the class is often called.
const LABEL_NAMES: [&str; 4] = ["label", "class", "target", "species"];
/// The most numbers that a table may have.
const MAX_NUMBERS: usize = 1 << 29;
/// The most bytes that are read, unpacked.
const MAX_BYTES: u64 = 1 << 32;
/// The most classes.
const MAX_CLASSES: usize = 10_000;

/// How a table is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The column with the class, by its name or its number, counted from 1.
    pub label_column: Option<String>,
    /// Height and width of the images that a line's numbers are, row-major, channels last.
    pub size: Option<[usize; 2]>,
    /// Which lines are held out.
    pub split_seed: u64,
}

/// Reads the table at `path`.
///
/// # Errors
/// A file that cannot be read, has no lines that can be used, no such column, or no classes in it. Lines that cannot be used
/// are in [`Parts::unusable`].
pub fn read(path: &Path, options: &Options) -> Result<Parts> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file_name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("table");
    let mut parts = decode(name, files::open(path)?, options).context(|| path.display().to_string())?;
    parts.unusable = parts.unusable.into_iter().map(|error| error.context(path.display().to_string())).collect();
    Ok(parts)
}

/// Reads a table called `name`.
///
/// # Errors
/// As [`read`].
pub fn decode(name: &str, reader: impl BufRead, options: &Options) -> Result<Parts> {
    let mut text = Vec::new();
    files::unzipped(reader)?.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(files::unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(malformed(format!("has more than {MAX_BYTES} bytes; save it as arrays of NumPy")));
    }
    let mut builder = ReaderBuilder::new();
    let lines = builder.has_headers(false).flexible(true).delimiter(separator(&text)).trim(Trim::All);
    let mut lines =
        lines.from_reader(&text[..]).into_byte_records().map(|line| line.map_err(|e| malformed(e.to_string())));
    let first = lines.next().ok_or_else(|| malformed("has no lines; put a sample on each"))??;
    let columns = Columns::of(&first, options.label_column.as_deref())?;
    let [height, width, channels] = columns.shape(options.size)?;
    let mut rows = Rows::default();
    if columns.names.is_none() {
        rows.add(&first, &columns, &text)?;
    }
    for line in lines {
        rows.add(&line?, &columns, &text)?;
    }
    let Rows { numbers, texts, unusable } = rows;
    if texts.is_empty() {
        let why = unusable.first().map_or(String::new(), |error| format!(" ({error})"));
        return Err(malformed(format!("has no line that can be used{why}; give each its numbers and a class")));
    }
    let (labels, class_names) = classes(&texts, &columns)?;
    let images = Array::new(&[labels.len(), height, width, channels], numbers)?;
    let whole = Dataset::new(name, images, labels, class_names)?;
    let (train, test) = whole.split_by(HELD_OUT, options.split_seed)?;
    if test.is_empty() {
        return Err(malformed("has too few lines to hold some out for testing; give three or more of each class"));
    }
    Ok(Parts { train, test, unusable })
}

fn malformed(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, text)
}

/// What separates the fields of a table that starts with `start`.
fn separator(start: &[u8]) -> u8 {
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|separator| line.contains(separator)).unwrap_or(b',')
}

/// What the first line says of all.
struct Columns {
    count: usize,
    /// The column with the class.
    label: usize,
    names: Option<Vec<String>>,
}

impl Columns {
    fn of(first: &ByteRecord, label_column: Option<&str>) -> Result<Self> {
        let count = first.len();
        if count < 2 {
            return Err(malformed("has a first line of one field; separate numbers and class by commas"));
        }
        let fields: Vec<String> = first.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
        let is_often = |field: &String| LABEL_NAMES.contains(&field.to_lowercase().as_str());
        let numbered =
            |text: &str| text.parse().ok().filter(|number| (1..=count).contains(number)).map(|number| number - 1);
        let label = match label_column {
            None => fields.iter().position(is_often).unwrap_or(count - 1),
            Some(text) => {
                numbered(text).or_else(|| fields.iter().position(|field| field == text)).ok_or_else(|| {
                    let some = fields.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ");
                    let text = format!(
                        "has no column {text:?}; its first line is {some}; give a name or a number from 1 to {count}"
                    );
                    Error::new(ErrorKind::Config, text)
                })?
            }
        };
        // A line of names calls the class by its name, or has words where other lines have numbers.
        let mut features = fields.iter().enumerate().filter(|&(column, _)| column != label);
        let has_names = is_often(&fields[label])
            || label_column.is_some_and(|name| *name == fields[label])
            || features.all(|(_, field)| !field.is_empty() && number(field.as_bytes()).is_none());
        Ok(Columns { count, label, names: has_names.then_some(fields) })
    }

    /// `[H, W, C]` of the images.
    fn shape(&self, size: Option<[usize; 2]>) -> Result<[usize; 3]> {
        let features = self.count - 1;
        let Some([height, width]) = size else { return Ok([1, 1, features]) };
        match height.checked_mul(width) {
            Some(area @ 1..) if features.is_multiple_of(area) => Ok([height, width, features / area]),
            _ => {
                let text = format!("has {features} numbers a line, which are no images of {height}×{width}");
                Err(Error::new(ErrorKind::Config, format!("{text}; give another size, or none")))
            }
        }
    }

    /// The column as people call it.
    fn name(&self, column: usize) -> String {
        let name = self.names.as_ref().map(|names| format!(" ({})", names[column]));
        format!("column {}{}", column + 1, name.unwrap_or_default())
    }
}

/// The lines that can be used, and what is wrong with the others.
#[derive(Default)]
struct Rows {
    numbers: Vec<f32>,
    /// The class of each.
    texts: Vec<String>,
    unusable: Vec<Error>,
}

impl Rows {
    fn add(&mut self, line: &ByteRecord, columns: &Columns, text: &[u8]) -> Result<()> {
        let before = self.numbers.len();
        match self.parse(line, columns) {
            Ok(text) => self.texts.push(text),
            Err(finding) => {
                self.numbers.truncate(before);
                let number = line.position().map_or(0, |position| line_number(position, text));
                self.unusable.push(malformed(format!("line {number}: {finding}; complete or remove it")));
            }
        }
        if self.numbers.len() > MAX_NUMBERS {
            return Err(malformed(format!("has more than {MAX_NUMBERS} numbers; save it as arrays of NumPy")));
        }
        Ok(())
    }

    /// Appends the numbers of a line and gives its class, or says what is wrong.
    fn parse(&mut self, line: &ByteRecord, columns: &Columns) -> std::result::Result<String, String> {
        if line.len() != columns.count {
            return Err(format!("has {} fields, the first line has {}", line.len(), columns.count));
        }
        let mut class = None;
        for (column, field) in line.iter().enumerate() {
            if column == columns.label {
                class = std::str::from_utf8(field).ok().filter(|text| !text.is_empty()).map(str::to_owned);
            } else if let Some(number) = number(field) {
                self.numbers.push(number);
            } else {
                let field = String::from_utf8_lossy(field);
                return Err(format!("{} is {field:?}, which is no finite number", columns.name(column)));
            }
        }
        class.ok_or_else(|| format!("{} names no class", columns.name(columns.label)))
    }
}

/// The number of the line that starts at `position`, behind any empty lines.
fn line_number(position: &Position, text: &[u8]) -> u64 {
    let behind = text.get(position.byte() as usize..).unwrap_or_default();
    let empty = behind.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|&&byte| byte == b'\n');
    position.line() + empty.count() as u64
}

fn number(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|number: &f32| number.is_finite())
}

/// The labels of samples whose classes are `texts`, and the names of the classes.
fn classes(texts: &[String], columns: &Columns) -> Result<(Vec<u32>, Vec<String>)> {
    let mut names: Vec<&String> = texts.iter().collect::<BTreeSet<_>>().into_iter().collect();
    let numbers: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok()).collect();
    if let Some(numbers) = numbers {
        if let Some(fraction) = numbers.iter().find(|number| number.fract() != 0.0) {
            let column = columns.name(columns.label);
            let text = format!("{column} has {fraction}, a number that is no class; name the column with the class");
            return Err(malformed(text));
        }
        let mut numbered: Vec<_> = numbers.into_iter().zip(names).collect();
        numbered.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        names = numbered.into_iter().map(|(_, name)| name).collect();
    }
    if names.len() > MAX_CLASSES {
        let (column, count) = (columns.name(columns.label), names.len());
        let text =
            format!("{column} has {count} different texts, too many to be classes; name the column with the class");
        return Err(malformed(text));
    }
    let label: BTreeMap<&String, u32> = names.iter().copied().zip(0..).collect();
    Ok((texts.iter().map(|text| label[text]).collect(), names.into_iter().cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, gzip};
    use super::*;
    use crate::random::Stream;

    const FLOWERS: &str = "length,width,species\n5.1,3.5,setosa\n4.9,3,setosa\n4.7,3.2,setosa\n7,3.2,versicolor\n\
                           6.4,3.2,versicolor\n6.9,3.1,versicolor\n";

    fn load(text: &str, options: &Options) -> Result<Parts> {
        decode("some", text.as_bytes(), options)
    }

    /// The first number and the class of every sample of both parts.
    fn samples(parts: &Parts) -> Vec<(f64, String)> {
        let of = |part: &Dataset| {
            let [height, width, channels] = part.image_shape();
            let firsts = part.images().unwrap().to_f64_vec().into_iter().step_by(height * width * channels);
            let classes = part.labels().iter().map(|&label| part.class_names()[label as usize].clone());
            firsts.map(|x| (x * 10.0).round() / 10.0).zip(classes).collect::<Vec<_>>()
        };
        let mut all = [of(&parts.train), of(&parts.test)].concat();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    #[test]
    fn a_table_with_names_is_read() {
        let parts = load(FLOWERS, &Options::default()).unwrap();
        assert!(parts.unusable.is_empty());
        assert_eq!((parts.train.len(), parts.test.len(), parts.train.image_shape()), (4, 2, [1, 1, 2]));
        assert_eq!(parts.train.class_names(), ["setosa", "versicolor"]);
        let setosa = [4.7, 4.9, 5.1].map(|x| (x, "setosa".to_owned()));
        assert_eq!(samples(&parts)[..3], setosa);
        // The same, as it may also be written.
        let bare = FLOWERS.replace("length,width,species\n", "").replace(',', ";").replace('\n', "\r\n");
        let quoted = FLOWERS.replace("setosa", "\"setosa\"").replace(',', "\t");
        let first = FLOWERS.replace("length,width,species", "Class,length,width");
        let first: String = first
            .lines()
            .map(|line| match line.rsplit_once(',') {
                Some((numbers, class)) if !line.starts_with("Class") => format!("{class}, {numbers}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        for text in [bare, quoted, first] {
            assert_eq!(samples(&load(&text, &Options::default()).unwrap()), samples(&parts), "{text}");
        }
        let dir = TempDir::new();
        let path = dir.write("iris.csv.gz", &gzip(FLOWERS.as_bytes()));
        let read = read(&path, &Options::default()).unwrap();
        assert_eq!((read.train.name(), samples(&read)), ("iris", samples(&parts)));
        assert_ne!(
            load(FLOWERS, &Options { split_seed: 1, ..Options::default() }).unwrap().test.images().unwrap(),
            parts.test.images().unwrap()
        );
    }

    #[test]
    fn the_column_of_the_class_and_the_size_of_images_can_be_said() {
        let text: String = (0..30).map(|i| format!("{},{i},1,2,3\n", [10, 9][i % 2])).collect();
        let options = Options { label_column: Some("1".to_owned()), size: Some([2, 1]), split_seed: 0 };
        let parts = load(&text, &options).unwrap();
        assert_eq!(
            (parts.train.image_shape(), parts.train.class_names()),
            ([2, 1, 2], &["9".to_owned(), "10".to_owned()][..])
        );
        assert_eq!((parts.train.len(), parts.test.len()), (24, 6));
        let named = Options { label_column: Some("width".to_owned()), ..Options::default() };
        // A bad number in the first line makes it no line of names.
        assert_eq!(load(&format!("1,x,setosa\n{}", &FLOWERS[21..]), &Options::default()).unwrap().unusable.len(), 1);
        let text = load("width,length\n1,2\n1,3\n1,4\n", &named).unwrap();
        assert_eq!(text.train.class_names(), ["1"]);
    }

    #[test]
    fn lines_that_cannot_be_used_are_named() {
        let dir = TempDir::new();
        let bad = b"\n5.0,,setosa\n5.0,abc,setosa\n1,2\n1,2,\n1,inf,setosa\n\xFF,1,setosa\n1,2,\xFF\n";
        let path = dir.write("iris.csv", &[FLOWERS.as_bytes(), bad].concat());
        let parts = read(&path, &Options::default()).unwrap();
        assert_eq!((parts.train.len() + parts.test.len(), parts.unusable.len()), (6, 7));
        for (error, finding) in parts.unusable.iter().zip([
            "line 9: column 2 (width) is \"\"",
            "line 10: column 2 (width) is \"abc\"",
            "line 11: has 2 fields, the first line has 3",
            "line 12: column 3 (species) names no class",
            "line 13: column 2 (width) is \"inf\"",
            "line 14: column 1 (length)",
            "line 15: column 3 (species) names no class",
        ]) {
            let text = error.to_string();
            assert!(text.contains("iris.csv: ") && text.contains(finding), "{text} should say {finding}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let with = |label: &str, size| Options { label_column: Some(label.to_owned()), size, split_seed: 0 };
        for (text, options, finding) in [
            ("", Options::default(), "has no lines"),
            ("1\n2\n", Options::default(), "one field"),
            ("a,b,class\n", Options::default(), "no line that can be used"),
            ("a,b,class\nx,y,z\n", Options::default(), "no line that can be used (line 2: column 1 (a) is \"x\""),
            ("1,2,0.5\n1,2,1\n", Options::default(), "column 3 has 0.5, a number that is no class"),
            ("1,2,a\n1,2,b\n", Options::default(), "too few lines"),
            (FLOWERS, with("colour", None), "no column \"colour\"; its first line is length, width, species"),
            (FLOWERS, with("4", None), "number from 1 to 3"),
            (FLOWERS, with("species", Some([2, 2])), "2 numbers a line, which are no images of 2×2"),
        ] {
            let error = load(text, &options).unwrap_err().to_string();
            assert!(error.contains(finding), "{error} should say {finding}");
        }
        let error = read(Path::new("/nonexistent/iris.csv"), &Options::default()).unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains("iris.csv"), "{error}");
        let dir = TempDir::new();
        let cut = dir.write("iris.csv.gz", &gzip(FLOWERS.as_bytes())[..40]);
        let error = read(&cut, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("iris.csv.gz: is truncated"), "{error}");
    }

    #[test]
    fn mutated_tables_are_read_or_refused() {
        let mut stream = Stream::new(0, "table mutations");
        for original in [FLOWERS.as_bytes().to_vec(), gzip(FLOWERS.as_bytes())] {
            for _ in 0..5000 {
                let mut bytes = original.clone();
                for _ in 0..=stream.below(3) {
                    let at = stream.below(bytes.len() as u64) as usize;
                    let special = b",;\t\n\r\"0\xFF"[stream.below(8) as usize];
                    bytes[at] = [stream.next_u32() as u8, special][stream.below(2) as usize];
                }
                match decode("x", &bytes[..], &Options::default()) {
                    Ok(parts) => assert!(!parts.train.is_empty() || !parts.test.is_empty()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Format, "{error}"),
                }
            }
        }
    }
}
