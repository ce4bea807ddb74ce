//! The certificate that clients see: made in memory with a key of its own, and never written.

use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use crate::ca::authority::BACKDATED;
use crate::ca::{CaError, Names};

/// A certificate with its key, and when another has to take its place.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) certified: Arc<CertifiedKey>,
    /// Nothing where the operator renews it.
    window: Option<Window>,
}

/// The wall clock's times between which a certificate need not be renewed.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: OffsetDateTime,
    to: OffsetDateTime,
}

impl Leaf {
    /// One that stays until somebody brings another.
    pub(super) fn lasting(certified: CertifiedKey) -> Self {
        Self { certified: Arc::new(certified), window: None }
    }

    /// Whether it should be replaced now: two thirds of its life are over, or the clock has gone
    /// back to before it was made.
    pub(super) fn is_due(&self, now: OffsetDateTime) -> bool {
        self.window.is_some_and(|Window { from, to }| now < from || to <= now)
    }
}

/// Makes one for `names`, which ends no later than its issuer does at `end`.
pub(super) fn issue(
    issuer: &Issuer<'_, KeyPair>,
    names: &Names,
    now: OffsetDateTime,
    end: OffsetDateTime,
) -> Result<Leaf, CaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "b24gate");
    params.subject_alt_names = names.alternatives();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    params.not_before = now - BACKDATED;
    params.not_after = (now + LIFE).min(end);
    let certificate = params.signed_by(&key, issuer)?;
    let window = Window { from: params.not_before, to: now + (params.not_after - now) * 2 / 3 };
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = rustls::crypto::ring::default_provider();
    let chain = vec![certificate.der().clone()];
    let certified = CertifiedKey::from_der(chain, private, &provider)?;
    Ok(Leaf { certified: Arc::new(certified), window: Some(window) })
}

/// A number that no other certificate of this authority has: some clients refuse a second one.
pub(super) fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x3f) | 0x40; // positive, and of full length
    }
    Ok(SerialNumber::from_slice(&bytes))
}

/// Renewed when 30 days of it are left.
const LIFE: Duration = Duration::days(90);
