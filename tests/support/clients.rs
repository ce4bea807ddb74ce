//! Clients of a gateway, made as an operator makes them.

use super::Gate;

/// The key of a client that `b24gate client add` makes, or of one of the configuration.
pub fn client_key(gate: &Gate, name: &str, flags: &[&str]) -> String {
    let arguments = [&["client", "add", name, "--json"], flags].concat();
    let output = gate.setup().command(&arguments, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["key"].as_str().unwrap().to_owned()
}
