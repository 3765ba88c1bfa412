//! A bucket of an S3-compatible store: whole objects, written and read by their names, for machines that share no file system.
//!
//! What lets us in comes from the environment, as the other tools of such stores take it: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_SESSION_TOKEN` if there is one, `AWS_REGION`, `AWS_ENDPOINT_URL` for a store that is not Amazon's, and `AWS_CA_BUNDLE` for one
//! whose certificate is signed by nobody that the system knows.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusty_s3::{Credentials, S3Action, UrlStyle};
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::FarmError;

/// How a bucket's address begins.
const SCHEME: &str = "s3://";
/// How long a signed question is valid; clocks may differ by some minutes.
const VALID: Duration = Duration::from_secs(3600);
/// How long a question may take, its object included.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pauses before a question that failed is asked again: stores ask for that when they have much to do.
const AGAIN_MS: [u64; 4] = [100, 300, 1000, 3000];

/// A place in a bucket.
#[derive(Clone)]
pub struct Bucket {
    bucket: Arc<rusty_s3::Bucket>,
    credentials: Arc<Credentials>,
    agent: Agent,
    /// Where the store is.
    endpoint: Arc<str>,
    /// `s3://BUCKET/` and what all names begin with.
    prefix: String,
}

impl fmt::Debug for Bucket {
    /// Without what lets us in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.address()).finish()
    }
}

/// Whether this is a place in a bucket, and no path.
pub fn is_bucket(address: &str) -> bool {
    address.starts_with(SCHEME)
}

impl Bucket {
    /// The place at `s3://BUCKET/PREFIX`; `of` reads a variable of the environment.
    ///
    /// # Errors
    ///
    /// [`FarmError::Setting`] if the address is none, or a variable is missing or wrong.
    pub fn open(address: &str, of: &dyn Fn(&str) -> Option<String>) -> Result<Self, FarmError> {
        let setting = |text: String| FarmError::Setting(text);
        let rest = address.strip_prefix(SCHEME).unwrap_or_default();
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(setting(format!("{address:?} is no bucket: expected s3://BUCKET/NAME")));
        }
        let set = |name: &str| {
            of(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                FarmError::Setting(format!(
                    "{address}: {name} is not set; the store's keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, its place \
                     from AWS_REGION and, if it is not Amazon's, AWS_ENDPOINT_URL"
                ))
            })
        };
        let (key, secret) = (set("AWS_ACCESS_KEY_ID")?, set("AWS_SECRET_ACCESS_KEY")?);
        let credentials = match of("AWS_SESSION_TOKEN") {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        };
        let region = of("AWS_REGION").unwrap_or_else(|| "us-east-1".into());
        let (endpoint, style) = match of("AWS_ENDPOINT_URL") {
            Some(url) => (url, UrlStyle::Path),
            None => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::VirtualHost),
        };
        let wrong = |e: &dyn fmt::Display| {
            FarmError::Setting(format!(
                "AWS_ENDPOINT_URL is {endpoint:?}, which is no address of a store: {e}"
            ))
        };
        let url = endpoint.parse().map_err(|e| wrong(&e))?;
        let bucket = rusty_s3::Bucket::new(url, style, name.to_string(), region);
        let bucket = Arc::new(bucket.map_err(|e| wrong(&e))?);
        let prefix = prefix.trim_matches('/').to_string();
        let bundle = of("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let agent = agent(bundle.as_deref().map(certificates).transpose()?);
        let (credentials, endpoint) = (Arc::new(credentials), endpoint.into());
        Ok(Self { bucket, credentials, agent, endpoint, prefix })
    }

    /// The place at `s3://BUCKET/PREFIX`, which the environment lets us into.
    ///
    /// # Errors
    ///
    /// As [`Bucket::open`].
    pub fn of_environment(address: &str) -> Result<Self, FarmError> {
        Self::open(address, &|name| std::env::var(name).ok())
    }

    /// A place below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self { prefix: self.key(name), ..self.clone() }
    }

    fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.into() } else { format!("{}/{name}", self.prefix) }
    }

    /// `s3://BUCKET/PREFIX`.
    pub fn address(&self) -> String {
        format!("{SCHEME}{}/{}", self.bucket.name(), self.prefix)
    }

    /// An object's address, for errors.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        format!("{SCHEME}{}/{}", self.bucket.name(), self.key(name)).into()
    }

    /// Writes an object. Readers see it whole or not at all: that is the store's promise.
    ///
    /// # Errors
    ///
    /// [`FarmError::Server`] if the store does not answer; [`FarmError::Refused`] if it does not let us.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), FarmError> {
        let key = self.key(name);
        self.asked(name, || {
            let url = self.bucket.put_object(Some(&self.credentials), &key).sign(VALID);
            let answer = self.agent.put(url.as_str()).send(bytes)?;
            Ok((answer.status(), Vec::new()))
        })
        .and_then(|found| found.map(drop).ok_or_else(|| self.no_bucket(name)))
    }

    /// An object's bytes; none if it is not there.
    ///
    /// # Errors
    ///
    /// As [`Bucket::put`].
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, FarmError> {
        let key = self.key(name);
        self.asked(name, || {
            let url = self.bucket.get_object(Some(&self.credentials), &key).sign(VALID);
            let mut answer = self.agent.get(url.as_str()).call()?;
            let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
            Ok((answer.status(), body))
        })
    }

    /// Asks, and again while the store has too much to do; none if it says that there is no such thing.
    fn asked(
        &self,
        name: &str,
        ask: impl Fn() -> Result<(StatusCode, Vec<u8>), ureq::Error>,
    ) -> Result<Option<Vec<u8>>, FarmError> {
        let place = self.place(name).display().to_string();
        let mut problem = String::new();
        for pause in [0].into_iter().chain(AGAIN_MS) {
            std::thread::sleep(Duration::from_millis(pause));
            problem = match ask() {
                Ok((status, body)) if status.is_success() => return Ok(Some(body)),
                Ok((StatusCode::NOT_FOUND, _)) => return Ok(None),
                Ok((status, _))
                    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS =>
                {
                    format!("answers {status}")
                }
                Ok((status, _)) => {
                    return Err(FarmError::Refused(format!(
                        "{place}: the store answers {status}; expected keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that may read \
                         and write there, the bucket's AWS_REGION, and a clock that is right within minutes"
                    )));
                }
                Err(error) if is_of_tls(&error) => return Err(self.no_tls(&place, &error)),
                Err(error) => error.to_string(),
            };
        }
        let store = &self.endpoint;
        Err(FarmError::Server(format!("{place}: the store at {store} cannot be used: {problem}")))
    }

    /// What no second question makes better.
    fn no_tls(&self, place: &str, error: &ureq::Error) -> FarmError {
        FarmError::Setting(format!(
            "{place}: no encrypted connection to the store at {}: {error}; expected https:// and the name that is in the store's certificate \
             in AWS_ENDPOINT_URL, and in AWS_CA_BUNDLE the certificates that it is signed by, if the system does not know them",
            self.endpoint
        ))
    }

    fn no_bucket(&self, name: &str) -> FarmError {
        let place = self.place(name);
        FarmError::Refused(format!("{}: the store has no such bucket", place.display()))
    }
}

