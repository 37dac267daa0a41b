//! Pickles of PyTorch, read as data: no code runs, whatever the file says.
//!
//! A pickle is a program for a machine with a stack, a memo and the power to call any function of Python. This reader knows
//! the instructions that dictionaries of tensors need, and of functions four: those that make an `OrderedDict`, a tensor and
//! a parameter, and the names of storages. Each is carried out here, by building a [`Node`]; any other instruction or name is
//! an error that names it. Values are nodes in one list and refer to each other by number, so that a value that occurs twice
//! is held once, and memory grows with the bytes read. After: `pytorch`, which looks at the nodes.
//!
//! Source: <https://github.com/python/cpython/blob/main/Lib/pickletools.py>.

use std::collections::HashMap;

use super::elements::ElementType;
use crate::error::{Error, ErrorKind, Result};

/// The number of a node.
pub(super) type Id = usize;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Keys and values, in the order in which they were set.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Tensor),
}

/// A function or class that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageOf(ElementType),
}

/// Where elements are: the member `data/KEY` of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub ty: ElementType,
    pub key: String,
    pub elements: i64,
}

/// A view of a storage; all numbers as the file has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub storage: Id,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle {
    pub nodes: Vec<Node>,
    pub root: Id,
}

/// Reads a pickle.
///
/// # Errors
/// A pickle that is truncated or malformed, or that holds anything but tensors, numbers, text and collections of them.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle> {
    let mut machine =
        Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok(Pickle { nodes: machine.nodes, root })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// The heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    /// Carries out an instruction; whether it was the last.
    fn step(&mut self) -> Result<bool> {
        let start = self.at;
        let [code] = self.take_array()?;
        match code {
            // PROTO and FRAME say nothing of the value.
            0x80 => self.take(1).map(drop)?,
            0x95 => self.take(8).map(drop)?,
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' => self.push_number::<1>()?,
            b'M' => self.push_number::<2>()?,
            b'J' => {
                let number = i32::from_le_bytes(self.take_array()?);
                self.push(Node::Int(number.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                let number = f64::from_be_bytes(self.take_array()?);
                self.push(Node::Float(number));
            }
            0x8c => self.text::<1>()?,
            b'X' => self.text::<4>()?,
            0x8d => self.text::<8>()?,
            b'}' => self.push(Node::Dict(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let items = self.pop_many(count)?;
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let pair = self.pop_many(2)?;
                self.set(&pair)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            b'q' | b'r' | 0x94 => {
                let key = match code {
                    b'q' => self.number::<1>()?,
                    b'r' => self.number::<4>()?,
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?;
                self.memo.insert(key, top);
            }
            b'h' | b'j' => {
                let key = if code == b'h' { self.number::<1>()? } else { self.number::<4>()? };
                let Some(&id) = self.memo.get(&key) else {
                    return Err(malformed(format!("takes number {key} of the memo, which was not set")));
                };
                self.stack.push(id);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => self.stack_global()?,
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => {
                let text = format!(
                    "has the instruction {other:#04x} at byte {start}, which dictionaries of tensors do not need; {REMEDY}"
                );
                return Err(Error::new(ErrorKind::Format, text));
            }
        }
        Ok(false)
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let bytes = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let bytes = bytes.ok_or_else(|| malformed(format!("ends in the middle, at byte {}", self.bytes.len())))?;
        self.at += count;
        Ok(bytes)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A number of `N` bytes without a sign.
    fn number<const N: usize>(&mut self) -> Result<u64> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.take(N)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(malformed("ends in the middle of a name".to_owned()));
        };
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn push_number<const N: usize>(&mut self) -> Result<()> {
        let number = self.number::<N>()?;
        self.push(Node::Int(number as i64));
        Ok(())
    }

    /// A number with a sign, in as many bytes as the first says.
    fn long(&mut self) -> Result<()> {
        let [length] = self.take_array()?;
        if length > 8 {
            return Err(malformed(format!("has a number of {length} bytes, at most 8 are read")));
        }
        let bytes = self.take(length.into())?;
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xFF } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn text<const N: usize>(&mut self) -> Result<()> {
        let length = usize::try_from(self.number::<N>()?).unwrap_or(usize::MAX);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    /// How low the stack may be emptied: what lies below a mark is of what comes after it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id> {
        self.stack[self.floor()..].last().copied().ok_or_else(empty)
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        if self.stack.len() - self.floor() < count {
            return Err(empty());
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| malformed("goes back to a mark that was not set".to_owned()))?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: &[Id]) -> Result<()> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::List(list) => list.extend(items),
            _ => return Err(malformed("appends to what is no list".to_owned())),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        match (&mut self.nodes[dict], items.as_chunks()) {
            (Node::Dict(dict), (pairs, [])) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err(malformed("sets pairs of what is no dictionary".to_owned())),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let storage = |ty| Ok(Global::StorageOf(ty));
        let known = match (module, name) {
            ("collections", "OrderedDict") => Ok(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
            ("torch", "DoubleStorage") => storage(ElementType::F64),
            ("torch", "FloatStorage") => storage(ElementType::F32),
            ("torch", "HalfStorage") => storage(ElementType::F16),
            ("torch", "BFloat16Storage") => storage(ElementType::Bf16),
            ("torch", "LongStorage") => storage(ElementType::I64),
            ("torch", "IntStorage") => storage(ElementType::I32),
            ("torch", "ShortStorage") => storage(ElementType::I16),
            ("torch", "CharStorage") => storage(ElementType::I8),
            ("torch", "ByteStorage") => storage(ElementType::U8),
            ("torch", "BoolStorage") => storage(ElementType::Bool),
            _ => {
                // What a file calls a name can be of any length and have any characters.
                let shown: String = format!("{module}.{name}").escape_debug().take(100).collect();
                Err(Error::new(ErrorKind::Format, format!("asks for Python's {shown}, which is refused; {REMEDY}")))
            }
        };
        self.push(Node::Global(known?));
        Ok(())
    }

    fn stack_global(&mut self) -> Result<()> {
        let pair = self.pop_many(2)?;
        match (&self.nodes[pair[0]], &self.nodes[pair[1]]) {
            (Node::Text(module), Node::Text(name)) => {
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name)
            }
            _ => Err(malformed("names a global by what is no text".to_owned())),
        }
    }

    /// `('storage', class, key, device, elements)`.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Node::Tuple(parts) = &self.nodes[id] else {
            return Err(malformed("names a storage by no tuple".to_owned()));
        };
        let parts: Vec<&Node> = parts.iter().map(|&part| &self.nodes[part]).collect();
        let storage = match parts[..] {
            [
                Node::Text(kind),
                Node::Global(Global::StorageOf(ty)),
                Node::Text(key),
                Node::Text(_),
                Node::Int(elements),
            ] if kind == "storage" => Storage { ty: *ty, key: key.clone(), elements: *elements },
            _ => return Err(malformed("has a storage of another form than PyTorch writes".to_owned())),
        };
        self.push(Node::Storage(storage));
        Ok(())
    }

    /// What a call of one of the known functions gives.
    fn reduce(&mut self) -> Result<()> {
        let call = self.pop_many(2)?;
        let (Node::Global(function), Node::Tuple(arguments)) = (&self.nodes[call[0]], &self.nodes[call[1]]) else {
            return Err(malformed("calls what is no known function".to_owned()));
        };
        let wrong = || malformed(format!("calls {function:?} with {} arguments of other kinds", arguments.len()));
        match (function, arguments.as_slice()) {
            (Global::OrderedDict, []) => self.push(Node::Dict(Vec::new())),
            // The others are whether it wants a gradient, and hooks.
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor([storage, offset, shape, strides]).ok_or_else(wrong)?;
                self.push(Node::Tensor(tensor));
            }
            (Global::RebuildParameter, &[tensor, ..]) if matches!(self.nodes[tensor], Node::Tensor(_)) => {
                self.stack.push(tensor);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn tensor(&self, [storage, offset, shape, strides]: [Id; 4]) -> Option<Tensor> {
        let (Node::Storage(_), &Node::Int(offset)) = (&self.nodes[storage], &self.nodes[offset]) else { return None };
        let numbers = |id: Id| -> Option<Vec<i64>> {
            let Node::Tuple(items) = &self.nodes[id] else { return None };
            let number = |&item: &Id| if let Node::Int(number) = self.nodes[item] { Some(number) } else { None };
            items.iter().map(number).collect()
        };
        Some(Tensor { storage, offset, shape: numbers(shape)?, strides: numbers(strides)? })
    }

    /// The attributes of a dictionary (versions of modules), which are not needed.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        match (&self.nodes[self.top()?], &self.nodes[state]) {
            (Node::Dict(_), Node::Dict(_)) => Ok(()),
            _ => Err(malformed("sets attributes of what is no dictionary".to_owned())),
        }
    }
}

/// What to do about files with more than tensors.
const REMEDY: &str = "save the state dictionary alone: torch.save(model.state_dict(), FILE)";

fn malformed(what: String) -> Error {
    Error::new(ErrorKind::Format, format!("is no whole pickle ({what}); save or copy it again"))
}

fn empty() -> Error {
    malformed("takes a value of an empty stack".to_owned())
}

#[cfg(test)]
mod tests;
