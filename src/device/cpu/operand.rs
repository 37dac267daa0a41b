//! Operands of a matrix product: strided views where memory holds the matrix, packed panels where it does not.
//!
//! The windows of an image ([`Operand::Patches`]) and the positions that cover a pixel ([`Operand::Covering`]) are one
//! thing here: for each row, two tables say where each tap of the window lies, down and across, or that it lies outside.
//! Channels are copied in runs, and taps that are neighbours in memory are one run. A window of one tap without stride or
//! padding is a plain matrix, and so are filters of one tap.

use std::ops::Range;

use ndarray::{ArrayView2, ShapeBuilder};

use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Matrix, Operand};
use crate::shape::Window;

/// Entry of a table for a tap outside the image.
pub(super) const OUTSIDE: usize = usize::MAX;

/// One operand, prepared.
#[derive(Debug)]
pub(super) enum Side {
    /// A matrix in memory.
    Matrix(Matrix),
    /// Rows gathered from an image.
    Gathered(Gathered),
    /// Row = (one of the `chosen` taps, output of the group), column = channel, of filters `[outputs, taps, channels]`.
    Filters { chosen: Vec<usize>, taps: usize, outputs: usize, channels: usize },
}

/// Row = place (n, i, j), column = tap (r, s, c): element `n·image + down[i][r] + across[j][s] + group·channels + c`.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Extents of the places i and j.
    places: [usize; 2],
    kernel: [usize; 2],
    pub channels: usize,
    /// Channels of all groups.
    pixel: usize,
    /// Elements of one image.
    image: usize,
    down: Vec<usize>,
    across: Vec<usize>,
}

impl Side {
    /// Prepares `operand`.
    pub fn new(operand: &Operand) -> Self {
        let plain = |window: &Window, image: &[usize; 2], positions: &[usize; 2]| {
            window.taps() == 1 && window.stride == [1, 1] && window.padding == [[0; 2]; 2] && image == positions
        };
        match operand {
            Operand::Matrix(matrix) => Side::Matrix(*matrix),
            Operand::Patches { window, image, positions, channels, pixel }
            | Operand::Covering { window, image, positions, channels, pixel }
                if plain(window, image, positions) =>
            {
                Side::Matrix(Matrix { row: *pixel, column: 1, group: *channels })
            }
            Operand::Patches { window, image, positions, channels, pixel } => {
                let table = |axis, step: usize| {
                    table(positions[axis], window.kernel_size[axis], step, |place, tap| {
                        window.source(axis, place, tap, image[axis])
                    })
                };
                Side::Gathered(Gathered {
                    places: *positions,
                    kernel: window.kernel_size,
                    channels: *channels,
                    pixel: *pixel,
                    image: image[0] * image[1] * pixel,
                    down: table(0, image[1] * pixel),
                    across: table(1, *pixel),
                })
            }
            Operand::Covering { window, image, positions, channels, pixel } => {
                let (places, taps) = (image.map(|n| (0..n).collect()), window.kernel_size.map(|n| (0..n).collect()));
                Side::Gathered(Gathered::covering(window, *positions, [&places, &taps], *channels, *pixel))
            }
            Operand::Filters { taps: 1, outputs, channels } => {
                Side::Matrix(Matrix { row: *channels, column: 1, group: outputs * channels })
            }
            Operand::Filters { taps, outputs, channels } => {
                Side::Filters { chosen: (0..*taps).collect(), taps: *taps, outputs: *outputs, channels: *channels }
            }
        }
    }

    /// The filters at some taps down and across; `None` if `operand` is something else.
    pub fn filters(operand: &Operand, window: &Window, [down, across]: &[Vec<usize>; 2]) -> Option<Self> {
        let Operand::Filters { taps, outputs, channels } = *operand else { return None };
        let width = window.kernel_size[1];
        let chosen = down.iter().flat_map(|r| across.iter().map(move |s| r * width + s)).collect();
        Some(Side::Filters { chosen, taps, outputs, channels })
    }

