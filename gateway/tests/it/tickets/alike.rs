//! A ticket of somebody else costs what one costs that does not exist: the same commands reach Redis and MongoDB.

use std::time::Duration;

use fred::interfaces::ClientLike;
use ticket_gateway::{
    access::Grant,
    error::Error,
    store::Store,
    ticket::{Tickets, append::Change, commit::Commit, view::Part},
    watch::Watch,
};
use ticket_shared::{config::Secret, domain::Status, id::Id, redis};

use super::{as_user, latest, omar, opened, stored_ticket};
use crate::{
    recorder::Recorder,
    world::{World, in_world, message},
};

/// Everything that a stranger may try on one ticket. Returns what reached both servers meanwhile, with the ticket's id
/// replaced.
async fn tried(tickets: &Tickets, id: Id, servers: &[Recorder; 2]) -> Vec<String> {
    let stranger = as_user("stranger");
    let [redis, mongo] = servers;
    let mut seen = Vec::new();
    let mut note = |what: &str, refused: Option<Error>| {
        assert!(
            matches!(refused, Some(Error::TicketNotFound)),
            "{what}: {refused:?}"
        );
        let commands = redis.commands().into_iter().map(|words| {
            let words = words.iter().map(|word| word.replace(&id.to_string(), "ID"));
            // A group of appends brings a name for the epoch that it may begin.
            words
                .filter(|word| word.parse::<Id>().is_err())
                .collect::<Vec<_>>()
                .join(" ")
        });
        seen.push(what.to_owned());
        seen.extend(commands);
        seen.extend(
            mongo
                .requests()
                .into_iter()
                .map(|request| format!("{request:?}")),
        );
    };
    note("ticket", tickets.ticket(id, &stranger).await.err());
    note(
        "messages",
        tickets.messages(id, latest(5), &stranger).await.err(),
    );
    note("permit", tickets.permit(id, &stranger.reach).await.err());
    let text = message(Id::from_bytes([9; 12]), "psst", Some("c"));
    note("send", tickets.send(id, text, &stranger).await.err());
    let close = Change::Status(Status::Closed);
    note(
        "change",
        tickets
            .change(id, close, &omar(), None, &stranger)
            .await
            .err(),
    );
    seen
}

/// A ticket that does not exist, in the partition of another.
fn absent(world: &World, like: Id) -> Id {
    let fresh = std::iter::repeat_with(|| Id::fresh().unwrap());
    let mut alike = fresh.filter(|id| world.keys.partition(*id) == world.keys.partition(like));
    alike.next().unwrap()
}

#[tokio::test]
async fn a_foreign_ticket_and_an_absent_one_cost_the_same() {
    in_world(|world| async move {
        let servers = [
            Recorder::of(&world.redis_url).await,
            Recorder::of(&world.mongo_uri).await,
        ];
        let client =
            redis::client(&Secret::new(format!("redis://{}", servers[0].address))).unwrap();
        client.init().await.unwrap();
        let (_, rest) = world.mongo_uri.split_once("://").unwrap();
        let (_, rest) = rest.split_once('/').unwrap();
        let direct = if rest.contains('?') { "&" } else { "?" };
        // Else the driver asks the server for its address, and goes there past the proxy.
        let uri = format!(
            "mongodb://{}/{rest}{direct}directConnection=true",
            servers[1].address
        );
        let uri = Secret::new(uri.replace("?&", "?"));
        let store = Store::new(&uri, world.life.clone(), Duration::from_secs(20)).unwrap();
        let commit = Commit::start(&client, &world.keys, &world.life);
        let tickets = Tickets::new(
            client.clone(),
            world.keys.clone(),
            store,
            Watch::default(),
            commit,
        );

        let cold = stored_ticket(&world, 3).await;
        let warm = stored_ticket(&world, 3).await;
        world.tickets.read(warm, Part::NONE).await.unwrap();
        let new = opened(&world).await.id;
        world
            .tickets
            .send(new, message(new, "m", None), &Grant::TEAM)
            .await
            .unwrap();
        // The scripts' texts and the connections come with the first calls.
        tried(&tickets, absent(&world, cold), &servers).await;
        for (kind, foreign) in [("cold", cold), ("warm", warm), ("new", new)] {
            let absent = tried(&tickets, absent(&world, foreign), &servers).await;
            assert!(
                absent.iter().any(|line| line.contains("find")),
                "{absent:?}"
            );
            assert!(
                absent.iter().any(|line| line.contains("EVALSHA")),
                "{absent:?}"
            );
            assert_eq!(tried(&tickets, foreign, &servers).await, absent, "{kind}");
        }
        let _: () = client.quit().await.unwrap();
    })
    .await;
}
