//! By which names clients reach the gateway, for the certificate that they are shown.

use crate::ca::Names;
use crate::config::{Config, Listen};
use crate::portal::Portals;

/// The names of the configuration, and the domains of the portals: a tool that knows nothing but
/// its portal comes by the hosts file.
pub(super) fn of(config: &Config, portals: &Portals) -> Names {
    let mut names = Names::default();
    for listen in &config.gateway.listen {
        if let Listen::Tcp(address) = listen {
            names.add_listener(address.ip());
        }
    }
    let lived = config.portals.values().map(|portal| &portal.url.host);
    let hosts = config.gateway.hosts.iter().map(|name| &name.host);
    hosts.chain(lived).for_each(|host| names.add(host));
    for portal in portals.all() {
        names.add(&portal.site().endpoint.host);
        match portal.name.split_once('.') {
            // One that came by itself has its name from the domain that it came by.
            Some(_) => names.add(portal.name.split(':').next().unwrap_or_default()),
            None => names.add_portal(&portal.name),
        }
    }
    names
}
