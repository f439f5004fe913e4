//! Error codes of MongoDB, and what becomes of what they refuse: tried again, held up and said so, or parked.

use mongodb::bson::{Document, doc};
use ticket_shared::stream::Entry;
use ticket_testing::OpMsg;

use crate::{
    harness::{Running, World, until},
    refused::behind_proxy,
    sample::{Log, id},
};

/// The place of a code in an answer.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The command as a whole is refused.
    Command,
    /// Its first operation is.
    Write,
    /// It is done, and not confirmed.
    Concern,
}

impl Place {
    fn answer(self, code: i32, name: &str) -> Document {
        let error = doc! { "code": code, "codeName": name, "errmsg": "refused" };
        match self {
            Self::Command => {
                let mut answer = doc! { "ok": 0.0 };
                answer.extend(error);
                answer
            }
            Self::Write => {
                doc! { "ok": 1.0, "n": 0, "writeErrors": [{ "index": 0, "code": code, "errmsg": "refused" }] }
            }
            Self::Concern => doc! { "ok": 1.0, "n": 1, "writeConcernError": error },
        }
    }
}

/// A code, its name, and where it stands.
type Row = (i32, &'static str, Place);

/// Codes of a server that can't do it now.
const TRANSIENT: [Row; 26] = [
    (6, "HostUnreachable", Place::Command),
    (7, "HostNotFound", Place::Command),
    (24, "LockTimeout", Place::Command),
    (43, "CursorNotFound", Place::Command),
    (50, "MaxTimeMSExpired", Place::Command),
    (63, "StaleShardVersion", Place::Write),
    (64, "WriteConcernFailed", Place::Concern),
    (79, "UnknownReplWriteConcern", Place::Concern),
    (89, "NetworkTimeout", Place::Command),
    (91, "ShutdownInProgress", Place::Command),
    (91, "ShutdownInProgress", Place::Concern),
    (100, "UnsatisfiableWriteConcern", Place::Concern),
    (112, "WriteConflict", Place::Write),
    (133, "FailedToSatisfyReadPreference", Place::Command),
    (134, "ReadConcernMajorityNotAvailableYet", Place::Command),
    (150, "StaleEpoch", Place::Write),
    (189, "PrimarySteppedDown", Place::Command),
    (189, "PrimarySteppedDown", Place::Concern),
    (262, "ExceededTimeLimit", Place::Command),
    (10_107, "NotWritablePrimary", Place::Command),
    (11_600, "InterruptedAtShutdown", Place::Command),
    (11_602, "InterruptedDueToReplStateChange", Place::Command),
    (11_602, "InterruptedDueToReplStateChange", Place::Concern),
    (13_388, "StaleConfig", Place::Command),
    (13_435, "NotPrimaryNoSecondaryOk", Place::Command),
    (16_500, "TooManyRequests", Place::Write),
];

/// Codes that nobody here knows, some of which MongoDB has.
const UNKNOWN: [Row; 8] = [
    (1, "InternalError", Place::Command),
    (8, "UnknownError", Place::Write),
    (20, "IllegalOperation", Place::Command),
    (59, "CommandNotFound", Place::Command),
    (72, "InvalidOptions", Place::Command),
    (303, "NobodyKnows", Place::Write),
    (5_107_201, "Location5107201", Place::Command),
    (-7, "Negative", Place::Command),
];

/// Codes that are about one document.
const OF_A_DOCUMENT: [Row; 8] = [
    (2, "BadValue", Place::Write),
    (14, "TypeMismatch", Place::Write),
    (22, "InvalidBSON", Place::Command),
    (52, "DollarPrefixedFieldName", Place::Write),
    (66, "ImmutableField", Place::Write),
    (121, "DocumentValidationFailure", Place::Write),
    (10_334, "BSONObjectTooLarge", Place::Command),
    (17_280, "KeyTooLong", Place::Write),
];

/// Tries the rows of a table, parts of it side by side: nearly all of the time goes by between two tries.
async fn side_by_side(table: &[Row], part: impl AsyncFn(Vec<Row>)) {
    const PARTS: usize = 8;
    let rows = |first| table.iter().copied().skip(first).step_by(PARTS).collect();
    futures::future::join_all((0..PARTS).map(|first| part(rows(first)))).await;
}

/// A ticket that is stored, with a message that is not sent yet.
async fn stored(world: &World, number: u32, content: &str) -> Log {
    let mut log = Log::opened(id(number, 1));
    log.message(content, false);
    world.warm(&log).await;
    world.add(&log.entries[..1]).await;
    world.until_drained().await;
    log
}

async fn parked(world: &World) -> usize {
    let mut parked = 0;
    for partition in 0..world.keys.partitions() {
        parked += world.dead(partition).await.len();
    }
    parked
}

/// Sends what will be refused, with others beside it. What the proxy says of single operations is said of the first.
async fn send(world: &World, place: Place, poison: &Entry, fine: &[Entry]) {
    let poison = std::slice::from_ref(poison);
    if matches!(place, Place::Command) {
        world.add(&[poison, fine].concat()).await;
    } else {
        world.add(poison).await;
        world.until_drained().await;
        world.add(fine).await;
    }
    world.until_drained().await;
}

async fn is_stuck(running: &Running) -> bool {
    let (_, metrics) = running.ask("/metrics").await;
    metrics.contains("ticket_worker_batches_stuck 1")
}

async fn until_ready(running: &Running) {
    until("it is ready", async || {
        running.ask("/readyz").await.0 == 200
    })
    .await;
}

async fn until_tried(proxy: &OpMsg, times: usize) {
    let before = proxy.answered();
    until("it is tried again", async || {
        proxy.answered() >= before + times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_codes_are_tried_again_until_they_pass() {
    side_by_side(&TRANSIENT, async |rows| {
        let (world, proxy, uri) = behind_proxy().await;
        let running = world.start("w1", &["--mongo-uri", &uri]).await;
        let mut expected = 0;
        for (number, (code, name, place)) in (1..).zip(rows) {
            let log = stored(&world, number, "kept").await;
            // As the ways to write a batch go: a message, and its ticket.
            let command = if number % 2 == 0 { "insert" } else { "update" };
            proxy.inject(command, place.answer(code, name));
            world.add(&log.entries[1..]).await;
            until_tried(&proxy, 2).await;
            assert_eq!(parked(&world).await, 0, "{code} {place:?}");
            assert!(!is_stuck(&running).await, "{code} {place:?} is understood");
            proxy.clear();
            world.until_drained().await;
            expected += 1;
            assert_eq!(world.count("messages").await, expected, "{code} {place:?}");
            let ticket = world.ticket(log.ticket).await.unwrap();
            assert_eq!(ticket["seq"], 2_i64.into(), "{code} {place:?}");
        }
        until_ready(&running).await;
        world.finish([running]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_that_nobody_knows_hold_the_batch_up_and_say_so() {
    side_by_side(&UNKNOWN, async |rows| {
        let (world, proxy, uri) = behind_proxy().await;
        let settings = ["--mongo-uri", &uri, "--park-after-ms", "600000"];
        let running = world.start("w1", &settings).await;
        let mut expected = 0;
        for (number, (code, name, place)) in (1..).zip(rows) {
            let log = stored(&world, number, "kept").await;
            until_ready(&running).await;
            let command = if number % 2 == 0 { "insert" } else { "update" };
            proxy.inject(command, place.answer(code, name));
            world.add(&log.entries[1..]).await;
            until("it says so", async || {
                let (status, body) = running.ask("/readyz").await;
                status == 503 && body.contains("\"stuck\"") && body.contains(&code.to_string())
            })
            .await;
            assert!(is_stuck(&running).await, "{code} {place:?}");
            until_tried(&proxy, 1).await;
            assert_eq!(parked(&world).await, 0, "{code} {place:?}");
            proxy.clear();
            world.until_drained().await;
            expected += 1;
            assert_eq!(world.count("messages").await, expected, "{code} {place:?}");
            until_ready(&running).await;
            assert!(!is_stuck(&running).await, "{code} {place:?}");
        }
        world.finish([running]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_meets_an_unknown_code_is_parked_after_the_time_for_it() {
    side_by_side(&UNKNOWN, async |rows| {
        let (world, proxy, uri) = behind_proxy().await;
        let settings = ["--mongo-uri", &uri, "--park-after-ms", "300"];
        let running = world.start("w1", &settings).await;
        let mut expected = 0;
        for (number, (code, name, place)) in (1..).zip(rows) {
            let mut log = stored(&world, number, "poison").await;
            log.message("fine", false);
            let neighbour = stored(&world, 100 + number, "fine, too").await;
            proxy.inject_about("insert", "poison", place.answer(code, name));
            let fine = [&log.entries[2..], &neighbour.entries[1..]].concat();
            send(&world, place, &log.entries[1], &fine).await;
            proxy.clear();
            expected += 2;
            assert_eq!(world.count("messages").await, expected, "{code} {place:?}");
            let dead = world.dead(world.keys.partition(log.ticket)).await;
            let reason = format!("refused: MongoDB error {code}");
            let last = dead.last().expect("it is parked");
            assert_eq!(last["reason"], reason.as_bytes(), "{code} {place:?}");
            assert_eq!(parked(&world).await, usize::try_from(number).unwrap());
            until("it is stuck no more", async || !is_stuck(&running).await).await;
        }
        until_ready(&running).await;
        world.finish([running]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_of_all_documents_is_the_servers_and_parks_none() {
    let (world, proxy, uri) = behind_proxy().await;
    let settings = ["--mongo-uri", &uri, "--park-after-ms", "100"];
    let mut log = Log::opened(id(1, 1));
    log.message("one", false).message("two", false);
    world.append(&log).await;
    proxy.refuse(&["insert"], 20, "IllegalOperation");
    // All of them are in its first batch.
    let running = world.start("w1", &settings).await;
    until("it is stuck", async || is_stuck(&running).await).await;
    // Several rounds of looking for the document.
    until_tried(&proxy, 12).await;
    assert_eq!(parked(&world).await, 0);
    assert_eq!(running.ask("/readyz").await.0, 503);
    proxy.clear();
    world.until_drained().await;
    assert_eq!(world.count("messages").await, 2);
    until_ready(&running).await;
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_about_a_document_park_it_and_nothing_else() {
    side_by_side(&OF_A_DOCUMENT, async |rows| {
        let (world, proxy, uri) = behind_proxy().await;
        let running = world.start("w1", &["--mongo-uri", &uri]).await;
        let mut expected = 0;
        for (number, (code, name, place)) in (1..).zip(rows) {
            let log = stored(&world, number, "poison").await;
            let neighbour = stored(&world, 100 + number, "fine").await;
            proxy.inject_about("insert", "poison", place.answer(code, name));
            send(&world, place, &log.entries[1], &neighbour.entries[1..]).await;
            proxy.clear();
            expected += 1;
            assert_eq!(world.count("messages").await, expected, "{code} {place:?}");
            let last = world.dead(world.keys.partition(log.ticket)).await;
            let last = last.last().expect("it is parked");
            let reason = format!("refused: MongoDB error {code}");
            assert_eq!(last["reason"], reason.as_bytes(), "{code} {place:?}");
            assert_eq!(last["tries"], b"5");
            assert!(!is_stuck(&running).await, "{code} {place:?}");
        }
        world.finish([running]).await;
    })
    .await;
}
