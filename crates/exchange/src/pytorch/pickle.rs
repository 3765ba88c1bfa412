//! The part of Python's pickle format that checkpoints use, protocols 2 to 5.
//!
//! Source: CPython's `pickletools.py` for the operations; PyTorch's `serialization.py` and `_utils.py` for what
//! a persistent name and `_rebuild_tensor_v2` mean. No class is ever looked up: the few names that tensors are
//! made of have a meaning here, all others make a blank.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Containers within containers: no checkpoint has this many, and what is deeper could overflow the stack.
const DEEPEST: usize = 32;
/// Elements of a tuple that is worth remembering: those of shapes and names of storages.
const FEW: usize = 16;

/// What a pickle builds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    Tuple(Vec<Self>),
    List(Vec<Self>),
    Dict(Vec<(Self, Self)>),
    /// A name in a module, as `torch._utils._rebuild_tensor_v2`.
    Name(String),
    Storage(Storage),
    Tensor(TensorView),
    /// Something without a meaning here.
    Blank,
}

/// A run of elements in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// What the file calls it.
    pub(super) key: Rc<str>,
    /// PyTorch's class, as `FloatStorage`.
    pub(super) kind: String,
}

/// A part of a storage as a tensor; offset and strides in elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorView {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl Object {
    /// An entry of a dictionary.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(entries) = self else { return None };
        let is = |k: &Self| matches!(k, Self::Text(text) if &**text == key);
        entries.iter().find(|(k, _)| is(k)).map(|(_, value)| value)
    }

    /// Whether containers are nested deeper than `levels`. As every container is asked when it is made, the
    /// question itself goes no deeper.
    fn deeper_than(&self, levels: usize) -> bool {
        let within = |inner: &Self| levels == 0 || inner.deeper_than(levels - 1);
        match self {
            Self::Tuple(items) | Self::List(items) => items.iter().any(within),
            Self::Dict(entries) => entries.iter().any(|(k, v)| within(k) || within(v)),
            _ => false,
        }
    }

    /// What a later part of the pickle may recall. A container that is filled after it was remembered would be
    /// recalled as it was before, so a blank stands for it rather than a wrong answer.
    fn remembered(&self) -> Self {
        let plain = |item: &Self| !matches!(item, Self::Tuple(_) | Self::List(_) | Self::Dict(_));
        match self {
            Self::List(_) | Self::Dict(_) => Self::Blank,
            Self::Tuple(items) if items.len() > FEW || !items.iter().all(plain) => Self::Blank,
            other => other.clone(),
        }
    }
}

/// Pickles one after the other.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    stack: Vec<Object>,
    marks: Vec<usize>,
    memo: HashMap<usize, Object>,
    storages: BTreeMap<Rc<str>, String>,
}

type Parsed = Result<(), String>;

