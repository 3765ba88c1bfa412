//! Stand-in for `turso`.
//!
//! CubeCL keeps tuned and compiled kernels in an SQL engine, `turso`, which costs a hundred crates,
//! a C compiler and libclang to build. The cache uses ten fixed statements over two tables, so this
//! crate answers those ten over a folder of files ([`folder`]). Any other statement is an error, which
//! CubeCL logs before it goes on without that feature (exporting bundles).
//!
//! Any number of processes share a cache: what one compiles, the others find. Two that compile the
//! same kernel at once both write it; either value is as good.

use std::path::Path;
use std::time::Duration;

pub mod folder;

use folder::{Entry, Folder};

pub mod transaction {
    //! Transactions: accepted, and committed statement by statement.

    /// When a transaction takes its lock.
    #[derive(Clone, Copy, Debug)]
    pub enum TransactionBehavior {
        /// At its first write.
        Deferred,
        /// At once.
        Immediate,
    }
}

/// The namespace of the table `meta`; CubeCL's own hold no NUL.
const META: &str = "\0meta";

/// Why a statement failed.
#[derive(Clone, Debug)]
pub enum Error {
    /// Kept for callers that match on it: nobody waits for another here.
    Busy(String),
    /// Kept for callers that match on it.
    BusySnapshot(String),
    /// The file system said no.
    IoError(std::io::ErrorKind, &'static str),
    /// Anything else.
    Error(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(text) | Self::BusySnapshot(text) | Self::Error(text) => f.write_str(text),
            Self::IoError(kind, doing) => write!(f, "{doing}: {kind}"),
        }
    }
}

impl std::error::Error for Error {}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Error(error.to_string())
}

fn io(error: std::io::Error) -> Error {
    failed(format!("kernel cache: {error}"))
}

/// One column's value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Integer(i64),
    /// A string.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

macro_rules! values {
    ($($type:ty => $variant:ident($convert:expr)),*) => { $(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                #[allow(clippy::redundant_closure_call)]
                Self::$variant(($convert)(value))
            }
        }
    )* };
}
values!(i64 => Integer(|v| v), &str => Text(|v: &str| v.to_string()), String => Text(|v| v),
    Vec<u8> => Blob(|v| v));

macro_rules! from_values {
    ($($type:ty => $variant:ident),*) => { $(
        impl TryFrom<Value> for $type {
            type Error = Error;
            fn try_from(value: Value) -> Result<Self, Error> {
                match value {
                    Value::$variant(inner) => Ok(inner),
                    other => Err(failed(format!("column holds {other:?}"))),
                }
            }
        }
    )* };
}
from_values!(i64 => Integer, String => Text, Vec<u8> => Blob);

/// Positional parameters of a statement.
pub trait IntoParams {
    /// In the order ?1, ?2, …
    fn into_params(self) -> Vec<Value>;
}

impl IntoParams for () {
    fn into_params(self) -> Vec<Value> {
        Vec::new()
    }
}

macro_rules! params {
    ($(($($name:ident),+)),*) => { $(
        #[allow(non_snake_case)]
        impl<$($name: Into<Value>),+> IntoParams for ($($name,)+) {
            fn into_params(self) -> Vec<Value> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    )* };
}
params!((A), (A, B), (A, B, C), (A, B, C, D));

/// One row of an answer.
#[derive(Debug)]
pub struct Row(Vec<Value>);

impl Row {
    /// The column at `index`.
    pub fn get<T: TryFrom<Value, Error = Error>>(&self, index: usize) -> Result<T, Error> {
        self.0
            .get(index)
            .cloned()
            .ok_or_else(|| failed("no such column"))?
            .try_into()
    }
}

/// The rows of an answer.
#[derive(Debug)]
pub struct Rows(std::vec::IntoIter<Vec<Value>>);

impl Rows {
    /// The next row, if any.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        Ok(self.0.next().map(Row))
    }
}

