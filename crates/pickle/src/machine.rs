//! The pickle machine: a stack, a memo, and opcodes of protocols 0 to 5, over plain data.
//!
//! What would run code in Python (calls of names that are not in [`crate::globals`], persistent objects of other kinds,
//! extension registries, out-of-band buffers) is an error. Every length is checked against what is left of the file, and
//! every opcode makes at most one value, so memory stays within a small multiple of the file.

use std::collections::HashMap;
use std::io::BufRead;

use crate::error::{PickleError, Result, fail};
use crate::globals::{Global, resolve};
use crate::heap::{Heap, Id, Node};
use crate::memo::Memo;
use crate::source::Source;

/// Newest protocol there is.
const PROTOCOL: u8 = 5;

/// Of a call; parts of a path are the most.
const MAX_ARGUMENTS: usize = 64;

/// What persistent ids mean.
pub enum Persistent<'m> {
    /// There are none.
    None,
    /// `('storage', type, key, location, count[, view])` of torch.save.
    Storages,
    /// Names of values that were read before: torch's first format.
    Named(&'m HashMap<String, Id>),
}

/// Reads one pickle, up to its STOP.
///
/// # Errors
/// For what is no pickle, is damaged, or uses a name that is not allowed.
pub fn load<R: BufRead>(source: &mut Source<R>, heap: &mut Heap, persistent: &Persistent) -> Result<Id> {
    let start = source.position();
    let none = heap.add(Node::None)?;
    let mut machine =
        Machine { source, heap, persistent, stack: Vec::new(), marks: Vec::new(), memo: Memo::default(), none };
    loop {
        let at = machine.source.position();
        let opcode = machine.source.u8().map_err(|_| PickleError::new("the pickle ends without its STOP"))?;
        match machine.step(opcode) {
            Ok(false) => {}
            Ok(true) => return machine.pop(),
            Err(error) => {
                let message = format!("{} (byte {} of the pickle, opcode 0x{opcode:02x})", error.message, at - start);
                return Err(PickleError { message, ..error });
            }
        }
    }
}

pub(crate) struct Machine<'m, 's, R> {
    source: &'s mut Source<R>,
    pub(crate) heap: &'m mut Heap,
    persistent: &'m Persistent<'m>,
    stack: Vec<Id>,
    /// Heights of the stack at which marks lie.
    marks: Vec<usize>,
    memo: Memo,
    none: Id,
}

