//! Where a server is.

use hyper::Uri;

use super::LoadError;

/// Where a server's HTTP port is, and the token that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host and port, as in a `Host` header.
    pub authority: String,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
}

impl Address {
    /// Reads `http://HOST:PORT`; the scheme may be left out, and the port is 8000 then.
    ///
    /// # Errors
    ///
    /// [`LoadError::Address`] if it is no such address.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let wrong = |problem: String| LoadError::Address { given: text.into(), problem };
        let whole = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
        let uri: Uri = whole.parse().map_err(|e| wrong(format!("{e}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(other) => return Err(wrong(format!("{other} is not spoken here"))),
            None => return Err(wrong("it has no scheme".into())),
        }
        if uri.path().len() > 1 || uri.query().is_some() {
            return Err(wrong(format!("it has a path, {}", uri.path())));
        }
        let host = uri.host().ok_or_else(|| wrong("it has no host".into()))?;
        let port = uri.port_u16().unwrap_or(8000);
        Ok(Self { authority: format!("{host}:{port}"), token: None })
    }

    /// Another port or host of the same server, which asks for the same token.
    ///
    /// # Errors
    ///
    /// As [`Address::parse`].
    pub fn beside(&self, text: &str) -> Result<Self, LoadError> {
        Ok(Self { token: self.token.clone(), ..Self::parse(text)? })
    }

    /// The same host at another port.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        let host = self.authority.rsplit_once(':').map_or(&*self.authority, |(host, _)| host);
        Self { authority: format!("{host}:{port}"), token: self.token.clone() }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_what_is_usual_filled_in() {
        for (text, authority) in [
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://localhost/", "localhost:8000"),
            ("[::1]:80", "[::1]:80"),
            ("gpu7", "gpu7:8000"),
        ] {
            assert_eq!(Address::parse(text).expect(text).authority, authority);
        }
        let metrics = Address::parse("[::1]:80").expect("an address").at_port(8002);
        assert_eq!(metrics.to_string(), "http://[::1]:8002");
        let server = Address { token: Some("t".into()), ..metrics };
        assert_eq!(server.beside("gpu7:9").expect("an address").token, server.token);
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, part) in
            [("ftp://a", "ftp is not spoken"), ("http://a:1/v2", "/v2"), ("http://", "")]
        {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("expected http://HOST:PORT"), "{error}");
        }
    }
}
