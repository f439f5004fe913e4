//! What a batch costs the worker before MongoDB sees it: reading its entries, and deciding what they write.

use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use ticket_shared::{
    domain::{Priority, Status, UserType},
    id::Id,
    stream::{Change, Entry, Head, NewMessage, VERSION},
};
use ticket_worker::fold::{fold, fold_apart};

/// Allocations are counted, too: unlike times, they are the same on every machine.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// How many entries a batch has.
const BATCH: usize = 1_000;
/// Over how many tickets they are spread.
const TICKETS: [usize; 3] = [1, 50, 1_000];

fn main() {
    divan::main();
}

fn id(group: u32, number: usize) -> Id {
    let mut bytes = [7; 12];
    bytes[..4].copy_from_slice(&group.to_be_bytes());
    bytes[4..].copy_from_slice(&(number as u64).to_be_bytes());
    Id::from_bytes(bytes)
}

/// Messages of `tickets` in turn, as the stream has them.
fn batch(tickets: usize) -> Vec<Entry> {
    let entry = |number: usize| {
        let seq = (number / tickets) as u64 + 2;
        Entry {
            version: VERSION,
            ticket_id: id(1, number % tickets),
            seq,
            prev_seq: seq - 1,
            at: 1_763_861_000_000,
            epoch: "0123456789abcdef".into(),
            message_count: seq - 1,
            change: Change::Message(NewMessage {
                id: id(2, number),
                sender_id: "customer-1".into(),
                sender_type: UserType::User,
                sender_name: "سارة".into(),
                content: "My order has not arrived yet, and the page says that it was delivered."
                    .into(),
                internal: false,
                client_message_id: None,
            }),
            head: Head {
                subject: "The order has not arrived".into(),
                status: Status::Open,
                priority: Priority::Normal,
                tags: r#"["orders"]"#.into(),
                agent_id: Some("agent-1".into()),
                agent_name: Some("Omar".into()),
                closed_at: None,
            },
            last: None,
            from_status: None,
            from_agent: None,
            prev_public_at: None,
            base: None,
        }
    };
    (0..BATCH).map(entry).collect()
}

#[divan::bench]
fn batch_decode(bencher: Bencher<'_, '_>) {
    let texts: Vec<Vec<u8>> = batch(50)
        .iter()
        .map(|entry| serde_json::to_vec(entry).expect("an entry is JSON"))
        .collect();
    bencher.counter(ItemsCount::new(BATCH)).bench(|| {
        let entries = texts.iter().map(|text| Entry::decode(black_box(text)));
        entries.collect::<Result<Vec<Entry>, _>>()
    });
}

#[divan::bench(args = TICKETS)]
fn batch_fold(bencher: Bencher<'_, '_>, tickets: usize) {
    let entries = batch(tickets);
    let entries: Vec<&Entry> = entries.iter().collect();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| fold(black_box(&entries)));
}

#[divan::bench(args = TICKETS)]
fn batch_fold_apart(bencher: Bencher<'_, '_>, tickets: usize) {
    let entries = batch(tickets);
    let entries: Vec<&Entry> = entries.iter().collect();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| fold_apart(black_box(&entries)));
}
