//! Jobs on disk: a job's number, and the job as JSON. What was put is there after a kill.

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tracing::warn;

use super::{Job, JobsError};

const JOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("jobs");

pub(super) struct Store {
    database: Database,
    path: PathBuf,
}

impl Store {
    /// The store in a folder, made if there is none.
    pub(super) fn open(data: &Path) -> Result<Self, JobsError> {
        let path = data.join("jobs.redb");
        let database = Database::create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => JobsError::Taken(data.into()),
            other => JobsError::Store(path.clone(), other.into()),
        })?;
        Ok(Self { database, path })
    }

    /// Keeps a job, in place of what was known of it.
    pub(super) fn put(&self, job: &Job) -> Result<(), JobsError> {
        let bytes = serde_json::to_vec(job).map_err(std::io::Error::from);
        let bytes = bytes.map_err(|e| JobsError::Write(self.path.clone(), e))?;
        self.told(self.write(&job.id, Some(&bytes)))
    }

    /// Forgets a job.
    pub(super) fn remove(&self, id: &str) -> Result<(), JobsError> {
        self.told(self.write(id, None))
    }

    /// All jobs. One that another version wrote and this one cannot read is left alone and named.
    pub(super) fn all(&self) -> Result<Vec<Job>, JobsError> {
        let rows = self.told(self.rows())?;
        let read = |(id, bytes): (String, Vec<u8>)| {
            let job = serde_json::from_slice(&bytes);
            job.inspect_err(|error| warn!(job = id, "it cannot be read: {error}")).ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    fn write(&self, id: &str, bytes: Option<&[u8]>) -> Result<(), redb::Error> {
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(JOBS)?;
            match bytes {
                Some(bytes) => table.insert(id, bytes)?,
                None => table.remove(id)?,
            };
        }
        Ok(writing.commit()?)
    }

    fn rows(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let reading = self.database.begin_read()?;
        let table = match reading.open_table(JOBS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let rows = table.iter()?.map(|row| {
            let (id, bytes) = row?;
            Ok((id.value().to_string(), bytes.value().to_vec()))
        });
        rows.collect()
    }

    fn told<T>(&self, done: Result<T, redb::Error>) -> Result<T, JobsError> {
        done.map_err(|error| JobsError::Store(self.path.clone(), error))
    }
}
