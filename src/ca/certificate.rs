//! What a certificate says.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::parse_x509_certificate;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// Its common name, by which people know it.
    pub name: String,
    /// From when on it is good.
    pub not_before: OffsetDateTime,
    /// Until when.
    pub not_after: OffsetDateTime,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// The key that it is for.
    pub(super) public_key: Vec<u8>,
}

impl Facts {
    /// Reads a certificate; `None` when it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let validity = certificate.validity();
        let at = |time: i64| OffsetDateTime::from_unix_timestamp(time).ok();
        let mut names = certificate.subject().iter_common_name();
        let name = names.find_map(|name| name.as_str().ok());
        Some(Self {
            name: name.unwrap_or_default().to_owned(),
            not_before: at(validity.not_before.timestamp())?,
            not_after: at(validity.not_after.timestamp())?,
            is_ca: certificate.is_ca(),
            public_key: certificate.public_key().raw.to_vec(),
            der: der.clone().into_owned(),
        })
    }

    /// Whether it is good now and for as long as this.
    pub fn is_good(&self, now: OffsetDateTime, left: Duration) -> bool {
        self.not_before <= now && self.not_after - now >= left
    }

    /// Whether a client that asks for this host accepts it.
    pub fn covers(&self, host: &str) -> bool {
        let Ok(host) = ServerName::try_from(host) else { return false };
        ParsedCertificate::try_from(&self.der)
            .is_ok_and(|parsed| verify_server_name(&parsed, &host).is_ok())
    }

    /// From when to when, as people read it.
    pub fn validity(&self) -> String {
        format!("{} to {}", day(self.not_before), day(self.not_after))
    }
}

/// The SHA-256 of a certificate as browsers and `openssl x509 -fingerprint -sha256` show it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let bytes = Sha256::digest(certificate);
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// A day in UTC: `2026-02-28`.
pub(super) fn day(at: OffsetDateTime) -> String {
    format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}
