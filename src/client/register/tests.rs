use std::sync::Mutex as Lock;

use super::*;
use crate::store::{KeptClients, Pending};

const NOW: u64 = 1_800_000_000;

/// A store whose next write can be made to fail.
#[derive(Debug, Default)]
struct Shelf {
    kept: Lock<KeptClients>,
    full: Lock<bool>,
}

impl Shelf {
    fn write(&self, change: impl FnOnce(&mut KeptClients)) -> Result<(), StoreError> {
        if *self.full.lock().unwrap() {
            return Err(StoreError::Unavailable("disk full".into()));
        }
        change(&mut self.kept.lock().unwrap());
        Ok(())
    }
}

impl ClientStore for Shelf {
    fn clients(&self) -> Pending<'_, KeptClients> {
        Box::pin(async move {
            let kept = self.kept.lock().unwrap();
            Ok(KeptClients { clients: kept.clients.clone(), ..*kept })
        })
    }

    fn add_client<'a>(
        &'a self,
        name: &'a str,
        rules: Option<&'a ClientRules>,
        key: &'a ClientKey,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            // So that two at once would meet.
            tokio::task::yield_now().await;
            let rules = rules.cloned().map_or(KeptRules::Configured, KeptRules::Made);
            let client = KeptClient { name: name.to_owned(), rules, keys: vec![*key] };
            self.write(|kept| {
                kept.closed = true;
                kept.clients.push(client);
            })
        })
    }

    fn rotate_key<'a>(
        &'a self,
        name: &'a str,
        key: &'a ClientKey,
        _until: Option<u64>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            self.write(|kept| {
                let client = kept.clients.iter_mut().find(|client| client.name == name);
                client.unwrap().keys = vec![*key];
            })
        })
    }

    fn remove_client<'a>(&'a self, name: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.write(|kept| kept.clients.retain(|client| client.name != name))
        })
    }
}

fn configured(text: &str) -> Configured {
    let text = format!(
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"b\"\n\
         oauth_server = \"https://oauth.bitrix.info\"\n\
         [portals.acme]\nurl = \"https://acme.bitrix24.com\"\n{text}"
    );
    let config = config::Config::parse(&text, std::path::Path::new("b24gate.toml"));
    config.unwrap().clients
}

async fn register(shelf: &Arc<Shelf>, text: &str) -> Register {
    Register::open(shelf.clone(), Arc::default(), configured(text)).await.unwrap()
}

fn made(name: &str) -> Wish {
    Wish { name: name.to_owned(), rules: Some(ClientRules::default()) }
}

fn described_one(name: &str) -> Wish {
    Wish { name: name.to_owned(), rules: None }
}

fn whose(register: &Register, minted: &Minted, now: u64) -> Option<String> {
    let shown = minted.key.secret().expose().as_bytes();
    register.clients().by_key(shown, now).map(|client| client.name.to_string())
}

async fn standing(register: &Register, name: &str, now: u64) -> Standing {
    let known = register.known(now).await;
    known.into_iter().find(|known| known.name == name).unwrap().standing
}

#[tokio::test]
async fn a_key_opens_from_the_moment_it_is_made_until_its_client_is_removed() {
    let shelf = Arc::default();
    let register = register(&shelf, "").await;
    assert!(register.clients().is_open());
    let erp = register.add(made("erp"), NOW).await.unwrap();
    assert_eq!(whose(&register, &erp, NOW).as_deref(), Some("erp"));
    assert!(!register.clients().is_open());
    let again = register.add(made("erp"), NOW).await.unwrap_err();
    assert!(again.to_string().contains("b24gate client rotate erp"), "{again}");

    let restarted = Register::open(shelf.clone(), Arc::default(), Configured::new()).await.unwrap();
    assert_eq!(whose(&restarted, &erp, NOW).as_deref(), Some("erp"));
    assert_eq!(register.remove("erp").await.unwrap(), Source::Command);
    assert_eq!(whose(&register, &erp, NOW), None);
    assert!(!register.clients().is_open(), "closed for good");
    let gone = register.remove("erp").await.unwrap_err();
    assert!(gone.to_string().contains("there is no client erp; there is none yet"), "{gone}");
    let restarted = Register::open(shelf, Arc::default(), Configured::new()).await.unwrap();
    assert!(!restarted.clients().is_open(), "after a restart, too");
}