/// How to open a file.
#[derive(Debug)]
pub struct Builder {
    path: String,
    read_only: bool,
}

impl Builder {
    /// A database in a folder at `path`.
    pub fn new_local(path: &str) -> Self {
        Self {
            path: path.to_string(),
            read_only: false,
        }
    }
    /// Accepted: any number of processes share the folder.
    pub fn experimental_multiprocess_wal(self, _on: bool) -> Self {
        self
    }
    /// Accepted: a file that is removed leaves nothing behind.
    pub fn experimental_vacuum(self, _on: bool) -> Self {
        self
    }
    /// Whether the folder has to be there.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }
    /// Opens the folder, and makes it if it may.
    pub async fn build(self) -> Result<Database, Error> {
        let path = Path::new(&self.path);
        let opened = match self.read_only {
            true => Folder::open(path),
            false => Folder::create(path),
        };
        let doing = "opening the kernel cache";
        opened.map(Database).map_err(|error| Error::IoError(error.kind(), doing))
    }
}

/// An open folder.
#[derive(Clone, Debug)]
pub struct Database(Folder);

impl Database {
    /// A connection to it.
    pub fn connect(&self) -> Result<Connection, Error> {
        Ok(Connection(self.clone()))
    }
}

/// A connection: statements go through it.
#[derive(Debug)]
pub struct Connection(Database);

/// A transaction. Each statement commits by itself, which a cache can afford.
#[derive(Debug)]
pub struct Transaction(Connection);

impl Transaction {
    /// Nothing is left to do.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(())
    }
}

impl std::ops::Deref for Transaction {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Connection {
    /// Accepted: nothing waits here.
    pub fn busy_timeout(&self, _timeout: Duration) -> Result<(), Error> {
        Ok(())
    }

