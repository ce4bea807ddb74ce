//! What a certificate is good for: the names and addresses by which clients reach the gateway.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::SanType;
use rustls::pki_types::DnsName;

/// Host names and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    hosts: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// What a certificate cannot hold, or as many as it cannot hold.
    left_out: BTreeSet<String>,
}

impl Default for Names {
    /// Those of every gateway.
    fn default() -> Self {
        Self {
            hosts: ["localhost", "*.localhost"].map(str::to_owned).into(),
            addresses: [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into(),
            left_out: BTreeSet::new(),
        }
    }
}

impl Names {
    /// Adds a host name or an address.
    pub fn add(&mut self, host: &str) {
        let host = host.to_ascii_lowercase();
        if let Ok(address) = host.parse::<IpAddr>() {
            self.addresses.insert(address);
        } else if self.hosts.len() < HOSTS_MAX && DnsName::try_from(host.as_str()).is_ok() {
            self.hosts.insert(host);
        } else if self.left_out.len() < HOSTS_MAX {
            self.left_out.insert(host);
        }
    }

    /// Adds the name by which a portal is called where a host name has to say it. Many clients take
    /// no wildcard in front of a single label, so `*.localhost` does not do for everybody.
    pub fn add_portal(&mut self, name: &str) {
        self.add(&format!("{name}.localhost"));
    }

    /// Adds an address that is listened on, unless that is every address.
    pub fn add_listener(&mut self, address: IpAddr) {
        if !address.is_unspecified() {
            self.addresses.insert(address.to_canonical());
        }
    }

    /// What has no place in a certificate.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(String::as_str)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hosts.len() + self.addresses.len()
    }

    pub(super) fn alternatives(&self) -> Vec<SanType> {
        let hosts = self.hosts.iter().filter_map(|host| host.as_str().try_into().ok());
        let addresses = self.addresses.iter().copied().map(SanType::IpAddress);
        hosts.map(SanType::DnsName).chain(addresses).collect()
    }
}

/// Clients refuse a certificate that is too long to read.
const HOSTS_MAX: usize = 500;