    /// Checks that a tensor of `len` elements holds `groups` matrices of `rows` and `columns`.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, len: usize, groups: usize, rows: usize, columns: usize) -> Result<()> {
        if groups == 0 || rows == 0 || columns == 0 {
            return Ok(());
        }
        let needed = match self {
            Side::Matrix(m) => 1 + (groups - 1) * m.group + (rows - 1) * m.row + (columns - 1) * m.column,
            Side::Filters { chosen, taps, outputs, channels }
                if rows <= chosen.len() * outputs && columns <= *channels =>
            {
                groups * outputs * taps * channels
            }
            Side::Gathered(g) if columns <= g.taps() * g.channels && groups * g.channels <= g.pixel => {
                rows.div_ceil((g.places[0] * g.places[1]).max(1)) * g.image
            }
            _ => usize::MAX,
        };
        if needed <= len {
            return Ok(());
        }
        let what = format!("{groups} matrices of {rows} by {columns} do not lie in {len} elements as {self:?}");
        Err(Error::new(ErrorKind::Graph, what))
    }

    /// The matrix in memory, if it is there.
    pub fn matrix(&self) -> Option<Matrix> {
        if let Side::Matrix(matrix) = self { Some(*matrix) } else { None }
    }

    /// Part of the matrix of `group`: a view of `words`, or a copy in `scratch`.
    pub fn panel<'a>(
        &self,
        words: &'a [f32],
        group: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut [f32],
    ) -> ArrayView2<'a, f32> {
        let shape = (rows.len(), columns.len());
        let (words, strides) = match self {
            Side::Matrix(m) => {
                let offset = group * m.group + rows.start * m.row + columns.start * m.column;
                (&words[offset..], (m.row, m.column))
            }
            _ => {
                let scratch = &mut scratch[..shape.0 * shape.1];
                self.pack(words, group, rows, columns, scratch);
                (&*scratch, (shape.1, 1))
            }
        };
        ArrayView2::from_shape(shape.strides(strides), words).expect("checked when the step was planned")
    }

    /// Copies part of the matrix of `group` to `out`, row by row.
    pub fn pack(&self, words: &[f32], group: usize, rows: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
        if columns.is_empty() {
            return;
        }
        match self {
            Side::Gathered(gathered) => gathered.pack(words, group, rows.start, columns, out),
            Side::Filters { chosen, taps, outputs, channels } => {
                for (row, out) in rows.zip(out.chunks_exact_mut(columns.len())) {
                    let filter = (group * outputs + row % outputs) * taps + chosen[row / outputs];
                    out.copy_from_slice(&words[filter * channels + columns.start..][..columns.len()]);
                }
            }
            Side::Matrix(m) => {
                for (row, out) in rows.zip(out.chunks_exact_mut(columns.len())) {
                    let start = group * m.group + row * m.row;
                    columns.clone().zip(out).for_each(|(column, out)| *out = words[start + column * m.column]);
                }
            }
        }
    }
}

/// Where each tap of each place lies on one axis, in steps of `step` elements.
fn table(places: usize, taps: usize, step: usize, lies: impl Fn(usize, usize) -> Option<usize>) -> Vec<usize> {
    let entry = |i: usize| lies(i / taps, i % taps).map_or(OUTSIDE, |place| place * step);
    (0..places * taps).map(entry).collect()
}

impl Gathered {
    /// The positions whose windows cover some pixels, down and across, by some taps.
    pub fn covering(
        window: &Window,
        positions: [usize; 2],
        [pixels, taps]: [&[Vec<usize>; 2]; 2],
        channels: usize,
        pixel: usize,
    ) -> Self {
        let table = |axis: usize, step: usize| {
            table(pixels[axis].len(), taps[axis].len(), step, |place, tap| {
                window.position(axis, pixels[axis][place], taps[axis][tap], positions[axis])
            })
        };
        Gathered {
            places: pixels.each_ref().map(Vec::len),
            kernel: taps.each_ref().map(Vec::len),
            channels,
            pixel,
            image: positions[0] * positions[1] * pixel,
            down: table(0, positions[1] * pixel),
            across: table(1, pixel),
        }
    }

    /// The number of taps.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The place (n, i, j) of a row.
    pub fn place(&self, row: usize) -> [usize; 3] {
        let [height, width] = self.places;
        [row / (height * width), row / width % height, row % width]
    }

    /// The place after `place`.
    pub fn advance(&self, place: &mut [usize; 3]) {
        place[2] += 1;
        if place[2] == self.places[1] {
            (place[1], place[2]) = (place[1] + 1, 0);
        }
        if place[1] == self.places[0] {
            (place[0], place[1]) = (place[0] + 1, 0);
        }
    }

    /// Places across.
    pub fn across_places(&self) -> usize {
        self.places[1]
    }

