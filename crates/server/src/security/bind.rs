//! Which addresses may be listened on.

use std::net::IpAddr;

use super::SecurityError;

/// Whether a server may listen on an address: the loopback ones always, others only if a token is asked for or the user said that
/// everybody may come in.
///
/// # Errors
///
/// [`SecurityError::Open`] if everybody could come in unasked.
pub fn may_bind(address: IpAddr, has_tokens: bool, insecure: bool) -> Result<(), SecurityError> {
    match is_loopback(address) || has_tokens || insecure {
        true => Ok(()),
        false => Err(SecurityError::Open(address)),
    }
}

/// Whether only this machine reaches an address; an IPv4 address may be written as an IPv6 one.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_token_or_consent() {
        let open = ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"];
        let own = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"];
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        for address in open.map(of) {
            let refused = may_bind(address, false, false).expect_err("nobody asked for a token");
            assert!(refused.to_string().contains("--token-file"), "{refused}");
            assert!(may_bind(address, true, false).is_ok());
            assert!(may_bind(address, false, true).is_ok());
        }
        assert!(own.map(of).into_iter().all(|address| may_bind(address, false, false).is_ok()));
    }
}
