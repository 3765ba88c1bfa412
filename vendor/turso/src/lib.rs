//! Stand-in for `turso`.
//!
//! CubeCL keeps tuned and compiled kernels in an SQL engine, `turso`, which costs a hundred crates,
//! a C compiler and libclang to build. The cache uses ten fixed statements over two tables, so this
//! crate answers those ten over `redb`, a key-value store in pure Rust. Any other statement is an
//! error, which CubeCL logs before it goes on without that feature (exporting bundles).
//!
//! A database file belongs to one process at a time. A second process gets [`Error::Busy`] and keeps
//! its kernels in memory: it is slower at its start, never wrong.

use std::sync::Arc;
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

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

/// `namespace \0 key` → `origin` byte, then the value. A namespace holds no NUL.
const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

/// Why a statement failed.
#[derive(Clone, Debug)]
pub enum Error {
    /// Another process has the file.
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
    /// A database in a local file.
    pub fn new_local(path: &str) -> Self {
        Self {
            path: path.to_string(),
            read_only: false,
        }
    }
    /// Accepted: the file belongs to one process here.
    pub fn experimental_multiprocess_wal(self, _on: bool) -> Self {
        self
    }
    /// Accepted: redb reclaims space by itself.
    pub fn experimental_vacuum(self, _on: bool) -> Self {
        self
    }
    /// Whether writes are refused.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }
    /// Opens the file, and makes it if it may.
    pub async fn build(self) -> Result<Database, Error> {
        if self.read_only && !std::path::Path::new(&self.path).exists() {
            return Err(Error::IoError(
                std::io::ErrorKind::NotFound,
                "opening the kernel cache",
            ));
        }
        match redb::Database::create(&self.path) {
            Ok(database) => Ok(Database(Arc::new(database))),
            Err(error @ redb::DatabaseError::DatabaseAlreadyOpen) => {
                Err(Error::Busy(error.to_string()))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// An open file.
#[derive(Clone, Debug)]
pub struct Database(Arc<redb::Database>);

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

fn entry_key(namespace: &str, key: &[u8]) -> Vec<u8> {
    [namespace.as_bytes(), &[0], key].concat()
}

/// A namespace, a key, an origin and a value.
type Entry = (String, Vec<u8>, i64, Vec<u8>);

/// A stored key and value, borrowed from the file.
type Stored<'a> = (
    redb::AccessGuard<'a, &'static [u8]>,
    redb::AccessGuard<'a, &'static [u8]>,
);

fn split_entry(key: &[u8], value: &[u8]) -> Result<Entry, Error> {
    let nul = key
        .iter()
        .position(|&b| b == 0)
        .ok_or_else(|| failed("damaged key"))?;
    let (origin, value) = value.split_first().ok_or_else(|| failed("damaged value"))?;
    let namespace = String::from_utf8(key[..nul].to_vec()).map_err(failed)?;
    Ok((
        namespace,
        key[nul + 1..].to_vec(),
        i64::from(*origin),
        value.to_vec(),
    ))
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
            return self.write(|write| {
                write.open_table(ENTRIES).map_err(failed)?;
                write.open_table(META).map_err(failed).map(|_| 0)
            });
        }
        if sql == "DROP TABLE IF EXISTS entries" {
            return self.write(|write| write.delete_table(ENTRIES).map_err(failed).map(u64::from));
        }
        if sql.starts_with("INSERT INTO meta") {
            let (key, value): (String, String) = (text()?.try_into()?, text()?.try_into()?);
            return self.write(|write| {
                let mut table = write.open_table(META).map_err(failed)?;
                table
                    .insert(key.as_str(), value.as_str())
                    .map_err(failed)
                    .map(|_| 1)
            });
        }
        if sql.starts_with("INSERT INTO entries") {
            let (namespace, key): (String, Vec<u8>) = (text()?.try_into()?, text()?.try_into()?);
            let (value, origin): (Vec<u8>, i64) = (text()?.try_into()?, text()?.try_into()?);
            return self.insert(
                &entry_key(&namespace, &key),
                &value,
                origin,
                sql.contains("WHERE"),
            );
        }
        if sql == "DELETE FROM entries WHERE namespace = ?1" {
            let prefix = entry_key(&String::try_from(text()?)?, &[]);
            return self.write(|write| {
                let mut table = write.open_table(ENTRIES).map_err(failed)?;
                table
                    .retain(|key, _| !key.starts_with(&prefix))
                    .map_err(failed)
                    .map(|()| 1)
            });
        }
        if sql == "DELETE FROM entries WHERE namespace = ?1 AND key = ?2" {
            let (namespace, key): (String, Vec<u8>) = (text()?.try_into()?, text()?.try_into()?);
            return self.write(|write| {
                let mut table = write.open_table(ENTRIES).map_err(failed)?;
                let removed = table.remove(entry_key(&namespace, &key).as_slice());
                removed.map_err(failed).map(|old| u64::from(old.is_some()))
            });
        }
        Err(failed(format!(
            "statement not supported by this cache: {sql}"
        )))
    }

    /// Insert-only, except that a local value (origin 0) replaces an imported one (origin 1).
    fn insert(&self, key: &[u8], value: &[u8], origin: i64, guarded: bool) -> Result<u64, Error> {
        self.write(|write| {
            let mut table = write.open_table(ENTRIES).map_err(failed)?;
            let kept = table
                .get(key)
                .map_err(failed)?
                .and_then(|old| old.value().first().copied());
            if guarded && kept.is_some_and(|kept| !(kept == 1 && origin == 0)) {
                return Ok(0);
            }
            let value = [&[origin as u8], value].concat();
            table
                .insert(key, value.as_slice())
                .map_err(failed)
                .map(|_| 1)
        })
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let write = self.0.0.begin_write().map_err(failed)?;
        let result = change(&write)?;
        write.commit().map_err(failed)?;
        Ok(result)
    }

    /// Runs a statement that answers with rows.
    pub async fn query(&self, sql: &str, params: impl IntoParams) -> Result<Rows, Error> {
        let mut params = params.into_params().into_iter();
        let mut text = || params.next().ok_or_else(|| failed("missing parameter"));
        let rows = match squeeze(sql).as_str() {
            "SELECT v FROM meta WHERE k = ?1" => self.meta(&String::try_from(text()?)?)?,
            "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2" => {
                let (namespace, key): (String, Vec<u8>) =
                    (text()?.try_into()?, text()?.try_into()?);
                self.one(&entry_key(&namespace, &key))?
            }
            "SELECT key, value, origin FROM entries WHERE namespace = ?1" => {
                let namespace: String = text()?.try_into()?;
                let of_namespace = |entry: &Entry| entry.0 == namespace;
                let row = |(_, key, origin, value)| {
                    vec![Value::Blob(key), Value::Blob(value), Value::Integer(origin)]
                };
                self.entries()?
                    .into_iter()
                    .filter(of_namespace)
                    .map(row)
                    .collect()
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

    fn meta(&self, key: &str) -> Result<Vec<Vec<Value>>, Error> {
        let read = self.0.0.begin_read().map_err(failed)?;
        let table = read.open_table(META).map_err(failed)?;
        let value = table.get(key).map_err(failed)?;
        Ok(value
            .map(|value| vec![value.value().into()])
            .into_iter()
            .collect())
    }

    fn one(&self, key: &[u8]) -> Result<Vec<Vec<Value>>, Error> {
        let read = self.0.0.begin_read().map_err(failed)?;
        let table = read.open_table(ENTRIES).map_err(failed)?;
        let found = table.get(key).map_err(failed)?;
        let value = |bytes: &[u8]| Value::Blob(bytes.get(1..).unwrap_or_default().to_vec());
        Ok(found
            .map(|found| vec![value(found.value())])
            .into_iter()
            .collect())
    }

    fn entries(&self) -> Result<Vec<Entry>, Error> {
        let read = self.0.0.begin_read().map_err(failed)?;
        let table = read.open_table(ENTRIES).map_err(failed)?;
        let split = |row: Result<Stored<'_>, redb::StorageError>| {
            let (key, value) = row.map_err(failed)?;
            split_entry(key.value(), value.value())
        };
        table.iter().map_err(failed)?.map(split).collect()
    }

    fn summary(&self) -> Result<Vec<Vec<Value>>, Error> {
        let mut sums = std::collections::BTreeMap::<String, (i64, i64)>::new();
        for (namespace, key, _, value) in self.entries()? {
            let sum = sums.entry(namespace).or_default();
            *sum = (sum.0 + 1, sum.1 + (key.len() + value.len()) as i64);
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
