//! Against a store that these tests are themselves: a few lines of HTTP over a map.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::{Digest, Results};

/// A store that lets in whoever signs with the key `AK`, and is busy for its first answers.
pub(crate) struct Store {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    busy: AtomicUsize,
}

impl Store {
    /// Where it listens, as long as the test runs.
    pub(crate) fn start(busy: usize) -> (Arc<Self>, SocketAddr) {
        Self::behind(busy, |store, mut stream| while store.answer(&mut stream).is_some() {})
    }

    /// The same over TLS, with the certificate of `localhost` and 127.0.0.1 that signs itself.
    fn start_tls() -> (Arc<Self>, SocketAddr) {
        let chain = vec![CertificateDer::from_pem_file(data("localhost.pem")).expect("PEM")];
        let key = PrivateKeyDer::from_pem_file(data("localhost.key")).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
        let config = config.with_no_client_auth().with_single_cert(chain, key).expect("a pair");
        let config = Arc::new(config);
        Self::behind(0, move |store, stream| {
            let connection = ServerConnection::new(config.clone()).expect("a configuration");
            let mut stream = StreamOwned::new(connection, stream);
            while store.answer(&mut stream).is_some() {}
        })
    }

    fn behind(
        busy: usize,
        serve: impl Fn(&Self, TcpStream) + Clone + Send + 'static,
    ) -> (Arc<Self>, SocketAddr) {
        let store = Arc::new(Self { objects: Mutex::default(), busy: AtomicUsize::new(busy) });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (theirs, address) = (store.clone(), listener.local_addr().expect("ours"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (store, serve) = (theirs.clone(), serve.clone());
                std::thread::spawn(move || serve(&store, stream));
            }
        });
        (store, address)
    }

    /// Answers one question; none if there is no more.
    fn answer(&self, stream: &mut (impl Read + Write)) -> Option<()> {
        let mut reader = BufReader::new(&mut *stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_string());
        }
        let length = lines.iter().find_map(|line| {
            line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let mut words = lines.first()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, body) = self.done(method, path, query, body);
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).ok()
    }

    fn done(&self, method: &str, path: &str, query: &str, body: Vec<u8>) -> (&str, Vec<u8>) {
        let is_busy = |left: usize| left.checked_sub(1);
        if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_busy).is_ok() {
            return ("503 Slow Down", Vec::new());
        }
        if !(query.contains("X-Amz-Credential=AK%2F") && query.contains("X-Amz-Signature=")) {
            return ("403 Forbidden", Vec::new());
        }
        let mut objects = self.objects.lock().expect("whole");
        match (method, path.starts_with("/jobs/"), objects.get(path)) {
            (_, false, _) | ("GET", _, None) => ("404 Not Found", Vec::new()),
            ("GET", _, Some(bytes)) => ("200 OK", bytes.clone()),
            _ => {
                objects.insert(path.into(), body);
                ("200 OK", Vec::new())
            }
        }
    }
}

/// Keys and certificates of nobody, which the server's tests have.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/data").join(name)
}

/// The environment of somebody with a key.
pub(crate) fn keys(address: SocketAddr, key: &'static str) -> impl Fn(&str) -> Option<String> {
    move |name| match name {
        "AWS_ACCESS_KEY_ID" => Some(key.into()),
        "AWS_SECRET_ACCESS_KEY" => Some("SK".into()),
        "AWS_ENDPOINT_URL" => Some(format!("http://{address}")),
        _ => None,
    }
}

