//! The query of a request: what the portal would take for a credential is cut out, the rest goes on
//! byte for byte.
//!
//! Names are compared the way PHP reads them (leading blanks stripped, `.` and blanks folded to
//! `_`, cut at NUL, `name[...]` is `name`): otherwise `+access.token=x` would pass as harmless.

use std::borrow::Cow;

/// What the portal's query carries of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Ordinary parameters: the gateway adds the credential.
    Parameters,
    /// `token=` and `auth=` together: a signed link, valid only with the token inside it.
    SignedLink,
}

/// Appends `query` to `out` without credentials, with `<`, `>` and `"` escaped.
pub(crate) fn forward(query: &[u8], out: &mut Vec<u8>) -> Carries {
    let (mut credential, mut link) = (false, Link::default());
    for pair in query.split(|byte| *byte == b'&') {
        match meaning(pair) {
            kind @ (Meaning::Auth | Meaning::Token) => link.note(kind, pair),
            Meaning::AccessToken | Meaning::Credential => credential = true,
            Meaning::Parameter => {}
        }
    }
    let is_link = link.is_signed();
    if !credential && (is_link || !link.has_auth) {
        escape(query, out);
        return if is_link { Carries::SignedLink } else { Carries::Parameters };
    }
    for (index, pair) in parameters(query, is_link).enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        escape(pair, out);
    }
    if is_link { Carries::SignedLink } else { Carries::Parameters }
}

/// Appends `query` to `out` without credentials, everything else as it is: for a body, where no
/// character is in the way.
pub(crate) fn keep(query: &[u8], out: &mut Vec<u8>) {
    for (index, pair) in parameters(query, false).enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(pair);
    }
}

/// What is no credential. The `auth` of a link is the portal's own and stands under its signature.
fn parameters(query: &[u8], is_link: bool) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&').filter(move |pair| match meaning(pair) {
        Meaning::Auth => is_link,
        Meaning::AccessToken | Meaning::Credential => false,
        Meaning::Token | Meaning::Parameter => true,
    })
}

/// What a parameter is to the portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Auth,
    AccessToken,
    /// A credential that is none of a client's keys.
    Credential,
    Token,
    Parameter,
}

/// What makes a query a signed link's: its last `auth` and its last `token`, which are the ones that
/// count for PHP, are texts that say something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    has_auth: bool,
    auth: bool,
    token: bool,
}

impl Link {
    /// Takes a pair of this meaning into account.
    pub(crate) fn note(&mut self, kind: Meaning, pair: &[u8]) {
        let (name, value) = pair.split_at(memchr::memchr(b'=', pair).unwrap_or(pair.len()));
        let is_list = form_urlencoded::parse(name).any(|(name, _)| name.contains('['));
        let says = value.len() > 1 && !is_list;
        match kind {
            Meaning::Auth => (self.has_auth, self.auth) = (true, says),
            Meaning::Token => self.token = says,
            Meaning::AccessToken | Meaning::Credential | Meaning::Parameter => {}
        }
    }

    /// Whether it is one.
    pub(crate) fn is_signed(self) -> bool {
        self.auth && self.token
    }
}

impl Meaning {
    pub(crate) fn is_credential(self) -> bool {
        matches!(self, Self::Auth | Self::AccessToken | Self::Credential)
    }
}

/// The meaning of a pair, or of a name alone.
pub(crate) fn meaning(pair: &[u8]) -> Meaning {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    // `filter[>ID]` is the everyday case: what stands before the bracket decides.
    let base = name.split(|byte| *byte == b'[').next().unwrap_or_default();
    let plain = base.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let name = if plain { Cow::Borrowed(base) } else { php_name(name) };
    match &*name {
        b"auth" => Meaning::Auth,
        b"access_token" => Meaning::AccessToken,
        b"aplogin" | b"ap" | b"sessid" => Meaning::Credential,
        b"token" => Meaning::Token,
        _ => Meaning::Parameter,
    }
}

/// The name under which PHP files a parameter (`php_register_variable_ex`), without its subscripts.
pub(crate) fn php_name(name: &[u8]) -> Cow<'_, [u8]> {
    let decoded = form_urlencoded::parse(name).next().map(|(name, _)| name).unwrap_or_default();
    let decoded = decoded.trim_start_matches(' ');
    let cut = decoded.find(['\0', '[']).unwrap_or(decoded.len());
    let folded = decoded.get(..cut).unwrap_or_default().replace(['.', ' '], "_");
    Cow::Owned(folded.into_bytes())
}

/// Raw `<`, `>` and `"` are what people type and what strict servers refuse; escaped they mean the
/// same to every reader.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr3(b'<', b'>', b'"', rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(match after.first() {
            Some(b'<') => b"%3C",
            Some(b'>') => b"%3E",
            _ => b"%22",
        });
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &str) {
        let mut out = Vec::new();
        assert_eq!(forward(query.as_bytes(), &mut out), Carries::Parameters, "{query}");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{query}");
    }

    #[test]
    fn ordinary_parameters_go_on_byte_for_byte() {
        for query in ["", "a=1&b=2", "filter[=ID]=1&&x", "a=%5B%20&b=+", "authx=1&xauth=2", "&"] {
            check(query, query);
        }
    }

    #[test]
    fn what_php_reads_as_a_credential_is_cut_out() {
        check("auth=x", "");
        check("a=1&auth=x&b=2", "a=1&b=2");
        check("access_token=x&a=1", "a=1");
        check("a=1&%61uth=x", "a=1");
        check("a=1&+auth=x", "a=1");
        check("a=1&%20access.token=x", "a=1");
        check("a=1&access%5Ftoken=x", "a=1");
        check("a=1&access+token=x", "a=1");
        check("a=1&auth%00z=x", "a=1");
        check("a=1&auth[]=x&auth[b]=y", "a=1");
        check("a=1&auth", "a=1");
        check("aplogin=1&ap=secret&sessid=z&a=1", "a=1");
    }

    #[test]
    fn in_a_body_nothing_is_escaped_and_credentials_are_cut_out_all_the_same() {
        let mut out = Vec::new();
        keep(b"filter[>ID]=\"0\"&auth=x&&+access.token=y&b=%3C", &mut out);
        assert_eq!(out, b"filter[>ID]=\"0\"&&b=%3C");
    }

    #[test]
    fn raw_filter_characters_are_escaped() {
        check("filter[>ID]=0&q=\"<x>\"", "filter[%3EID]=0&q=%22%3Cx%3E%22");
        check("auth=1&filter[<ID]=0", "filter[%3CID]=0");
    }

    #[test]
    fn a_signed_link_goes_through_as_it_is() {
        let mut out = Vec::new();
        let link = b"auth=A&token=disk%7Cx";
        assert_eq!(forward(link, &mut out), Carries::SignedLink);
        assert_eq!(out, link);
        check("token=disk%7Cx", "token=disk%7Cx");
        for no_link in
            ["auth=&token=x", "auth=A&token=", "auth=A&auth[]=b&token=x", "auth=A&%61uth=&token=x"]
        {
            let token = no_link.rsplit('&').next().unwrap();
            check(no_link, token);
        }
        out.clear();
        let query = b"access_token=KEY&auth=A&token=disk%7Cx&ap=y";
        assert_eq!(forward(query, &mut out), Carries::SignedLink);
        assert_eq!(out, link);
    }
}
