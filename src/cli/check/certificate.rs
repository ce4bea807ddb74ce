//! The certificate that clients are shown.

use std::path::Path;

use time::{Duration, OffsetDateTime};

use crate::ca::{Authority, own_facts};
use crate::config::{Config, ServerTls};

use super::super::Exit;
use super::Finding;

/// Looks at the files of `gateway.tls`, or at the local authority in `state`. Nothing is made.
pub(super) fn check(config: &Config, state: &Path) -> Vec<Finding> {
    match &config.gateway.tls {
        ServerTls::Files { cert, key } => own(cert, key, OffsetDateTime::now_utc()),
        ServerTls::LocalCa => vec![local(state)],
    }
}

fn local(state: &Path) -> Finding {
    let path = Authority::path(state);
    match path.exists().then(|| Authority::certificate(state)) {
        Some(Ok(Some((facts, _)))) => Finding::Right(format!(
            "gateway.tls: certificates are signed by the local CA {}, valid {}; `b24gate ca` says \
             how tools come to trust it",
            path.display(),
            facts.validity()
        )),
        _ => Finding::Note(
            "gateway.tls: there is no local CA yet; it is made by `b24gate ca`, or when the first \
             client speaks https"
                .to_owned(),
        ),
    }
}

fn own(cert: &Path, key: &Path, now: OffsetDateTime) -> Vec<Finding> {
    let facts = match own_facts(cert, key) {
        Ok(facts) => facts,
        Err(error) => {
            return vec![Finding::Wrong(Exit::of_code(error.exit_code()), error.to_string())];
        }
    };
    let name = format!("gateway.tls: {}", cert.display());
    let valid = facts.validity();
    let mut findings = vec![if !facts.is_good(now, Duration::ZERO) {
        let text = format!("{name} is not valid today, but {valid}; clients refuse it");
        Finding::Wrong(Exit::Failed, text)
    } else if !facts.is_good(now, SOON) {
        Finding::Note(format!("{name} expires soon: it is valid {valid}; renew it, then SIGHUP"))
    } else {
        Finding::Right(format!("{name}, valid {valid}"))
    }];
    if !facts.covers("localhost") {
        findings.push(Finding::Note(format!(
            "{name} is not for localhost; clients have to call the gateway by a name that is in it"
        )));
    }
    findings
}

/// Time enough to get another.
const SOON: Duration = Duration::days(14);

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn an_own_certificate_is_warned_of_before_it_ends_and_when_it_is_not_for_localhost() {
        let now = OffsetDateTime::now_utc();
        let says = |name: &str, from: i64, to: i64| {
            let folder = tempfile::tempdir().unwrap();
            let (cert, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.not_before = now + Duration::days(from);
            params.not_after = now + Duration::days(to);
            let pair = KeyPair::generate().unwrap();
            std::fs::write(&cert, params.self_signed(&pair).unwrap().pem()).unwrap();
            std::fs::write(&key, pair.serialize_pem()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&key, mode).unwrap();
            let findings = own(&cert, &key, now);
            let kinds = findings.iter().map(|finding| match finding {
                Finding::Right(_) => "right",
                Finding::Note(text) if text.contains("expires soon") => "soon",
                Finding::Note(text) if text.contains("not for localhost") => "name",
                Finding::Wrong(Exit::Failed, text) if text.contains("not valid") => "wrong",
                _ => "other",
            });
            kinds.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(says("localhost", -1, 15), "right");
        assert_eq!(says("localhost", -1, 13), "soon");
        assert_eq!(says("localhost", -30, -1), "wrong");
        assert_eq!(says("localhost", 1, 30), "wrong");
        assert_eq!(says("gate.example.com", -1, 15), "right name");
    }
}
