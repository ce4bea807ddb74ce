use super::*;

const OURS: &str = "a223c6b3710f85df22e9377d6c4f7553";
const OTHER: &str = "ffffffffffffffffffffffffffffffff";

fn grant(refresh: &str, member_id: Option<&str>, user_id: Option<u64>) -> Grant {
    Grant {
        access: Secret::new("A-canary"),
        refresh: Secret::new(refresh),
        expires_at: None,
        good_until: None,
        member_id: member_id.map(str::to_owned),
        user_id,
        client_endpoint: None,
    }
}

fn held(chain: i64, refresh: &Secret) -> Held<'_> {
    Held {
        chain: ChainId(chain),
        generation: Generation(4),
        member_id: Some(OURS),
        user_id: Some(7),
        dead: false,
        refresh,
    }
}

fn entry(outcome: &str) -> LedgerEntry {
    LedgerEntry {
        at: 1_795_336_247,
        chain: 1,
        generation: 3,
        outcome: outcome.to_owned(),
        refresh_hash: "01234567".to_owned(),
    }
}

const IN_USE: Result<Admission, Refused> = Ok(Admission::Add(Seat::Active { keep_old: false }));
const IN_USE_OLD_KEPT: Result<Admission, Refused> =
    Ok(Admission::Add(Seat::Active { keep_old: true }));
const SPARE: Result<Admission, Refused> = Ok(Admission::Add(Seat::Spare));
const BOTH: [Replace; 2] = [Replace::No, Replace::Yes];

#[test]
fn the_first_pair_of_a_portal_is_its_credential() {
    for replace in BOTH {
        let seen = entry("intent");
        for seen in [None, Some(&seen)] {
            let brought = grant("R-canary", None, None);
            assert_eq!(admit(None, &[], &brought, seen, replace), IN_USE);
        }
    }
}

#[test]
fn a_pair_that_is_here_already_changes_nothing() {
    let (in_use, waiting) = (Secret::new("R1"), Secret::new("R2"));
    let seen = entry("commit");
    for replace in BOTH {
        // Whoever brings it, and whatever he says of it.
        for brought in [grant("R1", None, None), grant("R1", Some(OTHER), Some(8))] {
            let known = admit(
                Some(&held(1, &in_use)),
                &[held(2, &waiting)],
                &brought,
                Some(&seen),
                replace,
            );
            let (chain, generation) = (ChainId(1), Generation(4));
            let want = Admission::Known { chain, generation, active: true, dead: false };
            assert_eq!(known, Ok(want));
        }
        let brought = grant("R2", None, None);
        let known = admit(Some(&held(1, &in_use)), &[held(2, &waiting)], &brought, None, replace);
        let (chain, generation) = (ChainId(2), Generation(4));
        assert_eq!(known, Ok(Admission::Known { chain, generation, active: false, dead: false }));
    }
}

#[test]
fn a_dead_pair_that_is_brought_again_is_tried_again_only_when_asked_for() {
    let refresh = Secret::new("R1");
    let dead = Held { dead: true, ..held(1, &refresh) };
    let brought = grant("R1", Some(OURS), Some(7));
    let (chain, generation) = (ChainId(1), Generation(4));
    assert_eq!(
        admit(Some(&dead), &[], &brought, None, Replace::No),
        Ok(Admission::Known { chain, generation, active: true, dead: true })
    );
    assert_eq!(admit(Some(&dead), &[], &brought, None, Replace::Yes), IN_USE);
}

#[test]
fn a_refresh_token_that_was_used_or_refused_for_good_is_never_taken() {
    let refresh = Secret::new("R2");
    let (at, generation) = (1_795_336_247, 3);
    for replace in BOTH {
        for dead in [false, true] {
            for (outcome, refused) in [
                ("intent", Refused::UsedUp { at, generation }),
                ("failed: dead invalid_grant", Refused::Dead { at, generation }),
            ] {
                let active = Held { dead, ..held(1, &refresh) };
                let seen = entry(outcome);
                let brought = grant("R1", Some(OURS), Some(7));
                let found = admit(Some(&active), &[], &brought, Some(&seen), replace);
                assert_eq!(found, Err(refused), "{outcome}");
            }
        }
    }
}

