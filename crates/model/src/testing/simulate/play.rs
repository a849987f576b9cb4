//! Random life cycles of devices, and streams with missing records.

use p2p_trace_common::{Hook, Ring};
use proptest::prelude::*;

use super::{ARMED, Kernel, Order};
use crate::{
    event::{Event, Loss, Reason, SkipRow, user},
    stream::assemble::Element,
};

/// One action: small numbers, each taken modulo the number of choices.
pub type Act = (u8, u8, u8, u8);

/// The actions of a run.
pub fn acts() -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(any::<Act>(), 1..120)
}

/// Number of devices.
pub const DEVICES: u8 = 2;

/// A run in which each teardown runs to its end at once.
pub fn play(acts: &[Act], nested_frees: bool) -> Kernel {
    let mut kernel = Kernel::new(DEVICES);
    kernel.nested_frees = nested_frees;
    for &act in acts {
        act_once(&mut kernel, act);
        let device = usize::from(act.1 % DEVICES);
        while kernel.advance(device) {}
    }
    kernel
}

/// Continues a run, with teardowns that proceed step by step while other tasks allocate and free memory. It
/// has no faults.
pub fn interleave(kernel: &mut Kernel, acts: &[Act]) {
    for &act in acts {
        interleave_once(kernel, act);
    }
}

/// One action of [`interleave`].
pub fn interleave_once(kernel: &mut Kernel, act: Act) {
    let (action, target, actor, detail) = act;
    let device = usize::from(target % DEVICES);
    if kernel.is_crashed(device) {
        return;
    }
    let during = actor % TEARDOWN;
    match (kernel.is_pending(device), action % 4) {
        (true, 0..=1) => _ = kernel.advance(device),
        (true, _) if !kernel.is_bound(device) => _ = kernel.advance(device),
        // No task may allocate while the pool has a dead chunk: every kernel may read freed memory then.
        (true, _) if kernel.has_dead_chunk(device) && ALLOCATING.contains(&during) => {}
        (true, _) => act_once(kernel, (during, target, action, detail)),
        (false, _) if action % 16 == 5 => map_something(kernel, device, actor),
        (false, _) => act_once(kernel, act),
    }
}

fn map_something(kernel: &mut Kernel, device: usize, actor: u8) {
    let tokens: Vec<_> = kernel.outstanding(device).map(|(token, _)| token).collect();
    if let Some(&token) = tokens.get(usize::from(actor) % tokens.len().max(1)) {
        kernel.map(token, u32::from(actor % 5) + 60);
    }
}

/// The actions of [`act_once`] that allocate.
const ALLOCATING: std::ops::RangeInclusive<u8> = 0..=8;
/// The action that begins a teardown.
const TEARDOWN: u8 = 15;

fn act_once(kernel: &mut Kernel, (action, target, actor, detail): Act) {
    let device = usize::from(target % DEVICES);
    let pid = 10 + u32::from(actor % 7);
    let pages = u64::from(detail % 5) + 1;
    if !kernel.is_bound(device) {
        kernel.bind(device, pid, &[24, 16][..=usize::from(detail % 2)]);
        return;
    }
    let nth = |kernel: &Kernel| {
        let tokens: Vec<_> = kernel.outstanding(device).map(|(token, _)| token).collect();
        (!tokens.is_empty()).then(|| tokens[usize::from(actor) % tokens.len()])
    };
    match action % (TEARDOWN + 1) {
        0..=3 => _ = kernel.alloc(device, pid, pages),
        4 | 5 => _ = kernel.alloc_list(device, pid, pages),
        6..=8 if actor % 16 == 3 => _ = kernel.mmap_failing(device, pid, pages, pages - 1),
        6..=8 => _ = kernel.mmap(device, pid, pages),
        9..=12 => {
            if let Some(token) = nth(kernel) {
                kernel.free(token, pid + 20, usize::from(detail % 4) + 1);
            }
        }
        13 => kernel.flush(),
        14 => kernel.snapshot(device, detail % 8 != 0),
        TEARDOWN if detail % 4 == 0 => kernel.begin(device, pid, Order::Right),
        _ => kernel.user(user::Writer::tick),
    }
}

/// A kernel whose stream first reports that every hook except the armed ones is attached.
pub fn watched() -> Kernel {
    let mut kernel = Kernel::new(DEVICES);
    let hooks = Hook::ALL.iter().copied().filter(|hook| !ARMED.contains(hook));
    kernel.attach(hooks, true);
    kernel.armed = Some(false);
    kernel
}

/// The number of elements at the start of [`watched`].
pub const fn head() -> usize {
    Hook::ALL.len() - ARMED.len()
}

fn ring_of(element: &Element) -> Option<(Ring, u64, u64)> {
    match element {
        Element::Event(event) => {
            let Event { id, time_ns, .. } = **event;
            Some((id.ring(), id.seq >> 1, time_ns))
        }
        _ => None,
    }
}

/// The stream without the events selected by `lose`, and with losses that report them.
pub fn with_losses(elements: &[Element], lose: impl Fn(usize) -> bool) -> Vec<Element> {
    let mut kept = Vec::new();
    for (place, element) in elements.iter().enumerate() {
        match ring_of(element).filter(|_| lose(place)) {
            Some((ring, position, time_ns)) => kept.push(Element::Loss(Loss {
                cpu: Some(0),
                ring,
                first: position,
                last: position,
                from_ns: time_ns,
                to_ns: time_ns,
                reason: Reason::Overwritten,
                hook: None,
            })),
            None => kept.push(element.clone()),
        }
    }
    kept
}

/// The stream without the events selected by `lose`, as if the kernel had skipped the runs that write them.
/// Losses are reported by hook: `late` elements later for records of the hot ring, and at once for those of
/// the rare ring. (A step that is missed where it is expected is reported at once; a later report of the
/// skipped run would come too late.)
pub fn with_skips(elements: &[Element], lose: impl Fn(usize) -> bool, late: usize) -> Vec<Element> {
    let mut kept = Vec::new();
    let mut unreported: Vec<(usize, Hook, u64)> = Vec::new();
    for (place, element) in elements.iter().enumerate() {
        match element {
            // Unanswered snapshot reads are repeated.
            Element::Event(event) if lose(place) && event.hook != Hook::Snapshot => {
                unreported.push((place, event.hook, event.time_ns));
            }
            _ => kept.push(element.clone()),
        }
        let is_end = place + 1 == elements.len();
        let now_ns = time_of(element);
        unreported.retain(|&(at, hook, since_ns)| {
            let late = if SkipRow::of(hook).ring == Ring::Hot { late } else { 0 };
            let is_due = is_end || at + late <= place && now_ns.is_some();
            if is_due {
                let to_ns = now_ns.unwrap_or(since_ns).max(since_ns);
                kept.push(Element::Loss(Loss::of_hook(hook, 1, since_ns, to_ns)));
            }
            !is_due
        });
    }
    kept
}

fn time_of(element: &Element) -> Option<u64> {
    match element {
        Element::Event(event) => Some(event.time_ns),
        Element::User(record) => Some(record.time_ns),
        Element::Loss(_) | Element::Unknown(_) => None,
    }
}

/// A pseudo-random number.
pub fn roll(seed: u32, place: usize) -> u8 {
    let mixed = (u64::from(seed) << 32 | place as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
}
