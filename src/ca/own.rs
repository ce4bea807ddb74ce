//! The operator's own certificate.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::ca::CaError;
use crate::ca::certificate::Facts;
use crate::ca::leaf::Leaf;
use crate::config::unsafe_permissions;

/// Reads chain and key, and sees that they belong together.
pub(super) fn load(cert: &Path, key: &Path) -> Result<Leaf, CaError> {
    let chain = chain(cert)?;
    if let Some(problem) = unsafe_permissions(key) {
        return Err(CaError::UnsafeKey(problem));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        wrong(key, match error {
            PemError::Io(error) => format!("cannot be read: {error}"),
            PemError::NoItemsFound => {
                "holds no private key in PEM (-----BEGIN PRIVATE KEY-----); one that is encrypted \
                 has to be decrypted"
                    .to_owned()
            }
            _ => "is not PEM".to_owned(),
        })
    })?;
    let provider = rustls::crypto::ring::default_provider();
    let certified =
        CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong(key, format!("is not the key of {}", cert.display()))
            }
            rustls::Error::InvalidCertificate(_) => {
                wrong(cert, "holds a certificate that cannot be used")
            }
            _ => wrong(key, "holds a key of a kind that cannot be used; take ECDSA P-256 or RSA"),
        })?;
    Ok(Leaf::lasting(certified))
}

/// What the operator's certificate says; an error when the files cannot be used.
pub fn facts(cert: &Path, key: &Path) -> Result<Facts, CaError> {
    let leaf = load(cert, key)?;
    let first = leaf.certified.cert.first().and_then(Facts::read);
    first.ok_or_else(|| wrong(cert, "holds a certificate that cannot be used"))
}

fn chain(cert: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let read = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Err(PemError::Io(error)) => Err(wrong(cert, format!("cannot be read: {error}"))),
        Ok(_) | Err(_) => {
            Err(wrong(cert, "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"))
        }
    }
}

fn wrong(path: &Path, problem: impl Into<String>) -> CaError {
    CaError::Own { path: path.to_owned(), problem: problem.into() }
}