/// Whether the two do not agree on an encrypted connection, or one does not trust the other.
fn is_of_tls(error: &ureq::Error) -> bool {
    let told = match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => return true,
        ureq::Error::Io(error) => error.get_ref(),
        _ => None,
    };
    let mut cause = told.map(|error| error as &(dyn Error + 'static));
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Certificates of who may have signed the store's.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, FarmError> {
    let wrong = |problem: &dyn fmt::Display| {
        FarmError::Setting(format!(
            "AWS_CA_BUNDLE is {path:?}: {problem}; expected a file of certificates in PEM form (-----BEGIN CERTIFICATE-----)"
        ))
    };
    let text = std::fs::read(path).map_err(|e| wrong(&e))?;
    let items: Result<Vec<PemItem<'_>>, ureq::Error> = parse_pem(&text).collect();
    let of = |item| if let PemItem::Certificate(one) = item { Some(one) } else { None };
    let found: Vec<_> = items.map_err(|e| wrong(&e))?.into_iter().filter_map(of).collect();
    if found.is_empty() { Err(wrong(&"it holds none")) } else { Ok(found) }
}

/// Connections that are kept, with these certificates or else the system's. Nobody is sent elsewhere with what lets us in.
fn agent(certificates: Option<Vec<Certificate<'static>>>) -> Agent {
    let certificates = certificates.unwrap_or_else(|| {
        let system = rustls_native_certs::load_native_certs().certs;
        system.iter().map(|one| Certificate::from_der(one).to_owned()).collect()
    });
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .tls_config(tls)
        .build()
        .new_agent()
}

#[cfg(test)]
pub(crate) mod tests;