#[test]
fn results_in_a_bucket_are_what_their_names_say_or_an_error() -> Result<(), FarmError> {
    let (store, address) = Store::start(2);
    let bucket = Bucket::open("s3://jobs/a/", &keys(address, "AK"))?.below("results");
    let results = Results::within(bucket);
    assert_eq!(results.get(&Digest::of(b"mask"))?, None);
    let digest = results.put(b"mask")?;
    assert_eq!(results.put(b"mask")?, digest);
    assert_eq!(results.get(&digest)?.as_deref(), Some(&b"mask"[..]));
    let name = store.objects.lock().expect("whole").keys().next().cloned().expect("one");
    assert_eq!(name, format!("/jobs/a/results/{}/{digest}", &digest.as_str()[..2]));
    store.objects.lock().expect("whole").insert(name, b"mas".to_vec());
    let error = results.get(&digest).expect_err("cut").to_string();
    assert!(error.contains("s3://jobs/a/results/") && error.contains("3 bytes"), "{error}");
    Ok(())
}

#[test]
fn a_store_that_does_not_let_us_in_or_is_not_there_is_named() {
    let (_store, address) = Store::start(0);
    let said = |place: &str, key| {
        let bucket = Bucket::open(place, &keys(address, key)).expect("an address");
        bucket.put("x", b"y").expect_err("refused").to_string()
    };
    let error = said("s3://jobs", "OTHER");
    assert!(error.contains("s3://jobs/x") && error.contains("403"), "{error}");
    assert!(said("s3://others", "AK").contains("no such bucket"));
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let bucket = Bucket::open("s3://jobs", &keys(nobody, "AK")).expect("an address");
    let error = bucket.get("x").expect_err("nobody there").to_string();
    assert!(error.contains("s3://jobs/x") && error.contains("cannot be used"), "{error}");
    let open = |place: &str| Bucket::open(place, &|_| None).expect_err("no keys").to_string();
    assert!(open("s3://jobs").contains("AWS_ACCESS_KEY_ID is not set"));
    assert!(open("s3:///x").contains("expected s3://BUCKET"));
}

#[test]
fn a_store_behind_tls_is_trusted_by_the_certificates_that_are_named() -> Result<(), FarmError> {
    let (_store, address) = Store::start_tls();
    let pem = data("localhost.pem").display().to_string();
    let with = |bundle: &str| {
        let (keys, bundle) = (keys(address, "AK"), bundle.to_string());
        move |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some(format!("https://{address}")),
            "AWS_CA_BUNDLE" => Some(bundle.clone()),
            name => keys(name),
        }
    };
    let bucket = Bucket::open("s3://jobs/a", &with(&pem))?;
    bucket.put("mask", b"polygons")?;
    assert_eq!(bucket.get("mask")?.as_deref(), Some(&b"polygons"[..]));
    // The system does not know who signed it: that is said at once, and a second question would be told the same.
    let error = Bucket::open("s3://jobs/a", &with(""))?.get("mask").expect_err("a stranger");
    let said = error.to_string();
    assert!(matches!(error, FarmError::Setting(_)), "{said}");
    assert!(said.contains("https://127.0.0.1:") && said.contains("AWS_CA_BUNDLE"), "{said}");
    let open =
        |bundle: &str| Bucket::open("s3://jobs", &with(bundle)).expect_err(bundle).to_string();
    assert!(open("/nowhere.pem").contains("AWS_CA_BUNDLE is \"/nowhere.pem\""));
    assert!(open(&data("other.key").display().to_string()).contains("it holds none"));
    Ok(())
}

#[test]
fn a_store_without_tls_is_told_from_one_that_does_not_answer() -> Result<(), FarmError> {
    let (_store, address) = Store::behind(0, |_, mut stream| {
        // What a web server says of a greeting that is no HTTP.
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let of = |name: &str| match name {
        "AWS_ENDPOINT_URL" => Some(format!("https://{address}")),
        name => keys(address, "AK")(name),
    };
    let error = Bucket::open("s3://jobs", &of)?.get("x").expect_err("no answer");
    let said = error.to_string();
    assert!(matches!(error, FarmError::Setting(_)), "{said}");
    assert!(
        said.contains("no encrypted connection") && said.contains("AWS_ENDPOINT_URL"),
        "{said}"
    );
    Ok(())
}
