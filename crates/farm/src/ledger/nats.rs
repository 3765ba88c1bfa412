//! A ledger in a key-value bucket of NATS JetStream.

use std::sync::Arc;

use async_nats::jetstream::kv::{Config, CreateErrorKind, Store};
use async_nats::jetstream::stream::StorageType;
use futures_util::TryStreamExt;

use super::{About, Entry, Kind, Ledger};
use crate::FarmError;
use crate::nats::Connection;

/// A ledger of one job in a server.
pub struct NatsLedger {
    connection: Arc<Connection>,
    store: Store,
}

impl NatsLedger {
    /// Opens the ledger of a job, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`FarmError::Server`].
    pub fn open(connection: Arc<Connection>, job: &str) -> Result<Self, FarmError> {
        let config = Config {
            bucket: format!("farm-{job}"),
            description: "lithoburn: what is done of a job".into(),
            history: 1,
            storage: StorageType::File,
            ..Config::default()
        };
        let context = connection.context();
        let store = connection.wait("its ledger", async {
            match context.create_key_value(config.clone()).await {
                Ok(store) => Ok(store),
                // Another worker made it, perhaps with a server of another version.
                Err(error) => context.get_key_value(&config.bucket).await.map_err(|_| error),
            }
        })?;
        Ok(Self { connection, store })
    }

    fn subject(&self, entry: &str) -> String {
        format!("{}{entry}", self.store.prefix)
    }
}

impl Ledger for NatsLedger {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        let key = entry.to_string();
        self.connection.wait(&key, async {
            match self.store.create(&key, value.to_vec().into()).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError> {
        let key = entry.to_string();
        self.connection.wait(&key, self.store.put(&key, value.to_vec().into())).map(drop)
    }

    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError> {
        let key = entry.to_string();
        let value = self.connection.wait(&key, self.store.get(&key))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn remove(&self, entry: &Entry) -> Result<(), FarmError> {
        let key = entry.to_string();
        let purged = self.store.stream.purge().filter(self.subject(&key));
        self.connection.wait(&key, async { purged.await }).map(drop)
    }

    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError> {
        let all = self.subject(&format!("{}.>", kind.name()));
        let names = self.connection.wait(kind.name(), async {
            let listed = self.store.stream.info_with_subjects(&all).await;
            let listed = listed.map_err(|e| e.to_string())?;
            let names: Result<Vec<(String, usize)>, _> = listed.try_collect().await;
            names.map_err(|e| e.to_string())
        })?;
        let entry = |subject: &str| {
            subject.strip_prefix(&self.store.prefix).and_then(|key| key.parse::<Entry>().ok())
        };
        let mut found: Vec<About> =
            names.iter().filter_map(|(subject, _)| entry(subject)).map(|e| e.about).collect();
        found.sort_unstable();
        Ok(found)
    }
}
