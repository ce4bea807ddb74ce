//! Which methods a client may call.
//!
//! Methods are compared without regard to case, because the portal looks a method up in lower case
//! first.

mod reads;
#[cfg(test)]
mod tests;

/// `methods` and `read_only` of a client.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Patterns of which one must match, lower case; none means that any method will do.
    allowed: Vec<String>,
    /// Patterns of which none may match, lower case, without their `!`.
    denied: Vec<String>,
    read_only: bool,
}

impl Rules {
    /// Rules from patterns such as `crm.*` and `!*.delete`.
    pub fn new(methods: &[String], read_only: bool) -> Self {
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for pattern in methods {
            match pattern.strip_prefix('!') {
                Some(pattern) => denied.push(pattern.to_ascii_lowercase()),
                None => allowed.push(pattern.to_ascii_lowercase()),
            }
        }
        Self { allowed, denied, read_only }
    }

    /// Whether there is nothing to ask.
    pub fn allow_all(&self) -> bool {
        self.allowed.is_empty() && self.denied.is_empty() && !self.read_only
    }

    /// Whether this method may be called; its `.json` or `.xml` has been taken off.
    pub fn permit(&self, method: &[u8]) -> bool {
        let method = method.to_ascii_lowercase();
        let any = |patterns: &[String]| {
            patterns.iter().any(|pattern| matches(pattern.as_bytes(), &method))
        };
        !any(&self.denied)
            && (self.allowed.is_empty() || any(&self.allowed))
            && (!self.read_only || reads::only(&method))
    }

    /// Whether several methods may be called in one `batch`, each of which has to be asked about: it
    /// needs no permission of its own, but can be forbidden.
    pub fn permit_batch(&self) -> bool {
        !self.denied.iter().any(|pattern| matches(pattern.as_bytes(), b"batch"))
    }

    /// A method of versions 1 and 2 without the suffix that only says how to answer.
    pub fn bare(method: &[u8]) -> &[u8] {
        let Some(at) = memchr::memrchr(b'.', method) else { return method };
        let (name, suffix) = method.split_at(at);
        let is_suffix = [&b".json"[..], b".xml"].iter().any(|it| suffix.eq_ignore_ascii_case(it));
        if is_suffix && !name.is_empty() { name } else { method }
    }
}

/// Whether `*`, for any number of any letters, makes the pattern the text. Both are lower case.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Behind the last star, and what of the text that star has not taken yet.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, text));
                pattern = after;
            }
            (Some((wanted, after)), Some((found, rest))) if wanted == found => {
                (pattern, text) = (after, rest);
            }
            (None, None) => return true,
            _ => {
                let Some((behind, [_, rest @ ..])) = retry else { return false };
                retry = Some((behind, rest));
                (pattern, text) = (behind, rest);
            }
        }
    }
}
