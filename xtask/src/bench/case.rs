//! The cases: what is attached while memory is taken and given back.

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Its name in every output.
    pub(crate) name: &'static str,
    /// Who traces.
    pub(crate) tracer: Tracer,
}

/// Who traces.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tracer {
    /// Nobody.
    None,
    /// Empty programs, attached in this way: what no tracer of the kind can go below.
    Floor(&'static str),
    /// `p2p-trace live` with these options; `{other}` stands for another device than the one that is used.
    Ours(&'static str),
    /// The kernel's own kprobe events, which nobody reads.
    Ftrace,
    /// bpftrace, printing the same by kfunc and kretfunc, and the stack of each allocation in so many frames.
    Bpftrace(u8),
}

/// The case that all others are compared with.
pub(crate) const UNTRACED: &str = "untraced";

/// Armed hooks beside those of the default set that a pair goes through.
const ARMED: &str = "--attach fentry --hook alloc --hook free --hook kill --hook dma_map_sg --hook dma_map_page \
                     --hook dma_map_phys --hook dma_iova_link --hook blk_dma_map";

/// All of them.
pub(crate) const CASES: [Case; 17] = [
    Case::new(UNTRACED, Tracer::None),
    Case::new("floor-fentry", Tracer::Floor("fentry")),
    Case::new("floor-kprobe", Tracer::Floor("kprobe")),
    Case::new("fentry", Tracer::Ours("--attach fentry")),
    Case::new("kprobe", Tracer::Ours("--attach kprobe")),
    Case::new("filtered", Tracer::Ours("--attach fentry --device {other}")),
    Case::new("stacks", Tracer::Ours("--stacks")),
    Case::new("stacks-3", Tracer::Ours("--stacks --stack-depth 3")),
    Case::new("stacks-all", Tracer::Ours("--stacks=all")),
    Case::new("stacks-fentry", Tracer::Ours("--attach fentry --stacks")),
    Case::new("stacks-fentry-3", Tracer::Ours("--attach fentry --stacks --stack-depth 3")),
    Case::new("armed", Tracer::Ours(ARMED)),
    Case::new("stacks-kprobe", Tracer::Ours("--attach kprobe --stacks")),
    Case::new("stacks-kprobe-3", Tracer::Ours("--attach kprobe --stacks --stack-depth 3")),
    Case::new("ftrace", Tracer::Ftrace),
    Case::new("bpftrace", Tracer::Bpftrace(0)),
    Case::new("bpftrace-stacks-3", Tracer::Bpftrace(3)),
];

impl Case {
    const fn new(name: &'static str, tracer: Tracer) -> Self {
        Self { name, tracer }
    }
}
