//! The cases: the tracers that are attached during allocations and frees.

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Its name in every output.
    pub(crate) name: &'static str,
    /// The tracer.
    pub(crate) tracer: Tracer,
}

/// The tracer of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tracer {
    /// No tracer.
    None,
    /// Empty programs, attached by this method: the lower bound for any tracer of this design.
    Floor(&'static str),
    /// `p2p-trace live` with these options; `{other}` stands for a device that is not used.
    Ours(&'static str),
    /// The kernel's own kprobe events, without a reader.
    Ftrace,
    /// bpftrace, printing the same by kfunc and kretfunc, and each allocation's stack with this number of
    /// frames.
    Bpftrace(u8),
}

/// The case that all others are compared with.
pub(crate) const UNTRACED: &str = "untraced";

/// Armed hooks that a pair passes through, in addition to those of the default set.
const ARMED: &str = "--attach fentry --hook alloc --hook free --hook kill --hook dma_map_sg --hook dma_map_page \
                     --hook dma_map_phys --hook dma_iova_link --hook blk_dma_map";

/// All cases.
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
