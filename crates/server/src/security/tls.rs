//! TLS: a certificate and its key, from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::SecurityError;

const CERTIFICATE: &str = "the certificate";
const KEY: &str = "the key";

/// A server's side of TLS 1.2 and 1.3 with a chain of certificates, the server's first, and its key. `protocols` are offered in this
/// order (ALPN), as `h2` and `http/1.1`.
///
/// # Errors
///
/// [`SecurityError`] if a file cannot be read, holds something else, or the two do not belong together.
pub fn tls(
    certificate: &Path,
    key: &Path,
    protocols: &[&str],
) -> Result<Arc<ServerConfig>, SecurityError> {
    let chain = chain(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        wrong(KEY, key, error, "a private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| together(certificate, &error))?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| together(certificate, &error))?;
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let expected = "certificates in PEM form (-----BEGIN CERTIFICATE-----)";
    let read = CertificateDer::pem_file_iter(path);
    let chain: Result<Vec<_>, PemError> = read.and_then(Iterator::collect);
    let chain = chain.map_err(|error| wrong(CERTIFICATE, path, error, expected))?;
    match chain.is_empty() {
        true => Err(wrong(CERTIFICATE, path, PemError::NoItemsFound, expected)),
        false => Ok(chain),
    }
}

fn wrong(what: &'static str, path: &Path, error: PemError, expected: &str) -> SecurityError {
    let path = path.to_path_buf();
    match error {
        PemError::Io(source) => SecurityError::Read { what, path, source },
        PemError::NoItemsFound => SecurityError::Secret {
            what,
            path,
            problem: format!("expected {expected}, found none"),
        },
        other => {
            SecurityError::Secret { what, path, problem: format!("expected {expected}: {other}") }
        }
    }
}

fn together(certificate: &Path, error: &rustls::Error) -> SecurityError {
    let problem = format!("it does not serve with its key: {error}");
    SecurityError::Secret { what: CERTIFICATE, path: certificate.into(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    #[test]
    fn a_certificate_with_its_key_is_taken_and_each_thing_that_is_not_is_named() {
        let (certificate, key) = (file("localhost.pem"), file("localhost.key"));
        let config = tls(&certificate, &key, &["h2", "http/1.1"]).expect("they belong together");
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        let refused = |certificate: &Path, key: &Path, wanted: &str| {
            let error = tls(certificate, key, &[]).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}");
        };
        refused(Path::new("/no/such.pem"), &key, "cannot read the certificate \"/no/such.pem\"");
        refused(&certificate, Path::new("/no/such.key"), "cannot read the key");
        refused(&key, &key, "BEGIN CERTIFICATE");
        refused(&certificate, &certificate, "BEGIN PRIVATE KEY");
        refused(&certificate, &file("other.key"), "does not serve with its key");
    }
}
