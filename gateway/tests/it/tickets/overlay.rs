//! Lists and counts while MongoDB is behind: what they cost, and that they show what was acknowledged.

use std::{collections::HashSet, rc::Rc};

use fred::{
    interfaces::{ClientLike, HashesInterface, SortedSetsInterface},
    types::{CustomCommand, Value},
};
use futures::future::join_all;
use mongodb::bson::{doc, oid::ObjectId};
use ticket_gateway::{
    access::Grant,
    ticket::{append::Change, list::Cursor},
};
use ticket_shared::{
    domain::{Status, Ticket},
    id::Id,
};

use super::{as_user, omar, parts, stored_ticket};
use crate::{
    server::Server,
    world::{World, in_world, in_world_on, message},
};

/// Opens a ticket of `user`.
async fn opened_by(world: &World, user: &str) -> Ticket {
    let (mut base, head) = parts("s");
    base.user_id = Some(user.to_owned());
    let id = Id::fresh().unwrap();
    let team = &Grant::TEAM;
    let opened = world.tickets.open(id, &base, &head, None, false, team);
    drop(opened.await.unwrap());
    world.tickets.ticket(id, &Grant::TEAM).await.unwrap()
}

async fn command(world: &World, name: &'static str, args: &[&str]) -> String {
    let command = CustomCommand::new_static(name, None, false);
    let answer: Value = world.redis.custom(command, args.to_vec()).await.unwrap();
    answer.as_string().unwrap_or_default()
}

/// How many commands Redis performed for `operation`, those of scripts included.
async fn commands_of<T>(world: &World, operation: impl Future<Output = T>) -> (u64, T) {
    command(world, "CONFIG", &["RESETSTAT"]).await;
    let done = Box::pin(operation).await;
    let stats = command(world, "INFO", &["commandstats"]).await;
    let own = ["cmdstat_config", "cmdstat_info"];
    let lines = stats.lines().filter(|line| {
        line.starts_with("cmdstat_") && !own.iter().any(|own| line.starts_with(own))
    });
    let calls = lines.map(|line| {
        let calls = line.split("calls=").nth(1).unwrap().split(',').next();
        calls.unwrap().parse::<u64>().unwrap()
    });
    (calls.sum(), done)
}

/// All pages of a list.
async fn pages(world: &World, limit: usize, grant: &Grant) -> Vec<Ticket> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = world.tickets.list(cursor, limit, grant).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= limit);
        cursor = Some(Cursor::of(last));
        all.extend(page);
    }
}

#[tokio::test]
async fn a_list_costs_its_limit_whatever_the_backlog() {
    let mut server = Server::absent();
    server.start();
    let test = |world: Rc<World>| async move {
        let mut costs = Vec::new();
        for more in [30, 3_000] {
            for _ in 0..more / 30 {
                join_all((0..30).map(|_| opened_by(&world, "u1"))).await;
            }
            opened_by(&world, "u2").await;
            let (all, listed) =
                commands_of(&world, Box::pin(world.tickets.list(None, 1, &Grant::TEAM))).await;
            assert_eq!(listed.unwrap().len(), 1);
            let user = as_user("u2");
            let (own, listed) =
                commands_of(&world, Box::pin(world.tickets.list(None, 50, &user))).await;
            let listed = listed.unwrap();
            assert!(
                listed
                    .iter()
                    .all(|ticket| ticket.user_id.as_deref() == Some("u2"))
            );
            costs.push((listed.len(), all, own));
        }
        assert_eq!((costs[0].0, costs[1].0), (1, 2));
        assert!(
            costs.iter().all(|(_, all, own)| *all < 20 && *own < 20),
            "{costs:?}"
        );
        let (touched, counts) = commands_of(&world, Box::pin(world.tickets.counts())).await;
        assert_eq!(counts.unwrap().total, 3_032);
        let (again, counts) = commands_of(&world, Box::pin(world.tickets.counts())).await;
        assert_eq!(counts.unwrap().total, 3_032);
        assert!(touched > 3_032 && again < 10, "{touched} {again}");

        // Two seconds' worth of lists at ten a second, all at once, of all tickets and of a customer's, beside sends.
        let ticket = opened_by(&world, "u1").await.id;
        let (many, user) = (as_user("u1"), &Grant::TEAM);
        let lists = (0..20).map(|n| {
            world
                .tickets
                .list(None, 1, if n % 2 == 0 { &many } else { user })
        });
        let sends = (0..20).map(|n| {
            world
                .tickets
                .send(ticket, message(ticket, &n.to_string(), None), user)
        });
        let both = Box::pin(async { tokio::join!(join_all(lists), join_all(sends)) });
        let (all, (listed, sent)) = commands_of(&world, both).await;
        assert!(listed.into_iter().all(|listed| listed.unwrap().len() == 1));
        assert!(sent.into_iter().all(|sent| sent.is_ok()));
        assert!(all < 20 * 20 + 20 * 30, "{all}");
    };
    Box::pin(in_world_on(&server.url(), test)).await;
}

