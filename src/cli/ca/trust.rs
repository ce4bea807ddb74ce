//! What makes each language trust one more authority. None of them looks where the others do.

/// A line for each, with the certificate at `path`; `bundle` is where the system keeps its own.
pub(super) fn lines(path: &str, bundle: &str) -> String {
    let path = quoted(path);
    format!(
        "Set this for the tool that calls https://localhost:PORT, in the environment it starts with:

  Python, requests and b24pysdk    export REQUESTS_CA_BUNDLE={path}
                                   (SSL_CERT_FILE alone does nothing for requests)
  Python, aiohttp, httpx, urllib   export SSL_CERT_FILE={path}
  Go, Ruby                         export SSL_CERT_FILE={path}
  Node.js                          export NODE_EXTRA_CA_CERTS={path}
  curl                             export CURL_CA_BUNDLE={path}
                                   or curl --cacert {path}
  PHP                              php -d curl.cainfo={path} -d openssl.cafile={path}
                                   or both in php.ini
  Java                             keytool -importcert -cacerts -storepass changeit -noprompt \\
                                     -alias b24gate -file {path}
  The whole system                 b24gate ca --install
                                   (curl, PHP, Go, Ruby, Python but for requests and httpx; not \
         Node.js, not Java)

Node.js and Java trust it besides the public authorities. REQUESTS_CA_BUNDLE, SSL_CERT_FILE,
CURL_CA_BUNDLE and PHP's settings put it in their place: a tool that calls other hosts, too, needs
both in one file. After `b24gate ca --install` that is
  {bundle}
and without it you make one yourself:
  cat {bundle} {path} > both.pem

Other users cannot read the state directory. Give them a copy:
  b24gate ca --pem > b24gate-ca.pem"
    )
}

/// As a shell reads one word.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_and_quotes_is_still_one_word() {
        assert_eq!(quoted("/var/lib/b24gate/ca.pem"), "/var/lib/b24gate/ca.pem");
        assert_eq!(quoted("/home/a b/it's"), r"'/home/a b/it'\''s'");
        assert!(lines("/a b/ca.pem", "/bundle").contains("--cacert '/a b/ca.pem'\n"));
    }
}