impl<'a> Pickle<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (stack, marks) = (Vec::new(), Vec::new());
        Self { bytes, stack, marks, memo: HashMap::new(), storages: BTreeMap::new() }
    }

    /// What follows the pickles read so far.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes per element of the storages that were named, by key.
    pub(super) fn element_sizes(&self) -> BTreeMap<Rc<str>, usize> {
        let size =
            |(key, kind): (&Rc<str>, &String)| Some((key.clone(), super::element(kind).ok()?.0));
        self.storages.iter().filter_map(size).collect()
    }

    /// Runs the next pickle.
    pub(super) fn object(&mut self) -> Result<Object, String> {
        (self.stack, self.marks, self.memo) = (Vec::new(), Vec::new(), HashMap::new());
        loop {
            match self.take(1)?[0] {
                b'.' => return self.pop(),
                operation => self.step(operation)?,
            }
        }
    }

    fn step(&mut self, operation: u8) -> Parsed {
        match operation {
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'N' => self.push(Object::None),
            0x88 | 0x89 => self.push(Object::Bool(operation == 0x88)),
            b'K' => self.integer(1),
            b'M' => self.integer(2),
            b'J' => self.integer(4),
            0x8a => self.long(),
            b'G' => self.take(8).map(drop).and_then(|()| self.push(Object::Blank)),
            b'X' => self.text(4),
            0x8c => self.text(1),
            b'U' => self.text(1),
            b'T' => self.text(4),
            b'C' => self.blank_bytes(1),
            b'B' => self.blank_bytes(4),
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'q' => self.memoize_at(1),
            b'r' => self.memoize_at(4),
            0x94 => self.memoize(self.memo.len()),
            b'h' => self.recall(1),
            b'j' => self.recall(4),
            _ => self.collect(operation),
        }
    }

    /// Operations on containers and calls.
    fn collect(&mut self, operation: u8) -> Parsed {
        match operation {
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'}' => self.push(Object::Dict(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                self.last(usize::from(operation - 0x84)).and_then(|items| self.tuple(items))
            }
            b't' => self.since_mark().and_then(|items| self.tuple(items)),
            b'a' => self.last(1).and_then(|items| self.append(items)),
            b'e' => self.since_mark().and_then(|items| self.append(items)),
            b's' => self.last(2).and_then(|items| self.insert(items)),
            b'u' => self.since_mark().and_then(|items| self.insert(items)),
            b'Q' => self.persistent(),
            b'R' | 0x81 => self.call(),
            // The state of an object: hooks and metadata, which weights do not need.
            b'b' | b'0' => self.pop().map(drop),
            other => Err(format!(
                "operation {other:#04x} of its pickle is not one that a state dictionary needs; \
                 save model.state_dict() instead of the model"
            )),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("its pickle is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn unsigned(&mut self, size: usize) -> Result<usize, String> {
        Ok(self.take(size)?.iter().rev().fold(0, |sum, &b| sum << 8 | usize::from(b)))
    }

    fn push(&mut self, object: Object) -> Parsed {
        self.stack.push(object);
        Ok(())
    }

    fn pop(&mut self) -> Result<Object, String> {
        self.stack.pop().ok_or_else(|| "its pickle takes what it did not make".into())
    }

    fn last(&mut self, count: usize) -> Result<Vec<Object>, String> {
        let start = self.stack.len().checked_sub(count);
        Ok(self.stack.split_off(start.ok_or("its pickle takes what it did not make")?))
    }

    fn since_mark(&mut self) -> Result<Vec<Object>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("its pickle has no mark where it needs one")?))
    }

    /// A number of one, two (both unsigned) or four bytes (signed).
    fn integer(&mut self, size: usize) -> Parsed {
        let value = self.unsigned(size)? as i64;
        self.push(Object::Int(if size == 4 { i64::from(value as u32 as i32) } else { value }))
    }

    /// A number of any length; beyond eight bytes it means nothing here.
    fn long(&mut self) -> Parsed {
        let size = self.unsigned(1)?;
        let bytes = self.take(size)?;
        let sign: i64 = if bytes.last().is_some_and(|b| b & 0x80 != 0) { -1 } else { 0 };
        let value = bytes.iter().rev().fold(sign, |sum, &b| sum << 8 | i64::from(b));
        self.push(if size <= 8 { Object::Int(value) } else { Object::Blank })
    }

    fn text(&mut self, size: usize) -> Parsed {
        let length = self.unsigned(size)?;
        let text = String::from_utf8_lossy(self.take(length)?);
        self.push(Object::Text(text.into()))
    }

    fn blank_bytes(&mut self, size: usize) -> Parsed {
        let length = self.unsigned(size)?;
        self.take(length)?;
        self.push(Object::Blank)
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.bytes.iter().position(|&b| b == b'\n').ok_or("its pickle is cut short")?;
        let line = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn global(&mut self) -> Parsed {
        let (module, name) = (self.line()?, self.line()?);
        self.push(Object::Name(format!("{module}.{name}")))
    }

    fn stack_global(&mut self) -> Parsed {
        match (self.pop()?, self.pop()?) {
            (Object::Text(name), Object::Text(module)) => {
                self.push(Object::Name(format!("{module}.{name}")))
            }
            _ => Err("its pickle names something by what is no text".into()),
        }
    }

    fn memoize_at(&mut self, size: usize) -> Parsed {
        let place = self.unsigned(size)?;
        self.memoize(place)
    }

    fn memoize(&mut self, place: usize) -> Parsed {
        let top = self.stack.last().ok_or("its pickle remembers nothing")?;
        self.memo.insert(place, top.remembered());
        Ok(())
    }

    fn recall(&mut self, size: usize) -> Parsed {
        let place = self.unsigned(size)?;
        let object = self.memo.get(&place).cloned();
        self.push(object.ok_or("its pickle recalls what it did not remember")?)
    }

    fn tuple(&mut self, items: Vec<Object>) -> Parsed {
        shallow(&items)?;
        self.push(Object::Tuple(items))
    }

    fn append(&mut self, items: Vec<Object>) -> Parsed {
        shallow(&items)?;
        if let Some(Object::List(list)) = self.stack.last_mut() {
            list.extend(items);
        }
        Ok(())
    }

    fn insert(&mut self, items: Vec<Object>) -> Parsed {
        shallow(&items)?;
        if let Some(Object::Dict(entries)) = self.stack.last_mut() {
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                entries.push((key, value));
            }
        }
        Ok(())
    }

    /// `("storage", class, key, device, elements, …)`: a storage by its key.
    fn persistent(&mut self) -> Parsed {
        let Object::Tuple(name) = self.pop()? else { return self.push(Object::Blank) };
        let storage = match &name[..] {
            [Object::Text(what), Object::Name(class), Object::Text(key), ..]
                if &**what == "storage" =>
            {
                let kind = class.rsplit('.').next().unwrap_or_default().to_string();
                self.storages.insert(key.clone(), kind.clone());
                Object::Storage(Storage { key: key.clone(), kind })
            }
            _ => Object::Blank,
        };
        self.push(storage)
    }

    fn call(&mut self) -> Parsed {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Object::Name(name), Object::Tuple(arguments)) = (function, arguments) else {
            return self.push(Object::Blank);
        };
        let made = match name.as_str() {
            "collections.OrderedDict" => Object::Dict(Vec::new()),
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                view(&arguments).map_or(Object::Blank, Object::Tensor)
            }
            "torch._utils._rebuild_parameter" => {
                arguments.into_iter().next().unwrap_or(Object::Blank)
            }
            _ => Object::Blank,
        };
        self.push(made)
    }
}

/// Refuses what would make a container too deep.
fn shallow(items: &[Object]) -> Parsed {
    match items.iter().any(|item| item.deeper_than(DEEPEST)) {
        true => Err(format!("its objects are nested more than {DEEPEST} deep")),
        false => Ok(()),
    }
}

/// `(storage, offset, shape, strides, …)`.
fn view(arguments: &[Object]) -> Option<TensorView> {
    let [Object::Storage(storage), Object::Int(offset), shape, stride, ..] = arguments else {
        return None;
    };
    let numbers = |object: &Object| {
        let Object::Tuple(items) = object else { return None };
        let number = |item: &Object| match item {
            Object::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        };
        items.iter().map(number).collect::<Option<Vec<usize>>>()
    };
    let (shape, stride) = (numbers(shape)?, numbers(stride)?);
    let offset = usize::try_from(*offset).ok()?;
    (shape.len() == stride.len()).then(|| TensorView {
        storage: storage.clone(),
        offset,
        shape,
        stride,
    })
}
