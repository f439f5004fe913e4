//! Who types in a ticket: a person types while one of its tabs does.

use std::{collections::HashMap, time::Duration};

use ticket_shared::{
    domain::UserType,
    event::{TypingIndicator, server},
    stream::Signal,
};
use tokio::time::Instant;

use super::{
    Room,
    emit::{TYPING, of},
    outbox::Whom,
};

/// A renewal is told again after this time at the earliest, however many tabs renew.
const RENEWAL: Duration = Duration::from_millis(900);

/// A person who types. A customer and an agent may have the same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Typist {
    /// The side; nothing if neither a token nor a join has said it.
    side: Option<UserType>,
    id: String,
}

/// The typing of one person.
pub(super) struct Typing {
    name: String,
    /// Until when each of its tabs types, by socket.
    tabs: HashMap<String, Instant>,
    told_at: Instant,
}

impl Typing {
    /// When each of its tabs stops, unless it is renewed.
    pub(super) fn ends(&self) -> impl Iterator<Item = Instant> {
        self.tabs.values().copied()
    }
}

/// What a signal of one tab changes for the others.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Types,
    Ceased,
}

/// Notes that a tab types, or no longer.
fn note(
    typing: &mut HashMap<Typist, Typing>,
    typist: &Typist,
    name: &str,
    tab: &str,
    types: bool,
    now: Instant,
) -> Told {
    if types {
        let known = typing.contains_key(typist);
        let one = typing.entry(typist.clone()).or_insert_with(|| Typing {
            name: name.to_owned(),
            tabs: HashMap::new(),
            told_at: now,
        });
        one.tabs.insert(tab.to_owned(), now + TYPING);
        if known && now.duration_since(one.told_at) < RENEWAL {
            return Told::Nothing;
        }
        name.clone_into(&mut one.name);
        one.told_at = now;
        return Told::Types;
    }
    let Some(one) = typing.get_mut(typist) else {
        return Told::Nothing;
    };
    one.tabs.remove(tab);
    if !one.tabs.is_empty() {
        return Told::Nothing;
    }
    typing.remove(typist);
    Told::Ceased
}

impl Room {
    /// A tab says that its person types, or no longer.
    pub(super) async fn typing(&mut self, signal: Signal) {
        let Signal::Typing {
            sender_id,
            sender_name,
            sender_type,
            is_typing,
            from,
        } = signal
        else {
            return;
        };
        let typist = Typist {
            side: sender_type,
            id: sender_id,
        };
        let now = Instant::now();
        let told = note(
            &mut self.typing,
            &typist,
            &sender_name,
            &from,
            is_typing,
            now,
        );
        if told != Told::Nothing {
            self.tell_typing(typist, sender_name, told == Told::Types, Some(from))
                .await;
        }
    }

    /// Ends the typing of the tabs whose time is over.
    pub(super) async fn end_typing(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (typist, typing) in &mut self.typing {
            typing.tabs.retain(|_, until| *until > now);
            if typing.tabs.is_empty() {
                over.push(typist.clone());
            }
        }
        for typist in over {
            self.ceased(typist).await;
        }
    }

    /// Ends the typing of a person who wrote, in all of its tabs.
    pub(super) async fn no_longer_typing(&mut self, side: UserType, id: &str) {
        for side in [Some(side), None] {
            let id = id.to_owned();
            self.ceased(Typist { side, id }).await;
        }
    }

    async fn ceased(&mut self, typist: Typist) {
        if let Some(typing) = self.typing.remove(&typist) {
            self.tell_typing(typist, typing.name, false, None).await;
        }
    }

    /// Tells the others, not the tabs of the one who types.
    async fn tell_typing(
        &mut self,
        typist: Typist,
        sender_name: String,
        is_typing: bool,
        from: Option<String>,
    ) {
        // A client may type under another id than it joined with.
        let sender = from
            .and_then(|socket| self.members.get(&socket.parse().ok()?))
            .map(|member| of(member.person()));
        let sides = match typist.side {
            Some(side) => vec![side],
            None => vec![UserType::User, UserType::Agent],
        };
        let mut but: Vec<_> = sides
            .into_iter()
            .map(|side| (side, typist.id.clone()))
            .collect();
        but.extend(sender);
        let expires_in_ms = if is_typing {
            u64::try_from(TYPING.as_millis()).unwrap_or(0)
        } else {
            0
        };
        let event = TypingIndicator {
            ticket_id: self.ticket,
            sender_id: typist.id,
            sender_name,
            is_typing,
            expires_in_ms,
        };
        self.to(Whom::AllBut(but), server::TYPING_INDICATOR, &event)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typist(side: UserType) -> Typist {
        Typist {
            side: Some(side),
            id: "1".into(),
        }
    }

    #[test]
    fn of_two_tabs_the_last_one_ends_the_typing() {
        let (mut all, ann, now) = (HashMap::new(), typist(UserType::User), Instant::now());
        let mut tab = |tab, types| note(&mut all, &ann, "Ann", tab, types, now);
        assert_eq!(tab("a", true), Told::Types);
        assert_eq!(tab("b", true), Told::Nothing);
        assert_eq!(tab("a", false), Told::Nothing);
        assert_eq!(tab("a", false), Told::Nothing, "said twice");
        assert_eq!(tab("b", false), Told::Ceased);
        assert_eq!(tab("b", false), Told::Nothing);
    }

    #[test]
    fn a_customer_and_an_agent_of_one_id_type_by_themselves() {
        let (mut all, now) = (HashMap::new(), Instant::now());
        for side in [UserType::User, UserType::Agent] {
            let told = note(&mut all, &typist(side), "n", "a", true, now);
            assert_eq!(told, Told::Types);
        }
        let user = typist(UserType::User);
        assert_eq!(note(&mut all, &user, "n", "a", false, now), Told::Ceased);
        assert!(all.contains_key(&typist(UserType::Agent)));
    }
}
