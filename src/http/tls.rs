//! Encryption of all ports: a certificate and its key out of PEM files. One of the few modules that may use `rustls`.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Kind, Result, io_error};

/// What is spoken over the encrypted HTTP port.
pub const HTTP_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// `certificates`: the server's own, then those that vouch for it.
pub fn acceptor(certificates: &Path, key: &Path, protocols: &[&[u8]]) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| unreadable(certificates, "certificate", error))?;
    if chain.is_empty() {
        return Err(unreadable(certificates, "certificate", PemError::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", error))?;
    let unfit = |error: tokio_rustls::rustls::Error| {
        let message = format!("\"{}\" and \"{}\" do not go together: {error}", certificates.display(), key.display());
        Error::new(Kind::InvalidParameterValue, message)
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unfit)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unreadable(path: &Path, what: &str, error: PemError) -> Error {
    match error {
        PemError::Io(error) => io_error("read", path, error),
        error => Error::new(Kind::InvalidParameterValue, format!("\"{}\" has no {what}: {error}", path.display()))
            .with_hint("it is a file in PEM format, with lines such as -----BEGIN CERTIFICATE-----"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_certificates_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let refused = |certificates: &Path| acceptor(certificates, &path("key.pem"), &HTTP_PROTOCOLS).err().unwrap();
        assert_eq!(refused(&path("nowhere.pem")).kind(), Kind::UndefinedFile);
        std::fs::write(path("empty.pem"), "").unwrap();
        let error = refused(&path("empty.pem"));
        assert_eq!(error.kind(), Kind::InvalidParameterValue);
        assert!(error.message().contains("has no certificate"), "{error}");
        std::fs::write(path("broken.pem"), "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(refused(&path("broken.pem")).kind(), Kind::InvalidParameterValue);
        // whether it is a certificate is looked at with its key
        std::fs::write(path("any.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(refused(&path("any.pem")).kind(), Kind::UndefinedFile);
        std::fs::write(path("key.pem"), "no key").unwrap();
        assert!(refused(&path("any.pem")).message().contains("has no private key"));
    }
}
