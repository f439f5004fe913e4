use super::*;

const LIMITS: Limits = Limits {
    backlog: 1_000,
    memory_percent: 80,
    hot_for: Duration::ZERO,
};

#[test]
fn the_fullest_server_is_the_one_with_the_least_room() {
    const GIB: u64 = 1 << 30;
    assert!(fuller((30 * GIB, 32 * GIB), (20 * GIB, 32 * GIB)));
    assert!(fuller((1, 2), (60 * GIB, 64 * GIB * 2)));
    assert!(
        fuller((1, 1_000), (60 * GIB, 0)),
        "one without a bound hides no other"
    );
    assert!(!fuller((60 * GIB, 0), (1, 1_000)));
}

#[test]
fn partitions_of_one_server_share_its_memory() {
    let sight = |server, used| Sight {
        server,
        memory: Memory { used, allowed: 9 },
        ..Sight::default()
    };
    let (a, b) = (run("00000000000000ffee"), run("0000000000000100ee"));
    assert_eq!((a, b, run("short")), (Some(255), Some(256), None));
    let mut seen = [
        sight(a, 1),
        sight(b, 2),
        sight(a, 3),
        sight(None, 4),
        sight(None, 5),
        sight(b, 6),
    ];
    share_memory(&mut seen);
    assert_eq!(seen.map(|sight| sight.memory.used), [1, 2, 1, 4, 5, 2]);
}

#[test]
fn either_limit_refuses_and_healing_needs_some_room() {
    let look = |backlog, used, allowed| Look {
        backlog,
        used,
        allowed,
        ..Look::default()
    };
    let (memory, backlog) = (Some(Limit::Memory), Some(Limit::Backlog));
    assert_eq!(over(look(1_000, 800, 1_000), LIMITS, None), None);
    assert_eq!(over(look(1_001, 0, 0), LIMITS, None), backlog);
    assert_eq!(over(look(0, 801, 1_000), LIMITS, None), memory);
    assert_eq!(over(look(1_001, 801, 1_000), LIMITS, None), memory);
    assert_eq!(over(look(950, 0, 0), LIMITS, backlog), backlog);
    assert_eq!(over(look(950, 0, 0), LIMITS, memory), None);
    assert_eq!(over(look(0, 730, 1_000), LIMITS, memory), memory);
    assert_eq!(over(look(900, 720, 1_000), LIMITS, memory), None);
    assert_eq!(
        over(look(0, u64::MAX, 0), LIMITS, None),
        None,
        "without a bound there is none"
    );
}
