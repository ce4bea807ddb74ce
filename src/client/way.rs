//! Where a key leads.

use crate::client::Wish;
use crate::config::{self, Config};

/// The portal that the path of a call has to name; `None` where the key alone leads to one: the
/// only one that its client may call, or the default one. `known` are those that there are.
pub fn path_portal(
    portals: Option<&[String]>,
    default: Option<&str>,
    known: &[String],
) -> Option<String> {
    match portals {
        Some([_only]) => None,
        Some(several) if default.is_none_or(|default| several.iter().all(|it| it != default)) => {
            several.first().cloned()
        }
        None if default.is_none() => known.first().cloned(),
        Some(_) | None => None,
    }
}

/// Refuses a client that is called as none may be, or whose rules are none: patterns that match
/// nothing, portals that are not there and cannot come by themselves either.
pub fn check(config: &Config, wish: &Wish, known: &[String]) -> Result<(), String> {
    config::client_name(&wish.name)?;
    let Some(rules) = &wish.rules else { return Ok(()) };
    rules.methods.iter().try_for_each(|pattern| config::method_pattern(pattern))?;
    if config.open_apps().next().is_some() {
        return Ok(());
    }
    let known = known.iter().map(String::as_str);
    let mut portals = rules.portals.iter().flatten();
    portals.try_for_each(|name| config::portal_named(name, known.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_portal_only_where_the_key_does_not_lead_to_one() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let known = names(&["acme", "beta"]);
        for (portals, default, wanted) in [
            (None, Some("acme"), None),
            (None, None, Some("acme")),
            (Some(&["beta"][..]), Some("acme"), None),
            (Some(&["beta"][..]), None, None),
            (Some(&["acme", "beta"][..]), Some("acme"), None),
            (Some(&["beta", "gamma"][..]), Some("acme"), Some("beta")),
            (Some(&["beta", "gamma"][..]), None, Some("beta")),
            (Some(&[][..]), Some("acme"), None),
        ] {
            let portals = portals.map(names);
            let found = path_portal(portals.as_deref(), default, &known);
            assert_eq!(found.as_deref(), wanted, "{portals:?} {default:?}");
        }
        assert_eq!(path_portal(None, None, &[]), None);
    }
}