#[tokio::test]
async fn another_key_ends_the_first_at_once_or_when_it_is_told_to() {
    let shelf = Arc::default();
    let register = register(&shelf, "").await;
    let first = register.add(made("erp"), NOW).await.unwrap();
    let second = register.rotate("erp", Some(3_600), NOW).await.unwrap();
    for (at, works) in [(NOW, true), (NOW + 3_599, true), (NOW + 3_600, false)] {
        assert_eq!(whose(&register, &first, at).is_some(), works, "{at}");
        assert!(whose(&register, &second, at).is_some(), "{at}");
    }
    let third = register.rotate("erp", None, NOW).await.unwrap();
    assert_eq!(whose(&register, &first, NOW), None);
    assert_eq!(whose(&register, &second, NOW), None);
    assert!(whose(&register, &third, NOW).is_some());
}

#[tokio::test]
async fn the_configuration_says_what_its_clients_may_do_and_takes_it_back() {
    let shelf = Arc::default();
    let section = "[clients.erp]\nportals = [\"acme\"]\nexpires = 2027-03-01\nweight = 3\n";
    let register = register(&shelf, section).await;
    assert!(!register.clients().is_open(), "a section alone closes it");
    assert_eq!(standing(&register, "erp", NOW).await, Standing::NoKey);
    let twice = register.add(made("erp"), NOW).await.unwrap_err();
    assert!(twice.to_string().contains("[clients.erp]"), "{twice}");
    let early = register.add(described_one("other"), NOW).await.unwrap_err();
    assert!(early.to_string().contains("SIGHUP"), "{early}");

    let minted = register.add(described_one("erp"), NOW).await.unwrap();
    assert_eq!(minted.portals.as_deref(), Some(&["acme".to_owned()][..]));
    let shown = minted.key.secret().expose().as_bytes();
    let client = register.clients().by_key(shown, NOW).unwrap();
    assert!(client.may_call("acme") && !client.may_call("beta"));
    assert_eq!(client.weight, 3);
    assert_eq!(whose(&register, &minted, 1_805_000_000), None, "it has expired");
    assert_eq!(standing(&register, "erp", 1_805_000_000).await, Standing::Expired);

    register.reconfigure(configured("[clients.erp]\nread_only = true\n")).await;
    let client = register.clients().by_key(shown, NOW).unwrap();
    assert!(client.may_call("beta") && !client.rules.allow_all(), "changed rules hold at once");

    register.reconfigure(Configured::new()).await;
    assert_eq!(whose(&register, &minted, NOW), None, "never without rules");
    assert_eq!(standing(&register, "erp", NOW).await, Standing::NoRules);
    let refused = register.rotate("erp", None, NOW).await.unwrap_err();
    assert!(refused.to_string().contains("is gone from the configuration"), "{refused}");
    register.reconfigure(configured("[clients.erp]\n")).await;
    assert_eq!(whose(&register, &minted, NOW).as_deref(), Some("erp"));
    assert_eq!(register.remove("erp").await.unwrap(), Source::Configuration);
    assert_eq!(whose(&register, &minted, NOW), None);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_makes_no_key_and_keeps_nobody_in() {
    let shelf: Arc<Shelf> = Arc::default();
    let register = register(&shelf, "").await;
    let erp = register.add(made("erp"), NOW).await.unwrap();
    *shelf.full.lock().unwrap() = true;
    assert!(register.add(made("late"), NOW).await.is_err());
    assert!(register.known(NOW).await.iter().all(|known| known.name != "late"));
    assert!(register.rotate("erp", None, NOW).await.is_err());
    assert!(whose(&register, &erp, NOW).is_some(), "the old key stays where there is no new one");
    let told = register.remove("erp").await.unwrap_err().to_string();
    assert!(told.contains("refused from now on, BUT the store could not be written"), "{told}");
    assert_eq!(whose(&register, &erp, NOW), None);
    assert_eq!(standing(&register, "erp", NOW).await, Standing::Revoked);
    *shelf.full.lock().unwrap() = false;
    let second = register.rotate("erp", Some(3_600), NOW).await.unwrap();
    assert!(whose(&register, &second, NOW).is_some());
    assert_eq!(whose(&register, &erp, NOW), None, "what was revoked has no overlap");
}

#[tokio::test]
async fn of_many_who_add_and_remove_at_once_memory_and_store_say_the_same() {
    let shelf: Arc<Shelf> = Arc::default();
    let register = Arc::new(register(&shelf, "").await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..60 {
        let register = register.clone();
        tasks.spawn(async move {
            let name = format!("c{}", number % 3);
            if number % 2 == 0 {
                register.add(made(&name), NOW).await.map(drop)
            } else {
                register.remove(&name).await.map(drop)
            }
        });
    }
    let done = tasks.join_all().await;
    assert!(done.iter().any(Result::is_ok) && done.iter().any(Result::is_err));
    let there: Vec<_> = register.known(NOW).await.into_iter().map(|known| known.name).collect();
    let mut kept: Vec<_> =
        shelf.kept.lock().unwrap().clients.iter().map(|client| client.name.clone()).collect();
    kept.sort();
    assert_eq!(there, kept);
}

#[tokio::test]
async fn what_the_store_cannot_tell_is_refused() {
    let shelf: Arc<Shelf> = Arc::default();
    let key = Key::draw().unwrap();
    let minted = Minted { key, portals: None };
    let keys = vec![kept(&minted.key, NOW)];
    let client = KeptClient { name: "erp".to_owned(), rules: KeptRules::Unreadable, keys };
    shelf.kept.lock().unwrap().clients.push(client);
    let register = register(&shelf, "").await;
    assert_eq!(whose(&register, &minted, NOW), None);
    assert_eq!(standing(&register, "erp", NOW).await, Standing::Unreadable);
    register.reconfigure(configured("[clients.erp]\n")).await;
    assert_eq!(whose(&register, &minted, NOW).as_deref(), Some("erp"), "its section tells");
}

#[tokio::test]
async fn lost_keys_are_told_until_one_is_made() {
    let shelf: Arc<Shelf> = Arc::default();
    *shelf.kept.lock().unwrap() = KeptClients { clients: Vec::new(), closed: true, lost: true };
    let register = register(&shelf, "").await;
    assert!(register.are_lost() && !register.clients().is_open());
    register.add(made("erp"), NOW).await.unwrap();
    assert!(!register.are_lost());
}

#[tokio::test]
async fn numbers_go_on_through_rotations_and_reloads() {
    let shelf: Arc<Shelf> = Arc::default();
    let register = register(&shelf, "").await;
    let first = register.add(made("erp"), NOW).await.unwrap();
    let shown = first.key.secret().expose().as_bytes();
    let portal = Arc::default();
    register.clients().by_key(shown, NOW).unwrap().tally.answered(&portal, "acme", 200);
    let second = register.rotate("erp", None, NOW).await.unwrap();
    register.reconfigure(configured("[clients.erp]\n")).await;
    let shown = second.key.secret().expose().as_bytes();
    register.clients().by_key(shown, NOW).unwrap().tally.answered(&portal, "acme", 503);
    let known = register.known(NOW).await;
    assert_eq!(known[0].calls, 2);
    assert!(known[0].last_used_at.is_some());
}
