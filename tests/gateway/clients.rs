//! Clients that people really use, as they are: only the address they call is the gateway's.
//!
//! They are programs of their own, installed by `scripts/test`; where one is missing its test
//! fails, because a client that is silently left out is a client that is not tested.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use b24gate::sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Gate, hex, repository};

/// One line of a script's output.
#[derive(Debug, PartialEq)]
struct Step {
    name: String,
    ok: bool,
    result: Value,
}

#[tokio::test]
async fn php_tools_get_the_same_answers_through_expiries_and_limits_and_never_refresh() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::before(&portal);
    let calm = through_everything(&portal, || php(&gate)).await;

    assert_eq!(calm[0].result["result"]["NAME"], "Ada");
    assert_eq!(calm[1].result["total"], 117, "{:?}", calm[1]);
    assert_eq!(calm[1].result["next"], 50);
    assert_eq!(calm[2].result["result"]["result"]["me"]["NAME"], "Ada");
    assert_eq!(calm[2].result["result"]["result"]["deals"][49]["ID"], "50");
    let raw = step(&calm, "file_get_contents");
    assert_eq!((&raw.result["total"], &raw.result["result"][0]["ID"]), (&json!(120), &json!("1")));
    let upload = step(&calm, "multipart");
    assert_eq!(upload.result["result"]["size"], 256 * 8192);
    assert_eq!(upload.result["result"]["sha256"], digest(&every_byte(8192)));
    assert!(portal.control().log().iter().all(|entry| !entry.target.contains("long-ago")));
}

#[tokio::test]
async fn fast_bitrix24_gets_the_same_answers_through_expiries_and_limits() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::before(&portal);
    let calm = through_everything(&portal, || fast_bitrix24(&gate)).await;

    for name in ["call", "raw call", "call_batch"] {
        assert!(step(&calm, name).result.to_string().contains("Lovelace"), "{name}");
    }
    assert_eq!(step(&calm, "get_all").result, 120);
    let deals = step(&calm, "get_by_ID");
    assert!(deals.result.to_string().contains("\"Deal 1\""), "{deals:?}");
    let paths = portal.control().log().into_iter().map(|entry| entry.target);
    assert!(paths.into_iter().all(|target| !target.contains("anykey")), "the key stays here");
}

#[tokio::test]
async fn curl_sends_an_unescaped_filter_an_offer_of_http2_and_a_form_with_a_file() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::before(&portal);
    let base = format!("http://localhost:{}/rest", gate.address.port());

    let list = curl(&["-g", &format!("{base}/crm.deal.list?filter[>ID]=0&filter[<ID]=3")]).await;
    assert_eq!(body(&list)["total"], 2);

    let offer = curl(&["-v", "--http2", &format!("{base}/profile")]).await;
    let said = String::from_utf8_lossy(&offer.stderr);
    assert!(said.contains("> Upgrade: h2c"), "curl offers HTTP/2: {said}");
    assert!(said.contains("< HTTP/1.1 200 OK"), "the gateway goes on with 1.1: {said}");
    assert_eq!(body(&offer)["result"]["NAME"], "Ada");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bytes.bin");
    std::fs::write(&file, every_byte(512)).unwrap();
    let part = format!("file=@{};type=application/octet-stream", file.display());
    let form = curl(&["-F", "id=1", "-F", &part, &format!("{base}/sandbox.echo")]).await;
    let params = &body(&form)["result"]["params"];
    assert_eq!(params["id"], "1");
    assert_eq!(params["file"]["name"], "bytes.bin");
    assert_eq!(params["file"]["sha256"], digest(&every_byte(512)));
}

#[tokio::test]
async fn curl_waits_for_the_100_before_20_megabytes_and_they_survive_an_expiry() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::before(&portal);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.txt");
    let content = b"k=v&".repeat(5_000_000);
    std::fs::write(&file, &content).unwrap();
    let url = format!("http://localhost:{}/rest/sandbox.echo", gate.address.port());

    for expired in [false, true] {
        if expired {
            portal.control().expire();
        }
        let sent = curl(&["-v", "--data-binary", &format!("@{}", file.display()), &url]).await;
        let said = String::from_utf8_lossy(&sent.stderr);
        assert!(said.contains("> Expect: 100-continue"), "curl asks: {said}");
        assert!(said.contains("< HTTP/1.1 100 Continue"), "the gateway says yes: {said}");
        assert_eq!(said.contains("X-B24-Replayed: expired_token"), expired, "{said}");
        let echo = &body(&sent)["result"];
        assert_eq!(echo["body_length"], content.len());
        assert_eq!(echo["body_sha256"], digest(&content));
        let fields = echo["headers"].as_array().unwrap();
        let expects = |field: &Value| field.as_str().unwrap().to_lowercase().starts_with("expect");
        assert!(!fields.iter().any(expects), "the question is for the gateway alone: {fields:?}");
    }
    assert_eq!(portal.control().executions("sandbox.echo"), 2);
}

