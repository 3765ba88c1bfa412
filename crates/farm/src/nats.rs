//! A connection to NATS, asked from threads that wait for the answers.
//!
//! Blocks and receipts go over it, layouts and results do not: they are on the file system.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectErrorKind, ConnectOptions};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio::runtime::{Builder, Runtime};

use crate::FarmError;

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest pause between two tries to reach the server again.
const RECONNECT: Duration = Duration::from_secs(2);

/// Where a server is, and how it lets us in.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// `nats://host:4222` or `tls://host:4222`; several are separated by commas.
    pub url: String,
    /// A file with a token, `user:password`, an NKey's seed, or the credentials that `nsc` writes.
    pub auth: Option<PathBuf>,
    /// Certificates of who may have signed the server's, instead of the system's (PEM).
    pub ca: Option<PathBuf>,
}

/// A connection, which finds its way back by itself.
pub struct Connection {
    context: Context,
    url: String,
    /// Dropped last.
    runtime: Runtime,
}

/// What a file lets us in with.
#[derive(Debug, PartialEq, Eq)]
enum Auth {
    Token(String),
    Password(String, String),
    Seed(String),
    Credentials(String),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`FarmError::Server`] if nobody answers; [`FarmError::Refused`] if the server does not let us in; [`FarmError::Setting`] if the
    /// address or a file is wrong, or the server has no JetStream.
    pub fn open(address: &Address, name: &str) -> Result<Self, FarmError> {
        let threads = |e| FarmError::Setting(format!("no threads for the connection: {e}"));
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("nats")
            .enable_all()
            .build()
            .map_err(threads)?;
        let options = options(address, name)?;
        let url = address.url.clone();
        let servers: Vec<&str> = url.split(',').map(str::trim).collect();
        let client = runtime.block_on(options.connect(&servers[..]));
        let client = client.map_err(|e| refused(address, &e))?;
        let mut context = {
            // It begins a task.
            let _inside = runtime.enter();
            jetstream::new(client)
        };
        context.set_timeout(ANSWER);
        let connection = Self { context, url, runtime };
        connection.has_jetstream()?;
        Ok(connection)
    }

    fn has_jetstream(&self) -> Result<(), FarmError> {
        let asked = self.wait("JetStream", self.context.query_account());
        asked.map(drop).map_err(|error| {
            FarmError::Setting(format!(
                "{error}; the server must run with JetStream: nats-server -js --store_dir DIR"
            ))
        })
    }

    /// JetStream.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Waits for an answer; `what` was asked for.
    ///
    /// # Errors
    ///
    /// [`FarmError::Server`].
    pub(crate) fn wait<T, E: std::fmt::Display>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, FarmError> {
        let timed = async { tokio::time::timeout(4 * ANSWER, answer).await };
        match self.runtime.block_on(timed) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(what, &error)),
            Err(_) => Err(self.failed(what, &"no answer")),
        }
    }

    /// The error of a question.
    pub(crate) fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> FarmError {
        FarmError::Server(format!("{}: {what}: {error}", self.url))
    }
}

fn options(address: &Address, name: &str) -> Result<ConnectOptions, FarmError> {
    address.ca.as_deref().map(has_certificates).transpose()?;
    // Of two connections in a process the second finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = match address.auth.as_deref().map(auth).transpose()? {
        None => ConnectOptions::new(),
        Some(Auth::Token(token)) => ConnectOptions::with_token(token),
        Some(Auth::Password(user, password)) => {
            ConnectOptions::with_user_and_password(user, password)
        }
        Some(Auth::Seed(seed)) => ConnectOptions::with_nkey(seed),
        Some(Auth::Credentials(text)) => ConnectOptions::with_credentials(&text).map_err(|e| {
            FarmError::Setting(format!("--auth: the file holds no credentials: {e}"))
        })?,
    };
    let pause =
        |tries: usize| Duration::from_millis(50).saturating_mul(1 << tries.min(6)).min(RECONNECT);
    let options = options
        .name(name)
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .ping_interval(ANSWER)
        .max_reconnects(None)
        .reconnect_delay_callback(pause);
    Ok(match &address.ca {
        Some(ca) => options.add_root_certificates(ca.clone()).require_tls(true),
        None => options,
    })
}

/// What a file lets us in with.
fn auth(path: &Path) -> Result<Auth, FarmError> {
    is_private(path)?;
    let text = std::fs::read_to_string(path).map_err(|e| FarmError::Read(path.into(), e))?;
    let line = text.trim();
    let is_seed = line.len() == 58 && line.starts_with('S') && !line.contains(char::is_whitespace);
    if line.contains("BEGIN NATS USER JWT") {
        return Ok(Auth::Credentials(text));
    }
    if line.is_empty() || line.lines().count() > 1 {
        return Err(FarmError::Damaged {
            path: path.into(),
            problem: "expected one line, a token, user:password or an NKey's seed, or the credentials that nsc writes".into(),
        });
    }
    Ok(match line.split_once(':') {
        _ if is_seed => Auth::Seed(line.into()),
        Some((user, password)) => Auth::Password(user.into(), password.into()),
        None => Auth::Token(line.into()),
    })
}