#[test]
fn a_pair_that_had_to_make_room_before_it_was_used_may_come_back() {
    let refresh = Secret::new("R2");
    let outcomes =
        ["import", "spare", "commit", "promoted", "dropped", "recovered", "failed: paused X"];
    for outcome in outcomes {
        let seen = entry(outcome);
        let brought = grant("R1", Some(OURS), Some(7));
        let found = admit(Some(&held(1, &refresh)), &[], &brought, Some(&seen), Replace::No);
        assert_eq!(found, SPARE, "{outcome}");
    }
}

#[test]
fn whose_a_pair_is_decides_where_it_sits() {
    use Replace::{No, Yes};
    const ALIVE: bool = false;
    const DEAD: bool = true;
    let (mine, his) = (Some(7), Some(8));
    let another_user = Err(Refused::AnotherUser { brought: 8, held: 7 });
    let unknown = |held| Err(Refused::UserUnknown { held });
    let holder_unknown = Err(Refused::HolderUnknown { brought: 7 });
    let refresh = Secret::new("R1");
    for (held_user, state, brought_user, replace, want) in [
        (mine, ALIVE, mine, No, SPARE),
        (mine, ALIVE, mine, Yes, IN_USE_OLD_KEPT),
        (mine, DEAD, mine, No, IN_USE),
        (mine, DEAD, mine, Yes, IN_USE),
        (mine, ALIVE, his, No, another_user),
        (mine, ALIVE, his, Yes, IN_USE),
        (mine, DEAD, his, No, another_user),
        (mine, DEAD, his, Yes, IN_USE),
        (mine, ALIVE, None, No, unknown(mine)),
        (mine, ALIVE, None, Yes, IN_USE),
        (mine, DEAD, None, No, IN_USE),
        (mine, DEAD, None, Yes, IN_USE),
        (None, ALIVE, None, No, unknown(None)),
        (None, ALIVE, None, Yes, IN_USE),
        (None, DEAD, None, No, IN_USE),
        (None, DEAD, None, Yes, IN_USE),
        (None, ALIVE, mine, No, holder_unknown),
        (None, ALIVE, mine, Yes, IN_USE),
        (None, DEAD, mine, No, IN_USE),
        (None, DEAD, mine, Yes, IN_USE),
    ] {
        let row = format!("{held_user:?} dead={state}, {brought_user:?} {replace:?}");
        let holder = Held { user_id: held_user, dead: state, ..held(1, &refresh) };
        // A portal whose key is unknown on either side is taken for this one.
        for (ours, brought) in [
            (Some(OURS), Some(OURS)),
            (Some(OURS), Some("A223C6B3710F85DF22E9377D6C4F7553")),
            (Some(OURS), None),
            (None, Some(OURS)),
            (None, None),
        ] {
            let holder = Held { member_id: ours, ..holder };
            let brought = grant("R2", brought, brought_user);
            assert_eq!(admit(Some(&holder), &[], &brought, None, replace), want, "{row}");
        }
        let brought = grant("R2", Some(OTHER), brought_user);
        let found = admit(Some(&holder), &[], &brought, None, replace);
        assert_eq!(found, Err(Refused::AnotherPortal), "{row}");
    }
}

#[test]
fn a_refusal_says_what_to_do_and_no_secret() {
    let (at, generation) = (1_795_336_247, 3);
    for (refused, said) in [
        (Refused::UsedUp { at, generation }, "exchanged at 2026-11-22T08:30:47Z (generation 3)"),
        (Refused::Dead { at, generation }, "refused its refresh token for good at 2026-11-22"),
        (Refused::AnotherPortal, "belongs to another portal"),
        (Refused::AnotherUser { brought: 8, held: 7 }, "is user 8's, and the portal is connected"),
        (Refused::UserUnknown { held: Some(7) }, "has a working one, user 7's; a token response"),
        (Refused::UserUnknown { held: None }, "has a working one; a token response"),
        (Refused::HolderUnknown { brought: 7 }, "the working one does not say whose it is"),
    ] {
        assert!(refused.to_string().contains(said), "{refused}");
    }
}
