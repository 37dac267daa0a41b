//! Pictures for pages: networks as SVG, images as PNG inside of the page.
//!
//! Drawings are SVG made by templates, so all text is escaped by the template engine; their colours follow the page that they
//! are in and have values of their own outside of one. Before: plain data of the library. After: `graph` writes the drawing of a
//! network to a file, reports have all of them.

mod chart;
mod network;
mod pixels;

pub use chart::{Chart, Line, chart};
pub use network::network;
pub use pixels::{Tile, image, sheet};

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use neuropil::{Error, ErrorKind};

/// The template engine for pages and drawings: what is missing is an error, all text is escaped.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment
}

/// What is wrong with a template.
pub fn failed(error: minijinja::Error) -> Error {
    Error::new(ErrorKind::Format, format!("a template of this program: {error:#}"))
}
