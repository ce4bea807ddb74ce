//! Which methods a client may call.

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
}
