//! The lines that `b24gate client add` prints, pasted into programs as they are.

use std::process::Command;

use serde_json::Value;

use super::world::{World, node, python};
use super::*;

#[tokio::test]
async fn every_line_of_a_new_client_calls_the_portal_once_it_is_pasted() {
    let world = World::new(&B24PYSDK).await;
    let output = world.gate.setup().command(&["client", "add", "pasted", "--json"], "");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tools = told["tools"].as_object().unwrap();
    let tools = tools.iter().map(|(tool, line)| program(tool, line.as_str().unwrap()));
    let tools: Vec<_> = tools.chain(shapes(&told["shapes"])).collect();
    assert_eq!(tools.len(), 10, "{told:#}");
    for command in tools {
        let shown = format!("{command:?}");
        let said = world.output(command).await;
        assert!(said.contains("Ada"), "{shown}: {said}");
    }
    let key = told["key"].as_str().unwrap();
    assert_eq!(world.calls().len(), 10);
    for call in world.calls() {
        let seen = format!("{call:?}");
        assert!(!seen.contains(key), "the key stays here: {seen}");
    }
}

/// A program that makes one call with what the line makes.
fn program(tool: &str, line: &str) -> Command {
    match tool {
        "fast_bitrix24" => {
            let call = "print(bitrix.call('user.current', raw=True))";
            source(
                python(),
                "-c",
                &format!("from fast_bitrix24 import Bitrix\nbitrix = {line}\n{call}"),
            )
        }
        "b24pysdk" => {
            let (import, call) = (
                "from b24pysdk import BitrixWebhook, Client",
                "print(Client(webhook).user.current().result)",
            );
            source(python(), "-c", &format!("{import}\nwebhook = {line}\n{call}"))
        }
        "b24jssdk" => {
            let import = "import { B24Hook } from '@bitrix24/b24jssdk'";
            let call = "b24.actions.v2.call.make({ method: 'user.current' })";
            let say = format!("console.log((await {call}).getData().result.NAME)\nprocess.exit(0)");
            let mut node = node();
            node.arg("--input-type=module");
            source(node, "-e", &format!("{import}\nconst b24 = {line}\n{say}"))
        }
        "crest" => {
            let call = "echo file_get_contents(C_REST_WEB_HOOK_URL . 'user.current.json');";
            source(Command::new("php"), "-r", &format!("{line}\n{call}"))
        }
        "restcommand" => {
            let call = "$curl = curl_init($auth['client_endpoint'] . 'user.current');
                curl_setopt($curl, CURLOPT_POSTFIELDS, 'auth=' . $auth['access_token']);
                curl_exec($curl);";
            source(Command::new("php"), "-r", &format!("$auth = {line};\n{call}"))
        }
        "curl" => source(Command::new("sh"), "-c", line),
        other => panic!("a line for {other}, which nobody has tried"),
    }
}

fn source(mut command: Command, option: &str, text: &str) -> Command {
    command.arg(option).arg(text);
    command
}

/// What tools ask for, asked for by curl.
fn shapes(shapes: &Value) -> [Command; 4] {
    let shape = |name: &str| shapes[name].as_str().unwrap().to_owned();
    let endpoint = shape("client_endpoint");
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error"]).args(arguments);
        command
    };
    [
        curl(&[&format!("{}profile", shape("webhook"))]),
        curl(&[&format!("{}profile", shape("webhook_https"))]),
        curl(&["-d", &format!("auth={}", shape("access_token")), &format!("{endpoint}profile")]),
        curl(&["-H", &shape("header"), &format!("{endpoint}profile")]),
    ]
}