    /// Accepted: every pragma of the cache concerns SQLite's files.
    pub async fn pragma_query(
        &self,
        _pragma: &str,
        _row: impl FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Begins a transaction.
    pub async fn transaction_with_behavior(
        &mut self,
        _behavior: transaction::TransactionBehavior,
    ) -> Result<Transaction, Error> {
        Ok(Transaction(Self(self.0.clone())))
    }

    /// Runs a statement that changes rows; returns how many.
    pub async fn execute(&self, sql: &str, params: impl IntoParams) -> Result<u64, Error> {
        let mut params = params.into_params().into_iter();
        let mut text = || params.next().ok_or_else(|| failed("missing parameter"));
        let sql = squeeze(sql);
        if sql.starts_with("CREATE TABLE IF NOT EXISTS") {
            return Ok(0);
        }
        if sql == "DROP TABLE IF EXISTS entries" {
            return self.remove_where(|entry| entry.namespace != META);
        }
        if sql.starts_with("INSERT INTO meta") {
            let (key, value): (String, String) = (text()?.try_into()?, text()?.try_into()?);
            let (key, value) = (key.into_bytes(), value.into_bytes());
            return self.insert(Entry { namespace: META.into(), key, origin: 0, value }, false);
        }
        if sql.starts_with("INSERT INTO entries") {
            let (namespace, key): (String, Vec<u8>) = (text()?.try_into()?, text()?.try_into()?);
            let (value, origin): (Vec<u8>, i64) = (text()?.try_into()?, text()?.try_into()?);
            let origin = u8::from(origin != 0);
            return self.insert(Entry { namespace, key, origin, value }, sql.contains("WHERE"));
        }
        if sql == "DELETE FROM entries WHERE namespace = ?1" {
            let namespace = String::try_from(text()?)?;
            return self.remove_where(|entry| entry.namespace == namespace);
        }
        if sql == "DELETE FROM entries WHERE namespace = ?1 AND key = ?2" {
            let (namespace, key): (String, Vec<u8>) = (text()?.try_into()?, text()?.try_into()?);
            return self.give_up(&namespace, &key);
        }
        Err(failed(format!(
            "statement not supported by this cache: {sql}"
        )))
    }

    /// Insert-only where `guarded`, except that a local value (origin 0) replaces an imported one (origin 1).
    fn insert(&self, entry: Entry, guarded: bool) -> Result<u64, Error> {
        let kept = self.folder().get(&entry.namespace, &entry.key).map_err(io)?;
        if guarded && kept.is_some_and(|kept| !(kept.origin == 1 && entry.origin == 0)) {
            return Ok(0);
        }
        self.folder().put(&entry).map_err(io).map(|()| 1)
    }

    /// Leaves an entry to whoever writes it next, and to who reads it until then. CubeCL removes one key where another
    /// build asks for the same code, and writes it under that build's key: two programs of one version would take each
    /// other's kernels away at every turn.
    fn give_up(&self, namespace: &str, key: &[u8]) -> Result<u64, Error> {
        let Some(entry) = self.folder().get(namespace, key).map_err(io)? else {
            return Ok(0);
        };
        self.folder().put(&Entry { origin: 1, ..entry }).map_err(io).map(|()| 1)
    }

    fn remove_where(&self, gone: impl Fn(&Entry) -> bool) -> Result<u64, Error> {
        let mut count = 0;
        for entry in self.folder().entries().map_err(io)?.iter().filter(|entry| gone(entry)) {
            count += u64::from(self.folder().remove(&entry.namespace, &entry.key).map_err(io)?);
        }
        Ok(count)
    }

    fn folder(&self) -> &Folder {
        &self.0.0
    }

    /// Runs a statement that answers with rows.
    pub async fn query(&self, sql: &str, params: impl IntoParams) -> Result<Rows, Error> {
        let mut params = params.into_params().into_iter();
        let mut text = || params.next().ok_or_else(|| failed("missing parameter"));
        let rows = match squeeze(sql).as_str() {
            "SELECT v FROM meta WHERE k = ?1" => {
                let key = String::try_from(text()?)?;
                let text = |entry: Entry| String::from_utf8(entry.value).map(Value::Text).map_err(failed);
                let found = self.folder().get(META, key.as_bytes()).map_err(io)?;
                found.map(text).transpose()?.map(|value| vec![value]).into_iter().collect()
            }
            "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2" => {
                let (namespace, key): (String, Vec<u8>) =
                    (text()?.try_into()?, text()?.try_into()?);
                let found = self.folder().get(&namespace, &key).map_err(io)?;
                found.map(|entry| vec![Value::Blob(entry.value)]).into_iter().collect()
            }
            "SELECT key, value, origin FROM entries WHERE namespace = ?1" => {
                let namespace: String = text()?.try_into()?;
                let row = |entry: Entry| {
                    let origin = Value::Integer(i64::from(entry.origin));
                    vec![Value::Blob(entry.key), Value::Blob(entry.value), origin]
                };
                let entries = self.folder().entries().map_err(io)?.into_iter();
                entries.filter(|entry| entry.namespace == namespace).map(row).collect()
            }
            sql if sql.starts_with("SELECT namespace, COUNT(*)") => self.summary()?,
            sql => {
                return Err(failed(format!(
                    "statement not supported by this cache: {sql}"
                )));
            }
        };
        Ok(Rows(rows.into_iter()))
    }

    fn summary(&self) -> Result<Vec<Vec<Value>>, Error> {
        let mut sums = std::collections::BTreeMap::<String, (i64, i64)>::new();
        let entries = self.folder().entries().map_err(io)?;
        for entry in entries.into_iter().filter(|entry| entry.namespace != META) {
            let sum = sums.entry(entry.namespace).or_default();
            *sum = (sum.0 + 1, sum.1 + (entry.key.len() + entry.value.len()) as i64);
        }
        let row = |(name, (count, bytes)): (String, (i64, i64))| {
            vec![
                Value::Text(name),
                Value::Integer(count),
                Value::Integer(bytes),
            ]
        };
        Ok(sums.into_iter().map(row).collect())
    }
}

/// One space between words, none at the ends.
fn squeeze(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}
