use proptest::prelude::*;

use super::*;

/// Events per second of the one identity.
const RATE: u32 = 20;
/// How often gateways exchange what they know: the real ones do at once, too, where there is news.
const EXCHANGE: Duration = Duration::from_millis(500);

fn ledger(connection: u32, identity: u32, address: u32, abuse: u32) -> Arc<Ledger> {
    let rate = |per_second: u32, times| Rate::new(per_second, per_second.saturating_mul(times));
    Ledger::new(
        rate(connection, 4),
        rate(identity, 2),
        rate(address, 2),
        abuse,
    )
}

fn here() -> IpAddr {
    "10.0.0.1".parse().unwrap()
}

/// What one step of a client is.
#[derive(Debug, Clone)]
enum Step {
    Connect(usize),
    Send(usize, u32),
    /// Leaves the namespace and enters it again, over the same session.
    Rejoin(usize),
    Disconnect(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => any::<usize>().prop_map(Step::Connect),
        6 => (any::<usize>(), 1..120_u32).prop_map(|(which, count)| Step::Send(which, count)),
        1 => any::<usize>().prop_map(Step::Rejoin),
        1 => any::<usize>().prop_map(Step::Disconnect),
        3 => (1..900_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

/// Several gateways, and what Redis does between them.
struct Cluster {
    gateways: Vec<Arc<Ledger>>,
    paid_back: HashMap<Owner, Instant>,
    now: Instant,
    exchanged: Instant,
    sessions: usize,
    open: Vec<(usize, String, EventRate)>,
    accepted: Vec<Instant>,
}

impl Cluster {
    fn new(gateways: usize, abuse: u32) -> Self {
        let now = Instant::now();
        Self {
            gateways: (0..gateways)
                .map(|_| ledger(RATE, RATE, 1_000, abuse))
                .collect(),
            paid_back: HashMap::new(),
            now,
            exchanged: now,
            sessions: 0,
            open: Vec::new(),
            accepted: Vec::new(),
        }
    }

    fn connect(&mut self, gateway: usize) {
        let gateway = gateway % self.gateways.len();
        self.sessions += 1;
        let session = self.sessions.to_string();
        let rate = self.rate(gateway, &session);
        self.open.push((gateway, session, rate));
    }

    fn rate(&self, gateway: usize, session: &str) -> EventRate {
        let ledger = &self.gateways[gateway];
        EventRate::new(ledger, session, Some("user:a"), Some(here()), self.now)
    }

    fn step(&mut self, step: &Step) {
        let open = self.open.len().max(1);
        match *step {
            Step::Connect(gateway) => self.connect(gateway),
            Step::Send(which, count) => {
                for _ in 0..count {
                    let Some((_, _, rate)) = self.open.get(which % open) else {
                        return;
                    };
                    if rate.take(self.now).is_ok() {
                        self.accepted.push(self.now);
                    }
                    self.pass(Duration::from_millis(1));
                }
            }
            Step::Rejoin(which) if which % open < self.open.len() => {
                let (gateway, session, rate) = self.open.swap_remove(which % open);
                // The new one may be there before the old one is gone.
                let again = self.rate(gateway, &session);
                drop(rate);
                self.open.push((gateway, session, again));
            }
            Step::Disconnect(which) if which % open < self.open.len() => {
                drop(self.open.swap_remove(which % open));
            }
            Step::Rejoin(_) | Step::Disconnect(_) => {}
            Step::Wait(ms) => self.pass(Duration::from_millis(ms)),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.now.duration_since(self.exchanged) < EXCHANGE {
            return;
        }
        self.exchanged = self.now;
        for gateway in &self.gateways {
            for news in gateway.take_news() {
                if let News::Used(owner, used) = news {
                    let paid_back = self.paid_back.entry(owner).or_insert(self.now);
                    *paid_back = self.now.max(*paid_back) + used;
                }
            }
        }
        for gateway in &self.gateways {
            for (owner, paid_back) in &self.paid_back {
                let debt = paid_back.saturating_duration_since(self.now);
                if !debt.is_zero() {
                    gateway.learn_debt(*owner, debt, self.now);
                }
            }
        }
    }

    /// The most that were accepted within ten seconds.
    fn most_in_ten_seconds(&self) -> usize {
        let within = |(i, first): (usize, &Instant)| {
            let end = *first + Duration::from_secs(10);
            self.accepted[i..].partition_point(|at| *at < end)
        };
        self.accepted
            .iter()
            .enumerate()
            .map(within)
            .max()
            .unwrap_or(0)
    }
}

const MOST: usize = 15 * RATE as usize;

proptest! {
    #[test]
    fn no_sequence_gets_more_than_one_and_a_half_times_the_rate(gateways in 1..=3_usize, steps in steps()) {
        let mut cluster = Cluster::new(gateways, 0);
        cluster.connect(0);
        for step in &steps {
            cluster.step(step);
        }
        let most = cluster.most_in_ten_seconds();
        prop_assert!(most <= MOST, "{most} accepted within ten seconds");
    }
}

#[test]
fn a_flood_over_ten_connections_and_three_gateways_is_bounded_and_not_starved() {
    let mut cluster = Cluster::new(3, 0);
    (0..10).for_each(|i| cluster.connect(i));
    for round in 0..300 {
        cluster.step(&Step::Send(round % 10, 100));
    }
    let most = cluster.most_in_ten_seconds();
    assert!(most <= MOST, "{most}");
    let seconds = 30;
    let all = cluster.accepted.len();
    assert!(all >= seconds * RATE as usize * 8 / 10, "{all} accepted");
}

#[test]
fn tabs_of_one_person_do_not_hurt_each_other() {
    let mut cluster = Cluster::new(2, 0);
    (0..2).for_each(|i| cluster.connect(i));
    // Each at a third of the rate.
    for _ in 0..200 {
        cluster.step(&Step::Send(0, 1));
        cluster.step(&Step::Send(1, 1));
        cluster.step(&Step::Wait(148));
    }
    assert_eq!(cluster.accepted.len(), 400);
}

#[test]
fn leaving_and_reconnecting_gives_nothing_back() {
    let ledger = ledger(10, 0, 0, 0);
    let mut now = Instant::now();
    let mut accepted = 0;
    for i in 0..40 {
        let session = if i % 2 == 0 { "same" } else { "other" };
        let rate = EventRate::new(&ledger, session, None, Some(here()), now);
        accepted += (0..100).filter(|_| rate.take(now).is_ok()).count();
        now += Duration::from_millis(100);
    }
    assert!((40..=40 + 40).contains(&accepted), "{accepted}");
    // Another address has its own.
    let other = EventRate::new(&ledger, "x", None, Some("10.0.0.2".parse().unwrap()), now);
    assert_eq!((0..100).filter(|_| other.take(now).is_ok()).count(), 40);
}

#[test]
fn refusals_count_as_abuse_over_all_connections_of_an_identity() {
    let ledger = ledger(0, 1, 0, 6);
    let now = Instant::now();
    let rate = |session| EventRate::new(&ledger, session, Some("user:a"), Some(here()), now);
    let (one, two) = (rate("one"), rate("two"));
    let refused = |rate: &EventRate| rate.take(now).unwrap_err();
    (0..2).for_each(|_| one.take(now).unwrap());
    let abuse = [&one, &two, &one, &two, &one, &two].map(|rate| refused(rate).abuse);
    assert_eq!(abuse, [false, false, false, false, false, true]);
    let banned = refused(&one);
    assert_eq!((banned.scope, banned.wait.as_secs()), (ABUSE, 1));
    assert_eq!(
        ledger.take_news().first(),
        Some(&News::Ban(Owner::identity("user:a")))
    );
    // Who stands behind the same address is somebody else.
    let neighbour = EventRate::new(&ledger, "three", Some("user:b"), Some(here()), now);
    neighbour.take(now).unwrap();
    ledger.request(Owner::address(here()), now).unwrap();
}

#[test]
fn without_a_token_the_address_is_turned_away_but_its_other_connections_go_on() {
    let ledger = ledger(1, 0, 0, 2);
    let now = Instant::now();
    let rate = |session| EventRate::new(&ledger, session, None, Some(here()), now);
    let (flooding, other) = (rate("one"), rate("two"));
    let abuse = (0..10)
        .filter(|_| flooding.take(now).is_err_and(|refusal| refusal.abuse))
        .count();
    assert!(abuse > 0);
    other.take(now).unwrap();
    let refusal = ledger.request(Owner::address(here()), now).unwrap_err();
    assert_eq!(refusal.scope, ABUSE);
    let later = now + Duration::from_secs(1);
    ledger.request(Owner::address(here()), later).unwrap();
}

#[test]
fn the_table_of_owners_is_swept() {
    let ledger = ledger(1, 1, 1, 0);
    let now = Instant::now();
    let kept = EventRate::new(&ledger, "s", Some("user:kept"), None, now);
    for i in 0..OWNERS {
        ledger
            .request(Owner::identity(&i.to_string()), now)
            .unwrap();
    }
    // What is to be reported is not dropped before.
    assert!(!ledger.take_news().is_empty());
    let later = now + Duration::from_secs(20);
    for i in 0..OWNERS {
        ledger
            .request(Owner::identity(&format!("x{i}")), later)
            .unwrap();
    }
    let table = lock(&ledger.table);
    assert!(table.owners.len() <= OWNERS + 2, "{}", table.owners.len());
    let owner = Owner::identity("user:kept");
    assert!(table.owners.contains_key(&owner));
    drop(table);
    drop(kept);
}
