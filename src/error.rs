//! The one error type of the crate.
//!
//! An [`Error`] is opaque: it carries an [`ErrorKind`] that programs can match on and one line of text for people. The
//! text names the thing that is wrong, the values that show it, and what to do about it. Everything the outside world
//! can decide (a shape, a file, an adapter, an environment variable, a lost device) ends here and never in a panic.

use std::fmt;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in one line, with a kind to match on.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    /// Outermost last: `compiling "train"`, `in stage1.conv2`.
    context: Vec<String>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes that do not fit together.
    Shape,
    /// An element type that the operation does not take.
    DType,
    /// A malformed graph, or tensors of two traces mixed.
    Graph,
    /// A gradient was asked for where there is none.
    Gradient,
    /// Something that this device or adapter cannot do.
    Unsupported,
    /// A device that is absent, was lost, or reported an error.
    Device,
    /// A shader that does not compile.
    Shader,
    /// A model that does not fit the device's memory or limits.
    Memory,
    /// A file that could not be read or written.
    Io,
    /// A file whose content is not what it should be.
    Format,
    /// A bad argument, option or environment variable.
    Config,
    /// A result that differs from the reference.
    Parity,
}

impl Error {
    /// An error of `kind` with `message`: one line that names the thing, the values and the remedy.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), context: Vec::new() }))
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Adds where the error happened; shown in front of the message.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.context.push(context.into());
        self
    }

    /// [`ErrorKind::Shape`], for operation `op`.
    pub fn shape(op: &str, message: impl fmt::Display) -> Self {
        Error::new(ErrorKind::Shape, format!("{op}: {message}"))
    }

    /// [`ErrorKind::DType`], for operation `op`.
    pub fn dtype(op: &str, message: impl fmt::Display) -> Self {
        Error::new(ErrorKind::DType, format!("{op}: {message}"))
    }

    /// [`ErrorKind::Io`] for `path`.
    pub fn io(path: &std::path::Path, error: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.0.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} error: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

/// Adds context to the error of a [`Result`].
pub trait Context<T> {
    /// Adds `context()` in front of the message of an error.
    ///
    /// # Errors
    /// The error it was given, with the context added.
    fn context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| e.context(context()))
    }
}
