//! Every role and every action against every kind of ticket.

use serde_json::json;

use super::*;

fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

fn token(role: Role, tickets: Option<Vec<Id>>) -> Caller {
    Caller::Known(Arc::new(Claims {
        sub: "u1".into(),
        name: "سارة".into(),
        role,
        tickets,
        expires_at: 0,
        issued_at: None,
        token_id: None,
    }))
}

const ACTIONS: [Action; 11] = [
    Action::Read,
    Action::Write,
    Action::WriteInternal,
    Action::SetStatus(Status::Open),
    Action::SetStatus(Status::Pending),
    Action::SetStatus(Status::Closed),
    Action::Assign,
    Action::Open,
    Action::List,
    Action::Queue,
    Action::Revoke,
];

/// Whether an action on a ticket is done.
fn done(caller: &Caller, action: Action, ticket: Id, owner: Option<&str>) -> bool {
    caller
        .grant(action)
        .is_ok_and(|grant| grant.reach.admits(ticket, owner))
}

#[test]
fn a_user_touches_nothing_but_its_own() {
    let user = token(Role::User, None);
    for action in ACTIONS {
        for owner in [None, Some("u2"), Some(""), Some("U1"), Some("u1 ")] {
            assert!(!done(&user, action, id(1), owner), "{action:?} {owner:?}");
        }
        let for_agents = matches!(
            action,
            Action::WriteInternal
                | Action::SetStatus(Status::Pending)
                | Action::Assign
                | Action::Queue
                | Action::Revoke
        );
        assert_eq!(
            done(&user, action, id(1), Some("u1")),
            !for_agents,
            "{action:?}"
        );
        if let Ok(grant) = user.grant(action) {
            assert_eq!(grant.side, UserType::User, "{action:?}");
        }
    }
}

#[test]
fn a_token_for_certain_tickets_opens_those_and_no_other() {
    for role in [Role::User, Role::Agent, Role::Admin] {
        let caller = token(role, Some(vec![id(1)]));
        assert!(done(&caller, Action::Write, id(1), Some("u2")), "{role:?}");
        assert!(!done(&caller, Action::Write, id(2), Some("u1")), "{role:?}");
        assert!(!done(&caller, Action::Queue, id(1), Some("u1")), "{role:?}");
        let revoke = caller.grant(Action::Revoke);
        assert!(
            revoke.is_err(),
            "{role:?}: everybody is more than one ticket"
        );
    }
    assert!(!done(
        &token(Role::User, Some(vec![])),
        Action::Read,
        id(1),
        Some("u1")
    ));
}

#[test]
fn agents_work_on_all_tickets_and_only_admins_revoke() {
    for action in ACTIONS {
        for owner in [None, Some("u2")] {
            let agent = done(&token(Role::Agent, None), action, id(1), owner);
            assert_eq!(agent, action != Action::Revoke, "{action:?}");
            assert!(
                done(&token(Role::Admin, None), action, id(1), owner),
                "{action:?}"
            );
            let anyone = done(&Caller::Anyone, action, id(1), owner);
            assert_eq!(anyone, action != Action::Revoke, "{action:?}");
        }
    }
}

#[test]
fn who_sends_is_the_token_s_word() {
    let agent = token(Role::Admin, None);
    let mut payload = json!({"content": "c"});
    agent.sign(&mut payload, &Fields::SEND).unwrap();
    let signed =
        json!({"content": "c", "senderId": "u1", "senderType": "agent", "senderName": "سارة"});
    assert_eq!(payload, signed);

    let mut other_name = json!({"senderId": " u1 ", "senderName": "The boss"});
    agent.sign(&mut other_name, &Fields::SEND).unwrap();
    assert_eq!(other_name["senderName"], "سارة");

    for lie in [
        json!({"senderId": "u2"}),
        json!({"senderId": 7}),
        json!({"senderType": "user"}),
    ] {
        let refused = agent.sign(&mut lie.clone(), &Fields::SEND);
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{lie}");
    }
    // Left for the reading of the payload, which names the field.
    agent
        .sign(&mut json!({"senderId": [7]}), &Fields::SEND)
        .unwrap();
    agent.sign(&mut json!([]), &Fields::SEND).unwrap();

    let mut unsigned = json!({"senderId": "whoever"});
    Caller::Anyone.sign(&mut unsigned, &Fields::SEND).unwrap();
    assert_eq!(unsigned, json!({"senderId": "whoever"}));
}
