//! What a network does with the test images: what it confuses, its worst mistakes, what it sees.

use neuropil::data::Dataset;
use neuropil::train::{Confusion, Predictions, Trainer};
use neuropil::{Array, Error};
use serde::Serialize;

use super::super::drawing::{Tile, image, sheet};
use super::super::output::percent;

/// Up to so many classes the confusions are a table with numbers, beyond that a picture.
const TABLE: usize = 20;
/// How many mistakes are shown, and how many guesses of each.
const MISTAKES: usize = 12;
const GUESSES: usize = 3;
/// How many frequent confusions are named.
const CONFUSIONS: usize = 8;
/// How many images are looked into, and how many of their feature maps and of the filters are shown.
const LOOKS: usize = 4;
const FEATURES: usize = 16;
const FILTERS: usize = 64;
/// Data with a side below this is no picture.
const LEAST: usize = 4;

/// What is shown of it.
#[derive(Serialize)]
pub struct Results {
    classes: Vec<Class>,
    /// The rows of the table, where there are few classes.
    table: Vec<Vec<Cell>>,
    /// Else the cells of the picture that are not empty.
    cells: Vec<Dot>,
    /// The most frequent confusions, in words.
    frequent: Vec<String>,
    /// Whether the data are pictures.
    pictures: bool,
    mistakes: Vec<Wrong>,
    filters: Option<Filters>,
    looks: Vec<Seen>,
}

#[derive(Serialize)]
struct Class {
    name: String,
    precision: String,
    recall: String,
    f1: String,
    images: usize,
}

#[derive(Serialize)]
struct Cell {
    count: usize,
    /// The share of the class's images, for the colour.
    share: f64,
    right: bool,
}

#[derive(Serialize)]
struct Dot {
    row: usize,
    column: usize,
    share: f64,
    text: String,
}