#[tokio::test]
async fn what_was_opened_and_changed_is_listed_once_and_in_order() {
    in_world(|world| async move {
        let mut ids = HashSet::new();
        for n in 0..40 {
            let user = if n % 4 == 0 { "u1" } else { "u2" };
            ids.insert(opened_by(&world, user).await.id);
        }
        let mut stored = Vec::new();
        for _ in 0..5 {
            stored.push(stored_ticket(&world, 1).await);
        }
        ids.extend(&stored);
        let change = Change::Status(Status::Closed);
        world
            .tickets
            .change(stored[2], change, &omar(), None, &Grant::TEAM)
            .await
            .unwrap();
        for limit in [1, 7, 50] {
            let all = pages(&world, limit, &Grant::TEAM).await;
            let listed: HashSet<Id> = all.iter().map(|ticket| ticket.id).collect();
            assert_eq!((all.len(), &listed), (45, &ids), "{limit}");
            let places = all.iter().map(|ticket| (ticket.created_at, ticket.id));
            assert!(places.is_sorted_by(|a, b| a > b));
            let closed = all.iter().filter(|ticket| ticket.status == Status::Closed);
            assert_eq!(
                closed.map(|ticket| ticket.id).collect::<Vec<_>>(),
                [stored[2]]
            );
        }
        let own = pages(&world, 3, &as_user("u1")).await;
        assert_eq!(own.len(), 10 + 5);
        let these = Grant {
            reach: ticket_gateway::access::Reach::These(vec![own[0].id, own[12].id, stored[2]]),
            ..Grant::TEAM
        };
        assert!(pages(&world, 2, &these).await.len() >= 2);
        let counts = world.tickets.counts().await.unwrap();
        assert_eq!((counts.total, counts.closed, counts.open), (45, 1, 44));
        // Through another gateway, at once.
        let change = Change::Status(Status::Pending);
        world
            .tickets
            .change(stored[3], change, &omar(), None, &Grant::TEAM)
            .await
            .unwrap();
        let counts = world.tickets.counts().await.unwrap();
        assert_eq!((counts.total, counts.closed, counts.pending), (45, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn what_mongodb_has_by_now_leaves_the_index_and_stays_listed() {
    in_world(|world| async move {
        let ticket = opened_by(&world, "u1").await;
        let partition = world.keys.partition(ticket.id);
        // As a worker leaves it whose watermark never got to the index.
        let oid = ObjectId::from_bytes(ticket.id.bytes());
        let created = mongodb::bson::DateTime::from_millis(ticket.created_at.0);
        world
            .database
            .collection("tickets")
            .insert_one(doc! { "_id": oid, "subject": "s", "status": "open", "userId": "u1", "seq": 1_i64, "createdAt": created })
            .await
            .unwrap();
        let state = world.keys.state(ticket.id);
        let _: i64 = world.redis.hset(state, ("persisted", "1")).await.unwrap();
        for grant in [Grant::TEAM, as_user("u1")] {
            let listed = world.tickets.list(None, 5, &grant).await.unwrap();
            let listed: Vec<Id> = listed.iter().map(|ticket| ticket.id).collect();
            assert_eq!(listed, [ticket.id]);
        }
        for key in [
            world.keys.created(partition),
            world.keys.created_by(partition, "u1"),
        ] {
            let left: i64 = world.redis.zcard(key).await.unwrap();
            assert_eq!(left, 0);
        }
    })
    .await;
}
