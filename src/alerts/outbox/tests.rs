use super::*;

fn portal(name: &str) -> Subject {
    Subject::Portal(name.to_owned())
}

fn facts(known: &[(Subject, Condition)]) -> Facts {
    let fact = |condition| Fact { condition, code: None, since: 0 };
    known.iter().map(|(subject, condition)| (subject.clone(), fact(*condition))).collect()
}

fn sent(step: Step) -> String {
    match step {
        Step::Send(change) => format!("{} {}", change.subject, change.fact.condition.word()),
        other => panic!("nothing is sent: {other:?}"),
    }
}

#[test]
fn a_target_that_fails_is_left_alone_for_a_second_and_then_longer_up_to_five_minutes() {
    let mut outbox = Outbox::new(Heard::new());
    let facts = facts(&[(portal("acme"), Condition::Dead)]);
    let mut now = Instant::now();
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
        assert_eq!(sent(outbox.step(now, &facts)), "portal acme dead");
        let pause = outbox.failed(&portal("acme"), now);
        let least = Duration::from_secs(seconds);
        assert!((least..=least.mul_f64(1.25)).contains(&pause), "{seconds}: {pause:?}");
        assert_eq!(outbox.step(now, &facts), Step::Wait(now + pause));
        let just_before = now + pause - Duration::from_millis(1);
        assert_eq!(outbox.step(just_before, &facts), Step::Wait(now + pause));
        now += pause;
    }
    outbox.delivered(&portal("acme"), Condition::Dead);
    assert_eq!(outbox.step(now, &facts), Step::Idle);
    outbox.failed(&portal("bolt"), now);
    assert!(outbox.failures == 1, "a success begins anew");
}

#[test]
fn a_condition_that_flips_does_not_get_around_the_pause() {
    let mut outbox = Outbox::new(Heard::new());
    let now = Instant::now();
    let pause = outbox.failed(&portal("acme"), now);
    let paused = facts(&[(portal("acme"), Condition::Paused)]);
    assert_eq!(outbox.step(now, &paused), Step::Wait(now + pause));
    assert_eq!(sent(outbox.step(now + pause, &paused)), "portal acme paused");
}

#[test]
fn an_alert_that_fails_alone_does_not_hold_back_the_others() {
    let mut outbox = Outbox::new(Heard::new());
    let names = ["acme", "bolt", "cyan"];
    let facts = facts(&names.map(|name| (portal(name), Condition::Dead)));
    let mut now = Instant::now();
    let mut order = Vec::new();
    for _ in 0..4 {
        let Step::Send(change) = outbox.step(now, &facts) else { panic!("nothing is sent") };
        order.push(change.subject.to_string());
        now += outbox.failed(&change.subject, now);
    }
    assert_eq!(order, ["portal acme", "portal bolt", "portal cyan", "portal acme"]);
}

#[test]
fn another_target_is_tried_at_once() {
    let mut outbox = Outbox::new(Heard::new());
    let (now, facts) = (Instant::now(), facts(&[(Subject::Store, Condition::Failing)]));
    outbox.failed(&Subject::Store, now);
    outbox.start_anew();
    assert_eq!(sent(outbox.step(now, &facts)), "store failing");
}

#[test]
fn what_was_heard_is_read_back_as_it_was_written_and_each_target_has_its_own() {
    let row = |key: &str, word: &str| (key.to_owned(), word.to_owned());
    let remembered = [
        row(&portal("acme").key("webhook"), Condition::Dead.word()),
        row(&portal("store").key("webhook"), Condition::Paused.word()),
        row(&Subject::Store.key("webhook"), Condition::Failing.word()),
        row(&portal("acme").key("command"), Condition::Suspect.word()),
        row("webhook portal bolt", "a word of a later version"),
        row("webhook nonsense", "dead"),
        row("webhookportal cyan", "dead"),
    ];
    let expected: Heard = [
        (portal("acme"), Condition::Dead),
        (portal("store"), Condition::Paused),
        (Subject::Store, Condition::Failing),
    ]
    .into();
    assert_eq!(heard("webhook", &remembered), expected);
    assert_eq!(heard("command", &remembered), [(portal("acme"), Condition::Suspect)].into());
    assert_eq!(remembered[0].0, "webhook portal acme");
}