#[derive(Serialize)]
struct Wrong {
    picture: String,
    label: String,
    guesses: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Filters {
    name: String,
    shown: usize,
    all: usize,
    picture: String,
}

#[derive(Serialize)]
struct Seen {
    label: String,
    guess: String,
    picture: String,
    saliency: String,
    /// The maps of the first convolution, and its name.
    features: Option<(String, String)>,
}

impl Results {
    /// Those of the model in `trainer` on `test`, of which it says `predictions`.
    ///
    /// # Errors
    /// When an image cannot be read, or the device is lost.
    pub fn of(trainer: &mut Trainer, test: &Dataset, predictions: &Predictions) -> Result<Self, Error> {
        let names = test.class_names();
        let confusion = predictions.confusion();
        let [height, width, _] = test.image_shape();
        let pictures = height.min(width) >= LEAST;
        let count = names.len();
        let share =
            |label: usize, guess: usize| confusion.count(label, guess) as f64 / confusion.support(label).max(1) as f64;
        let cell = |label: usize, guess: usize| Cell {
            count: confusion.count(label, guess),
            share: share(label, guess),
            right: label == guess,
        };
        let small = count <= TABLE;
        let row = |label: usize| (0..count).map(|guess| cell(label, guess)).collect();
        let table = if small { (0..count).map(row).collect() } else { Vec::new() };
        let cells = if small { Vec::new() } else { dots(&confusion, names) };
        let (mistakes, filters, looks) = match pictures {
            true => (mistakes(test, predictions)?, filters(trainer)?, looks(trainer, test, predictions)?),
            false => (Vec::new(), None, Vec::new()),
        };
        let class = |(class, name): (usize, &String)| {
            let text = |share: Option<f64>| share.map_or("–".to_owned(), percent);
            Class {
                name: name.clone(),
                precision: text(confusion.precision(class)),
                recall: text(confusion.recall(class)),
                f1: text(confusion.f1(class)),
                images: confusion.support(class),
            }
        };
        let classes = names.iter().enumerate().map(class).collect();
        Ok(Results { classes, table, cells, frequent: frequent(&confusion, names), pictures, mistakes, filters, looks })
    }
}

fn dots(confusion: &Confusion, names: &[String]) -> Vec<Dot> {
    let all = (0..names.len()).flat_map(|row| (0..names.len()).map(move |column| (row, column)));
    let dot = |(row, column): (usize, usize)| {
        let count = confusion.count(row, column);
        (count > 0).then(|| Dot {
            row,
            column,
            share: count as f64 / confusion.support(row).max(1) as f64,
            text: format!("{} taken for {}: {count}", names[row], names[column]),
        })
    };
    all.filter_map(dot).collect()
}

/// The most frequent confusions.
fn frequent(confusion: &Confusion, names: &[String]) -> Vec<String> {
    let pairs = (0..names.len()).flat_map(|label| (0..names.len()).map(move |guess| (label, guess)));
    let mut wrong: Vec<(usize, usize, usize)> = pairs
        .filter(|(label, guess)| label != guess)
        .map(|(label, guess)| (confusion.count(label, guess), label, guess))
        .filter(|&(count, ..)| count > 0)
        .collect();
    wrong.sort_by_key(|&(count, label, guess)| (std::cmp::Reverse(count), label, guess));
    let text = |&(count, label, guess): &(usize, usize, usize)| {
        format!("{} taken for {}: {count} of {}", names[label], names[guess], confusion.support(label))
    };
    wrong.iter().take(CONFUSIONS).map(text).collect()
}

/// An image of the data.
fn tile(test: &Dataset, index: usize) -> Result<Tile, Error> {
    let shape = test.image_shape();
    let mut pixels = vec![0.0; shape.iter().product()];
    test.read(index, &mut pixels)?;
    Ok(Tile::of_image(shape, &pixels))
}

fn mistakes(test: &Dataset, predictions: &Predictions) -> Result<Vec<Wrong>, Error> {
    let names = test.class_names();
    let worst = predictions.worst(MISTAKES, GUESSES);
    let wrong = worst.into_iter().map(|mistake| {
        let guesses = mistake.guesses.iter().map(|&(class, p)| (names[class].clone(), percent(p.into()))).collect();
        let picture = image(&tile(test, mistake.index)?)?;
        Ok(Wrong { picture, label: names[mistake.label].clone(), guesses })
    });
    wrong.collect()
}

/// The filters `[F, R, S, C]` of the first convolution, in colour where that reads colours.
fn filters(trainer: &mut Trainer) -> Result<Option<Filters>, Error> {
    let Some((name, weights)) = trainer.filters()? else { return Ok(None) };
    let &[all, height, width, channels] = weights.shape() else { return Ok(None) };
    let numbers = weights.as_slice::<f32>()?;
    let tile = |filter: &[f32]| match channels {
        3 => Tile::of_colors([height, width], filter),
        _ => Tile::of_numbers([height, width], &means(filter, channels)),
    };
    let tiles: Vec<Tile> = numbers.chunks(height * width * channels).take(FILTERS).map(tile).collect();
    Ok(Some(Filters { name, shown: tiles.len(), all, picture: sheet(&tiles, 16)? }))
}

fn means(numbers: &[f32], channels: usize) -> Vec<f32> {
    numbers.chunks(channels).map(|pixel| pixel.iter().sum::<f32>() / channels as f32).collect()
}

/// The first image of each of the first classes.
fn looks(trainer: &mut Trainer, test: &Dataset, predictions: &Predictions) -> Result<Vec<Seen>, Error> {
    let names = test.class_names();
    let of_class = |class: usize| test.labels().iter().position(|&label| label as usize == class);
    let indices: Vec<usize> = (0..names.len()).filter_map(of_class).take(LOOKS).collect();
    if indices.is_empty() {
        return Ok(Vec::new());
    }
    let (images, labels) = test.batch(&indices)?;
    let look = trainer.look(&images)?;
    let [height, width, _] = test.image_shape();
    let saliency = look.saliency.as_slice::<f32>()?.chunks(height * width);
    let features = look.features.map(|(name, maps)| feature_sheets(&maps).map(|sheets| (name, sheets))).transpose()?;
    let seen = indices.iter().zip(saliency).enumerate().map(|(i, (&index, saliency))| {
        let guess = predictions.guesses(index, 1);
        let guess = guess.first().map_or(String::new(), |&(class, p)| {
            format!("{}, {}", names[class], percent(p.into()).replace(' ', "\u{a0}"))
        });
        Ok(Seen {
            label: names[labels.as_slice::<u32>()?[i] as usize].clone(),
            guess,
            picture: image(&tile(test, index)?)?,
            saliency: image(&Tile::of_numbers([height, width], saliency))?,
            features: features.as_ref().map(|(name, sheets)| (name.clone(), sheets[i].clone())),
        })
    });
    seen.collect()
}

/// The first of the maps `[N, P, Q, F]`, a sheet an image.
fn feature_sheets(maps: &Array) -> Result<Vec<String>, Error> {
    let &[_, height, width, count] = maps.shape() else { return Ok(Vec::new()) };
    let sheet_of = |image: &[f32]| {
        let map = |feature: usize| {
            let numbers: Vec<f32> = image.iter().copied().skip(feature).step_by(count).collect();
            Tile::of_numbers([height, width], &numbers)
        };
        sheet(&(0..count.min(FEATURES)).map(map).collect::<Vec<_>>(), 8)
    };
    maps.as_slice::<f32>()?.chunks(height * width * count).map(sheet_of).collect()
}