/// Finds out before a server is asked, whose answer would not name the file.
fn has_certificates(path: &Path) -> Result<(), FarmError> {
    let wrong = |problem: &dyn std::fmt::Display| FarmError::Damaged {
        path: path.into(),
        problem: format!(
            "{problem}; expected certificates in PEM form (-----BEGIN CERTIFICATE-----)"
        ),
    };
    let found: Result<Vec<CertificateDer<'_>>, PemError> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Err(PemError::Io(error)) => Err(FarmError::Read(path.into(), error)),
        Err(error) => Err(wrong(&error)),
        Ok(found) if found.is_empty() => Err(wrong(&"it holds none")),
        Ok(_) => Ok(()),
    }
}

/// A secret that others of the machine can read is none.
#[cfg(unix)]
fn is_private(path: &Path) -> Result<(), FarmError> {
    use std::os::unix::fs::PermissionsExt;
    let about = std::fs::metadata(path).map_err(|e| FarmError::Read(path.into(), e))?;
    match about.permissions().mode() & 0o077 {
        0 => Ok(()),
        mode => Err(FarmError::Damaged {
            path: path.into(),
            problem: format!("others may read this secret (mode {mode:03o}): chmod 600 it"),
        }),
    }
}

#[cfg(not(unix))]
fn is_private(_path: &Path) -> Result<(), FarmError> {
    Ok(())
}

/// Why there is no connection.
fn refused(address: &Address, error: &async_nats::ConnectError) -> FarmError {
    let url = &address.url;
    let with = match &address.auth {
        Some(path) => format!("what {} holds", path.display()),
        None => "no --auth".into(),
    };
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            FarmError::Refused(format!(
                "{url} does not let us in with {with}: {error}; expected a file with its token, user:password or NKey seed"
            ))
        }
        ConnectErrorKind::ServerParse => FarmError::Setting(format!(
            "{url:?} is no server's address: expected nats://HOST:4222 or tls://HOST:4222"
        )),
        ConnectErrorKind::Tls => FarmError::Setting(format!(
            "{url}: no encrypted connection: {error}; --ca names the certificates that its own is signed by"
        )),
        _ => FarmError::Server(format!(
            "nobody answers at {url}: {error}; start nats-server -js there, or name another --source"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        // Temporary files are private to their owner.
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    #[test]
    fn a_secret_is_known_by_its_form() {
        let of = |text: &str| auth(file(text).path()).expect("a secret");
        let seed = format!("SU{}", "A".repeat(56));
        assert_eq!(of("s3cret\n"), Auth::Token("s3cret".into()));
        assert_eq!(of("me:pass:word"), Auth::Password("me".into(), "pass:word".into()));
        assert_eq!(of(&seed), Auth::Seed(seed.clone()));
        assert!(matches!(of("-----BEGIN NATS USER JWT-----\nx\n"), Auth::Credentials(_)));
        for text in ["", " \n", "two\nlines"] {
            let error = auth(file(text).path()).expect_err("no secret").to_string();
            assert!(error.contains("one line"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let file = file("s3cret");
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644)).expect("ours");
        let error = auth(file.path()).expect_err("readable").to_string();
        assert!(error.contains("chmod 600") && error.contains("044"), "{error}");
    }

    #[test]
    fn a_server_that_is_not_there_and_an_address_that_is_none_are_named() {
        let open = |url: &str| {
            let address = Address { url: url.into(), ..Address::default() };
            Connection::open(&address, "test").err().expect("no server").to_string()
        };
        let error = open("nats://127.0.0.1:1");
        assert!(error.contains("nobody answers at nats://127.0.0.1:1"), "{error}");
        assert!(open("http:// nowhere").contains("expected nats://"));
    }

    #[test]
    fn certificates_that_are_none_are_named_before_a_server_is_asked() {
        let open = |ca: &Path| {
            let url = "tls://127.0.0.1:1".to_string();
            let address = Address { url, ca: Some(ca.into()), ..Address::default() };
            Connection::open(&address, "test").err().expect("no certificates").to_string()
        };
        assert!(open("/nowhere.pem".as_ref()).contains("/nowhere.pem"));
        let none = file("no PEM");
        let error = open(none.path());
        assert!(error.contains("it holds none") && error.contains("BEGIN CERTIFICATE"), "{error}");
    }
}