impl<R: BufRead> Machine<'_, '_, R> {
    pub(crate) fn pop(&mut self) -> Result<Id> {
        if self.marks.last().is_some_and(|&mark| self.stack.len() <= mark) {
            return fail("a mark lies where a value should");
        }
        self.stack.pop().ok_or_else(|| PickleError::new("the stack is empty"))
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| PickleError::new("the stack is empty"))
    }

    fn push(&mut self, node: Node) -> Result<()> {
        let id = self.heap.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    /// Everything above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| PickleError::new("there is no mark"))?;
        if mark > self.stack.len() {
            return fail("the mark lies above the stack");
        }
        Ok(self.stack.split_off(mark))
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let bytes = self.source.bytes(length)?;
        // Lone surrogates (in names of files that are not UTF-8) are the one thing that Python writes and UTF-8 forbids.
        self.push(Node::Str(String::from_utf8(bytes).map_err(|_| PickleError::new("a text is not UTF-8"))?))
    }

    fn raw(&mut self, length: u64) -> Result<()> {
        let bytes = self.source.bytes(length)?;
        self.push(Node::Bytes(bytes))
    }

    /// Little-endian two's complement.
    fn long(&mut self, length: u64) -> Result<()> {
        let bytes = self.source.bytes(length)?;
        if bytes.len() > 16 {
            return fail(format!("an integer of {} bytes", bytes.len()));
        }
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..bytes.len()].copy_from_slice(&bytes);
        self.integer(i128::from_le_bytes(wide))
    }

    fn integer(&mut self, value: i128) -> Result<()> {
        self.push(i64::try_from(value).map_or_else(|_| Node::BigInt(Box::new(value)), Node::Int))
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let global = resolve(module, name).ok_or_else(|| {
            PickleError::new(format!("it asks for {}, which is not allowed", short(&format!("{module}.{name}"))))
                .with_hint("only tensors and plain containers are read, and nothing is ever run: a file that needs more is of another kind, or hostile")
        })?;
        self.push(Node::Global(global))
    }

    fn remember(&mut self, slot: u64) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<()> {
        let id = self.memo.get(slot).ok_or_else(|| PickleError::new(format!("memo {slot} was never written")))?;
        self.stack.push(id);
        Ok(())
    }

    /// One opcode. Whether it was STOP.
    fn step(&mut self, opcode: u8) -> Result<bool> {
        match opcode {
            b'.' => return Ok(true),
            0x80 => match self.source.u8()? {
                protocol if protocol <= PROTOCOL => {}
                protocol => return fail(format!("protocol {protocol} is newer than {PROTOCOL}")),
            },
            0x95 => match self.source.u64()? {
                length if length <= self.source.remaining() => {}
                length => return fail(format!("a frame of {length} bytes does not fit into the file")),
            },
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(self.none),
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'I' | b'L' => self.decimal()?,
            b'K' => {
                let value = self.source.u8()?;
                self.push(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.source.array()?);
                self.push(Node::Int(value.into()))?;
            }
            b'J' => {
                let value = i32::from_le_bytes(self.source.array()?);
                self.push(Node::Int(value.into()))?;
            }
            0x8a => {
                let length = self.source.u8()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = self.source.u32()?;
                self.long(length.into())?;
            }
            b'F' => {
                let line = self.source.line()?;
                let value = line.trim().parse().map_err(|_| PickleError::new("a number is none"))?;
                self.push(Node::Float(value))?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.source.array()?);
                self.push(Node::Float(value))?;
            }
            b'S' | b'V' | b'T' | b'U' | b'X' | 0x8c | 0x8d => self.string(opcode)?,
            b'B' | b'C' | 0x8e | 0x96 => self.byte_string(opcode)?,
            b')' | b't' | 0x85 | 0x86 | 0x87 => self.tuple(opcode)?,
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            0x8f => self.push(Node::List(Vec::new()))?,
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Node::Dict(pairs(&items)?))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.insert(&items)?;
            }
            b'p' | b'g' | b'q' | b'r' | b'h' | b'j' | 0x94 => self.memory(opcode)?,
            _ => self.object(opcode)?,
        }
        Ok(false)
    }

    /// Numbers as text; booleans are `01` and `00`.
    fn decimal(&mut self) -> Result<()> {
        let line = self.source.line()?;
        match line.trim() {
            "01" => self.push(Node::Bool(true)),
            "00" => self.push(Node::Bool(false)),
            digits => {
                let digits = digits.strip_suffix('L').unwrap_or(digits);
                self.integer(digits.parse().map_err(|_| PickleError::new("an integer is none"))?)
            }
        }
    }

    fn string(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'S' => {
                let line = self.source.line()?;
                let text = line.trim();
                let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
                if text.len() < 2 || !text.starts_with(['"', '\'']) || inner.contains('\\') {
                    return fail("a quoted text is not readable");
                }
                self.push(Node::Str(inner.to_owned()))
            }
            b'V' => {
                let text = self.source.line()?;
                if text.contains('\\') {
                    return fail("an escaped text of protocol 0 is not readable");
                }
                self.push(Node::Str(text))
            }
            // Texts of Python 2: bytes in its own encoding, ASCII in all files that torch wrote.
            b'U' | 0x8c => {
                let length = self.source.u8()?;
                self.text(length.into())
            }
            b'T' | b'X' => {
                let length = self.source.u32()?;
                self.text(length.into())
            }
            _ => {
                let length = self.source.u64()?;
                self.text(length)
            }
        }
    }

    fn byte_string(&mut self, opcode: u8) -> Result<()> {
        let length = match opcode {
            b'C' => self.source.u8()?.into(),
            b'B' => self.source.u32()?.into(),
            _ => self.source.u64()?,
        };
        self.raw(length)
    }

    fn tuple(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            b't' => self.pop_mark()?,
            b')' => Vec::new(),
            _ => {
                let count = usize::from(opcode - 0x84);
                let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<Id>>>()?;
                items.reverse();
                items
            }
        };
        self.push(Node::Tuple(items))
    }

    fn memory(&mut self, opcode: u8) -> Result<()> {
        let number = |line: String| line.trim().parse::<u64>().map_err(|_| PickleError::new("a memo has no number"));
        match opcode {
            b'p' => {
                let slot = number(self.source.line()?)?;
                self.remember(slot)
            }
            b'q' => {
                let slot = self.source.u8()?;
                self.remember(slot.into())
            }
            b'r' => {
                let slot = self.source.u32()?;
                self.remember(slot.into())
            }
            0x94 => self.remember(self.memo.len()),
            b'g' => {
                let slot = number(self.source.line()?)?;
                self.recall(slot)
            }
            b'h' => {
                let slot = self.source.u8()?;
                self.recall(slot.into())
            }
            _ => {
                let slot = self.source.u32()?;
                self.recall(slot.into())
            }
        }
    }

    fn extend(&mut self, items: &[Id]) -> Result<()> {
        let list = self.top()?;
        match self.heap.get_mut(list) {
            Node::List(held) => {
                held.extend_from_slice(items);
                Ok(())
            }
            _ => fail("items are added to what is no list"),
        }
    }

    fn insert(&mut self, items: &[Id]) -> Result<()> {
        let added = pairs(items)?;
        let dict = self.top()?;
        match self.heap.get_mut(dict) {
            Node::Dict(held) => {
                held.extend(added);
                Ok(())
            }
            _ => fail("keys are added to what is no dictionary"),
        }
    }

    /// Names, calls and persistent ids.
    fn object(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'c' => {
                let (module, name) = (self.source.line()?, self.source.line()?);
                self.global(&module, &name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(name), Some(module)) = (self.heap.str(name), self.heap.str(module)) else {
                    return fail("a name is no text");
                };
                let (name, module) = (name.to_owned(), module.to_owned());
                self.global(&module, &name)
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
            0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, arguments)
            }
            0x92 => {
                let (keywords, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                match self.heap.get(keywords) {
                    Node::Dict(pairs) if pairs.is_empty() => self.call(class, arguments),
                    _ => fail("an object is made with keywords"),
                }
            }
            b'i' => {
                let (module, name) = (self.source.line()?, self.source.line()?);
                let items = self.pop_mark()?;
                self.global(&module, &name)?;
                let class = self.pop()?;
                let arguments = self.heap.add(Node::Tuple(items))?;
                self.call(class, arguments)
            }
            b'o' => {
                let items = self.pop_mark()?;
                let (&class, rest) = items.split_first().ok_or_else(|| PickleError::new("an object has no class"))?;
                let arguments = self.heap.add(Node::Tuple(rest.to_vec()))?;
                self.call(class, arguments)
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.build(object, state)
            }
            b'Q' => {
                let id = self.pop()?;
                self.load_persistent(id)
            }
            b'P' => {
                let name = self.source.line()?;
                let id = self.heap.add(Node::Str(name))?;
                self.load_persistent(id)
            }
            0x82..=0x84 => fail("it uses the extension registry"),
            0x97 | 0x98 => fail("it keeps buffers outside of itself"),
            _ => fail("there is no such opcode: this is no pickle, or a damaged one"),
        }
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Result<()> {
        let Node::Global(global) = *self.heap.get(callable) else { return fail("what is called is no known name") };
        let Node::Tuple(arguments) = self.heap.get(arguments) else { return fail("arguments are no tuple") };
        if arguments.len() > MAX_ARGUMENTS {
            return fail(format!("a call has {} arguments", arguments.len()));
        }
        let arguments = arguments.clone();
        let made = crate::calls::call(self.heap, global, &arguments)?;
        self.stack.push(made);
        Ok(())
    }

    fn build(&mut self, object: Id, state: Id) -> Result<()> {
        crate::calls::set_state(self.heap, object, state)
    }

    fn load_persistent(&mut self, id: Id) -> Result<()> {
        match self.persistent {
            Persistent::None => fail("it refers to objects outside of itself"),
            Persistent::Storages => {
                let storage = crate::calls::declare_storage(self.heap, id)?;
                self.push(Node::Storage(storage))
            }
            Persistent::Named(known) => {
                // Classes of saved modules come with their source: the class is what counts.
                if let Node::Tuple(items) = self.heap.get(id)
                    && let Some(&class) = items.first()
                    && matches!(self.heap.get(class), Node::Global(Global::TensorClass | Global::Dict))
                {
                    self.stack.push(class);
                    return Ok(());
                }
                let name = match self.heap.get(id) {
                    Node::Str(name) => name.clone(),
                    Node::Int(number) => number.to_string(),
                    _ => return fail("a persistent id is no name"),
                };
                let found = known.get(&name).ok_or_else(|| PickleError::new(format!("there is no object {name}")))?;
                self.stack.push(*found);
                Ok(())
            }
        }
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    match rest.is_empty() {
        true => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        false => fail("a key has no value"),
    }
}

/// Printable, and not longer than a line.
pub(crate) fn short(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}
