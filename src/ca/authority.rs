//! The authority itself: a key and a certificate in the state directory.
//!
//! The key comes first and is never replaced while it is there; the certificate belongs to it. So a
//! crash in between leaves a key, and whoever comes next makes its certificate.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::ca::certificate::{Facts, day};
use crate::ca::leaf::{self, Leaf};
use crate::ca::{CaError, Names};
use crate::failpoint;
use crate::store::{Directory, Missing, StateError, private};

/// A key that signs, and the certificate by which it is known.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    facts: Facts,
    pem: String,
}

/// The files of an authority, as far as they are there.
struct Files {
    key: Option<KeyPair>,
    certificate: Option<(Facts, String)>,
}

impl Authority {
    /// The one in the state directory; made, or completed, where it is not whole.
    pub fn open(state: &Path, now: OffsetDateTime) -> Result<Self, CaError> {
        let directory = private(state)?;
        if let Some(authority) = Files::read(&directory)?.whole(now)? {
            return Ok(authority);
        }
        // Two processes that make one at once would leave the key of one and the certificate of
        // the other.
        let _alone = lock(&directory)?;
        let Files { key, certificate } = Files::read(&directory)?;
        let key = match key {
            Some(key) => key,
            None => make_key(&directory)?,
        };
        failpoint::hit("ca_key");
        let of_this_key = certificate.filter(|(facts, _)| facts.is_of(&key));
        let lasting = |(facts, _): &(Facts, String)| facts.is_good(now, CA_LEFT);
        let (facts, pem) = match of_this_key {
            Some(whole) if lasting(&whole) => whole,
            known => {
                // Under the same name and key, what trusts the old one trusts the new one.
                let name = known.map_or_else(|| new_name(now), |(facts, _)| facts.name);
                certify(&directory, &key, name, now)?
            }
        };
        Self::new(key, facts, pem)
    }

    /// As [`Authority::open`], but where there is no key nothing is made.
    pub fn find(state: &Path, now: OffsetDateTime) -> Result<Option<Self>, CaError> {
        if state.join(KEY).symlink_metadata().is_err() {
            return Ok(None);
        }
        Self::open(state, now).map(Some)
    }

    /// The certificate alone, as PEM, for whoever may read it: another user than the gateway's has
    /// no business with the key. `None` when there is none.
    pub fn certificate(state: &Path) -> Result<Option<(Facts, String)>, CaError> {
        read_certificate(&Directory::open_elsewhere(state)?)
    }

    /// Where its certificate lies.
    pub fn path(state: &Path) -> PathBuf {
        state.join(CERTIFICATE)
    }

    /// What its certificate says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether it has to be certified anew.
    pub(super) fn is_due(&self, now: OffsetDateTime) -> bool {
        !self.facts.is_good(now, CA_LEFT)
    }

    /// A certificate for `names`.
    pub(super) fn issue(&self, names: &Names, now: OffsetDateTime) -> Result<Leaf, CaError> {
        for host in names.left_out() {
            tracing::warn!(%host, "the certificate for clients cannot hold this name");
        }
        leaf::issue(&self.issuer, names, now, self.facts.not_after)
    }

    fn new(key: KeyPair, facts: Facts, pem: String) -> Result<Self, CaError> {
        let issuer = Issuer::from_ca_cert_der(&facts.der, key)?;
        Ok(Self { issuer, facts, pem })
    }
}

impl Files {
    fn read(directory: &Directory) -> Result<Self, CaError> {
        Ok(Self { key: read_key(directory)?, certificate: read_certificate(directory)? })
    }