    /// Where all taps of a place lie so many elements after those of the place before it in the line.
    #[inline(always)]
    pub fn step(&self, &[_, _, j]: &[usize; 3]) -> Option<usize> {
        let width = self.kernel[1];
        let (before, here) = self.across[j.checked_sub(1)? * width..].split_at(width);
        let step = here[0].wrapping_sub(before[0]);
        let moves = |(&before, &here): (&usize, &usize)| {
            before != OUTSIDE && here != OUTSIDE && here.wrapping_sub(before) == step
        };
        before.iter().zip(here).all(moves).then_some(step)
    }

    /// Calls `visit` with every tap inside and its first element, for one place.
    #[inline(always)]
    pub fn taps_at(&self, &[n, i, j]: &[usize; 3], mut visit: impl FnMut(usize, usize)) {
        let [height, width] = self.kernel;
        let (down, across) = (&self.down[i * height..][..height], &self.across[j * width..][..width]);
        for (r, &down) in down.iter().enumerate().filter(|&(_, &down)| down != OUTSIDE) {
            for (s, &across) in across.iter().enumerate().filter(|&(_, &across)| across != OUTSIDE) {
                visit(r * width + s, n * self.image + down + across);
            }
        }
    }

    /// The taps inside of the places `js` of a line, as runs of places whose elements are equally far apart: calls `visit`
    /// with the tap, the first place and its element, the distance and the number of places.
    #[inline(always)]
    pub fn runs(&self, n: usize, i: usize, js: Range<usize>, mut visit: impl FnMut(usize, usize, usize, usize, usize)) {
        let [height, width] = self.kernel;
        let down = &self.down[i * height..][..height];
        for s in 0..width {
            let across = |j: usize| self.across[j * width + s];
            let mut j = js.start;
            while j < js.end {
                let first = across(j);
                let distance = |j: usize| {
                    if j < js.end && across(j) != OUTSIDE { across(j).checked_sub(across(j - 1)) } else { None }
                };
                let mut length = 1;
                if first != OUTSIDE {
                    let stride = distance(j + 1);
                    while stride.is_some() && distance(j + length) == stride {
                        length += 1;
                    }
                    for (r, &down) in down.iter().enumerate().filter(|&(_, &down)| down != OUTSIDE) {
                        visit(r * width + s, j, n * self.image + down + first, stride.unwrap_or(0), length);
                    }
                }
                j += length;
            }
        }
    }

    /// Calls `visit` with the tap and its first element, for every row from `first` and every tap inside.
    pub fn taps_of(&self, rows: Range<usize>, mut visit: impl FnMut(usize, usize, usize)) {
        let mut place = self.place(rows.start);
        for row in rows {
            self.taps_at(&place, |tap, element| visit(row, tap, element));
            self.advance(&mut place);
        }
    }

    /// Copies columns of the rows from `first` of the matrix of `group`, row by row.
    pub fn pack(&self, words: &[f32], group: usize, first: usize, columns: Range<usize>, out: &mut [f32]) {
        let ([height, width], channels) = (self.kernel, self.channels);
        // The tap and channel of the first column are the same in every row.
        let (tap, channel) = (columns.start / channels, columns.start % channels);
        let mut place = self.place(first);
        for out in out.chunks_exact_mut(columns.len()) {
            let [n, i, j] = place;
            let origin = n * self.image + group * channels;
            let (down, across) = (&self.down[i * height..][..height], &self.across[j * width..][..width]);
            let (mut r, mut s, mut channel) = (tap / width, tap % width, channel);
            let mut done = 0;
            while done < out.len() {
                // A run: the rest of this tap, and the taps that follow it in memory.
                let source = if down[r] == OUTSIDE { OUTSIDE } else { across[s] };
                let mut run = channels - channel;
                let mut next = s + 1;
                while next < width && continues(source, across[next], (next - s) * channels, down[r]) {
                    run += channels;
                    next += 1;
                }
                let target = &mut out[done..];
                let run = run.min(target.len());
                if source == OUTSIDE {
                    target[..run].fill(0.0);
                } else {
                    target[..run].copy_from_slice(&words[origin + down[r] + source + channel..][..run]);
                }
                done += run;
                channel = 0;
                (r, s) = if next == width { (r + 1, 0) } else { (r, next) };
            }
            self.advance(&mut place);
        }
    }
}

/// Whether the tap at `next` is `distance` after the one at `source`, or both are outside.
fn continues(source: usize, next: usize, distance: usize, down: usize) -> bool {
    if source == OUTSIDE { down == OUTSIDE || next == OUTSIDE } else { next == source.wrapping_add(distance) }
}
