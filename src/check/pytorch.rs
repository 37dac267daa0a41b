//! What PyTorch calls the operations of the registry: for [`super::catalog`].

/// Operations and PyTorch's names. A name in parentheses says what it is for, where PyTorch has no such function.
const NAMES: &[(&str, &str)] = &[];

/// PyTorch's name of an operation.
pub fn name(op: &str) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == op).map(|(_, name)| *name)
}

/// The operations that the table lists.
pub fn listed() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(op, _)| *op)
}