/// Runs a client four times - undisturbed, with a token that expired before the first step, with
/// one that the portal calls expired between steps, and against the portal's limit - and holds all
/// four to the same results.
async fn through_everything<F>(portal: &Sandbox, client: impl Fn() -> F) -> Vec<Step>
where
    F: Future<Output = Vec<Step>>,
{
    let control = portal.control();
    let calm = client().await;
    assert!(calm.iter().all(|step| step.ok), "{calm:#?}");
    assert_eq!(control.exchanges(), 0);

    control.expire();
    assert_same(&client().await, &calm, "after an expiry");
    assert_eq!(control.exchanges(), 1);

    control.fault(&json!({"portal": {"mode": "expired_once", "skip": 2}})).await.unwrap();
    assert_same(&client().await, &calm, "through an expiry between two steps");
    assert_eq!(control.exchanges(), 2);

    control.clear_faults().await;
    control.clear_log();
    control
        .fault(&json!({"portal": {"mode": "query_limit", "skip": 1, "count": 1}}))
        .await
        .unwrap();
    assert_same(&client().await, &calm, "through the portal's limit");
    let limited = control.log().iter().filter(|entry| entry.status == 503).count();
    assert_eq!((limited, control.exchanges()), (1, 2));
    calm
}

fn assert_same(steps: &[Step], calm: &[Step], when: &str) {
    for (step, calm) in steps.iter().zip(calm) {
        assert_eq!(step, calm, "{when}");
    }
    assert_eq!(steps.len(), calm.len(), "{when}");
}

async fn php(gate: &Gate) -> Vec<Step> {
    let mut command = Command::new("php");
    command
        .arg(repository().join("tests/clients/restcommand.php"))
        .arg(base(gate))
        .arg("user.current")
        .args(["crm.deal.list", r#"{"filter":{">ID":3},"select":["ID","TITLE"]}"#])
        .args(["batch", r#"{"halt":0,"cmd":{"me":"user.current","deals":"crm.deal.list"}}"#]);
    steps(&run(command).await)
}

async fn fast_bitrix24(gate: &Gate) -> Vec<Step> {
    let python = repository().join("target/clients/bin/python");
    let mut command = Command::new(python);
    command.arg(repository().join("tests/clients/fast_bitrix24_calls.py")).arg(base(gate));
    steps(&run(command).await)
}

async fn curl(arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"]);
    command.args(arguments);
    let output = run(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a program to its end, beside the portal, which lives on this thread.
async fn run(mut command: Command) -> Output {
    let program = command.get_program().to_owned();
    let run = move || command.stdin(Stdio::null()).output();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    output.unwrap_or_else(|error| {
        let program = Path::new(&program).display();
        panic!("{program} cannot be run ({error}): scripts/test installs what the tests need")
    })
}

fn steps(output: &Output) -> Vec<Step> {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let steps: Vec<Step> = said.lines().filter_map(read_step).collect();
    assert!(
        !steps.is_empty() && output.status.success(),
        "a client failed; if something is not installed, scripts/test installs it\n\
         {said}\n{complained}"
    );
    steps
}

fn read_step(line: &str) -> Option<Step> {
    let mut line: Value = serde_json::from_str(line).ok()?;
    let mut result = line["result"].take();
    forget_times(&mut result);
    Some(Step { name: line["step"].as_str()?.to_owned(), ok: line["ok"].as_bool()?, result })
}

/// Answers differ in how long they took, and in the numbers of new records.
fn forget_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !matches!(name.as_str(), "time" | "result_time"));
            if fields.contains_key("sha256") {
                fields.remove("ID");
            }
            fields.values_mut().for_each(forget_times);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        _ => {}
    }
}

fn step<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("no {name}: {steps:#?}"))
}

fn body(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&output.stdout)))
}

fn base(gate: &Gate) -> String {
    format!("http://localhost:{}", gate.address.port())
}

fn every_byte(times: usize) -> Vec<u8> {
    (0..=255).collect::<Vec<u8>>().repeat(times)
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[test]
fn a_missing_client_fails_its_test_and_names_the_script_that_installs_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let absent = std::panic::catch_unwind(|| {
        runtime.block_on(run(Command::new("/nowhere/bin/python")));
    });
    let said = absent.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("/nowhere/bin/python") && said.contains("scripts/test"), "{said}");
}