    fn whole(self, now: OffsetDateTime) -> Result<Option<Authority>, CaError> {
        match (self.key, self.certificate) {
            (Some(key), Some((facts, pem))) if facts.is_of(&key) && facts.is_good(now, CA_LEFT) => {
                Authority::new(key, facts, pem).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Held by whoever makes something; the kernel lets go of it when the process ends, however.
fn lock(directory: &Directory) -> Result<File, CaError> {
    let mut found = directory.file(LOCK, Missing::Create);
    if let Err(StateError::Io { source, .. }) = &found
        && source.kind() == std::io::ErrorKind::AlreadyExists
    {
        found = directory.file(LOCK, Missing::Report); // another process was faster
    }
    let failed = |source| StateError::Io { path: directory.path().join(LOCK), source };
    let file = found?.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn read_key(directory: &Directory) -> Result<Option<KeyPair>, CaError> {
    let Some(file) = directory.file(KEY, Missing::Report)? else { return Ok(None) };
    let path = directory.path().join(KEY);
    let mut text = Zeroizing::new(String::new());
    let read = file.take(BYTES_MAX).read_to_string(&mut text);
    let sound = read.is_ok().then(|| KeyPair::from_pem(&text).ok()).flatten();
    let mend = || {
        format!(
            "put it back, or remove {}: then there will be a new authority, which every tool has to \
             trust anew",
            path.display()
        )
    };
    let damaged =
        || CaError::Damaged { path: path.clone(), problem: "holds no private key", mend: mend() };
    sound.map(Some).ok_or_else(damaged)
}

/// One that cannot be read is as good as none: the key makes it again.
fn read_certificate(directory: &Directory) -> Result<Option<(Facts, String)>, CaError> {
    let Some(file) = directory.public_file(CERTIFICATE)? else { return Ok(None) };
    let mut text = String::new();
    if file.take(BYTES_MAX).read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    let Some(pem) = one_section(&text) else { return Ok(None) };
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return Ok(None) };
    let facts = Facts::read(&der).filter(|facts| facts.is_ca);
    Ok(facts.map(|facts| (facts, pem.to_owned())))
}

/// The first certificate in a text and nothing around it, so that whatever else a file holds goes
/// nowhere.
fn one_section(text: &str) -> Option<&str> {
    let text = text.get(text.find(BEGIN)?..)?;
    text.get(..text.find(END)? + END.len())
}

fn make_key(directory: &Directory) -> Result<KeyPair, CaError> {
    let key = KeyPair::generate()?;
    let text = Zeroizing::new(key.serialize_pem());
    directory.publish(KEY, text.as_bytes())?;
    Ok(key)
}

fn certify(
    directory: &Directory,
    key: &KeyPair,
    name: String,
    now: OffsetDateTime,
) -> Result<(Facts, String), CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(leaf::serial()?);
    params.not_before = now - BACKDATED;
    params.not_after = now + CA_LIFE;
    let certificate = params.self_signed(key)?;
    let pem = certificate.pem();
    directory.publish_public(CERTIFICATE, pem.as_bytes())?;
    let damaged = || CaError::Damaged {
        path: directory.path().join(CERTIFICATE),
        problem: "cannot be read again",
        mend: "remove it".to_owned(),
    };
    let facts = Facts::read(certificate.der()).ok_or_else(damaged)?;
    Ok((facts, pem.trim_end().to_owned()))
}

/// By which people find it among those that they trust.
fn new_name(now: OffsetDateTime) -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(HOST_MAX).collect();
    format!("b24gate local CA ({host}, {})", day(now))
}

impl Facts {
    fn is_of(&self, key: &KeyPair) -> bool {
        self.public_key == key.subject_public_key_info()
    }
}

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.pem";
const LOCK: &str = "ca.lock";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// More than either file ever has.
const BYTES_MAX: u64 = 64 * 1024;
/// Ten years.
const CA_LIFE: Duration = Duration::days(3652);
/// A new certificate when less is left: longer than what it signs lives.
const CA_LEFT: Duration = Duration::days(180);
/// For clients whose clock is behind.
pub(super) const BACKDATED: Duration = Duration::days(1);
/// A common name has 64 characters at most.
const HOST_MAX: usize = 30;
