//! Allocates and frees memory.

use p2p_trace_common::{Hook, Kind};

use super::{Burst, Kernel, Outstanding, Token, struct_page};
use crate::event::{Span, decode::PAGE_SIZE};
use crate::state::PAGE_STRUCT_SIZE;

impl Kernel {
    /// Finds the first run of free pages, in the order of the pool.
    pub fn find(&self, device: usize, pages: u64) -> Option<u64> {
        let allocated = self.pages(device);
        self.devices[device].ranges.iter().filter(|range| !range.killed).find_map(|range| {
            let (base, size) = (range.base(), range.physical.size() / PAGE_SIZE);
            (0..size.saturating_sub(pages - 1))
                .map(|page| base + page * PAGE_SIZE)
                .find(|&first| (0..pages).all(|page| !allocated.contains_key(&(first + page * PAGE_SIZE))))
        })
    }

    pub fn hold(&mut self, device: usize, kind: Kind, pid: u32, addr: u64, pages: u64) -> Token {
        let token = self.tokens;
        self.tokens += 1;
        let held = Outstanding {
            device,
            kind,
            pid,
            pages: (0..pages).map(|page| addr + page * PAGE_SIZE).collect(),
            sgl: 0xffff_8880_4000_0000 + (token as u64 % 3) * 0x20,
            partial: false,
            mapped: false,
        };
        self.outstanding.insert(token, held);
        token
    }

    /// `pci_alloc_p2pmem` returns.
    pub fn alloc_event(&mut self, device: usize, pid: u32, found: Option<u64>, pages: u64) {
        self.event(device, Kind::Alloc, Hook::Alloc, pid, |event| {
            event.addr = found;
            event.size = Some(pages * PAGE_SIZE - 10);
            event.caller = Some(0xffff_ffff_8100_0000 + u64::from(pid % 5));
            event.cgroup = Some(u64::from(pid % 3));
            event.failed = found.is_none();
        });
    }

    /// `pci_alloc_p2pmem`.
    pub fn alloc(&mut self, device: usize, pid: u32, pages: u64) -> Option<Token> {
        let found = self.find(device, pages);
        self.alloc_event(device, pid, found, pages);
        Some(self.hold(device, Kind::Alloc, pid, found?, pages))
    }

    /// `pci_p2pmem_alloc_sgl`.
    pub fn alloc_list(&mut self, device: usize, pid: u32, pages: u64) -> Option<Token> {
        let found = self.find(device, pages);
        self.alloc_event(device, pid, found, pages);
        let token = found.map(|addr| self.hold(device, Kind::SglAlloc, pid, addr, pages));
        let busy = |sgl: u64, but: Token| {
            self.outstanding.iter().any(|(&token, held)| token != but && held.sgl == sgl)
        };
        let sgl = token.map(|token| {
            let mut sgl = self.outstanding[&token].sgl;
            while busy(sgl, token) {
                sgl += 0x20;
            }
            sgl
        });
        if let Some((token, sgl)) = token.zip(sgl) {
            self.outstanding.get_mut(&token).unwrap().sgl = sgl;
        }
        self.event(device, Kind::SglAlloc, Hook::SglAlloc, pid, |event| {
            event.sgl = sgl;
            event.size = Some(pages * PAGE_SIZE - 10);
            event.count = Some(1);
            event.caller = Some(0xffff_ffff_8200_0000);
            event.failed = sgl.is_none();
        });
        token
    }

    /// `p2pmem_alloc_mmap`.
    pub fn mmap(&mut self, device: usize, pid: u32, pages: u64) -> Option<Token> {
        let addr = self.find(device, pages)?;
        let range = self.devices[device].ranges.iter().find(|range| range.contains(addr));
        let pgmap = range.map(|range| range.pgmap);
        self.event(device, Kind::Mmap, Hook::Mmap, pid, |event| {
            event.page = Some(struct_page(addr));
            event.count = Some(pages as u32);
            event.pgmap = pgmap;
            event.user_addr = Some(0x7f00_0000_0000);
            event.ret = Some(0);
        });
        Some(self.hold(device, Kind::Mmap, pid, addr, pages))
    }

    /// `p2pmem_alloc_mmap`, where only `inserted` pages can be inserted: those stay, and the rest returns to
    /// the pool.
    pub fn mmap_failing(&mut self, device: usize, pid: u32, pages: u64, inserted: u64) -> Option<Token> {
        let addr = self.find(device, pages)?;
        let range = self.devices[device].ranges.iter().find(|range| range.contains(addr));
        let pgmap = range.map(|range| range.pgmap);
        self.event(device, Kind::Mmap, Hook::Mmap, pid, |event| {
            event.page = Some(struct_page(addr));
            event.count = Some(inserted as u32);
            event.pgmap = pgmap;
            event.user_addr = Some(0x7f00_0000_0000);
            event.ret = Some(-12);
            event.failed = true;
        });
        (inserted > 0).then(|| self.hold(device, Kind::Mmap, pid, addr, inserted))
    }

    /// Frees memory in the way that matches its allocation; of an mmap, at most `pages` pages.
    pub fn free(&mut self, token: Token, pid: u32, pages: usize) {
        let Some(held) = self.outstanding.get(&token).cloned() else {
            return;
        };
        if held.mapped {
            self.unmap(token, pid);
        }
        let (addr, size) = (held.pages[0], held.pages.len() as u64 * PAGE_SIZE);
        match held.kind {
            Kind::Mmap => {
                for page in held.pages.iter().take(pages) {
                    self.free_page(held.device, pid, *page);
                }
                let left = held.pages[pages.min(held.pages.len())..].to_vec();
                if !left.is_empty() {
                    self.outstanding.get_mut(&token).unwrap().pages = left;
                    return;
                }
            }
            Kind::SglAlloc => {
                self.event(held.device, Kind::SglFree, Hook::SglFree, pid, |event| {
                    event.sgl = Some(held.sgl);
                });
                if self.nested_frees {
                    self.free_event(held.device, pid, addr, size);
                }
            }
            _ => self.free_event(held.device, pid, addr, size),
        }
        self.outstanding.remove(&token);
    }

    /// `pci_free_p2pmem`.
    pub fn free_event(&mut self, device: usize, pid: u32, addr: u64, size: u64) {
        self.event(device, Kind::Free, Hook::Free, pid, |event| {
            event.addr = Some(addr);
            event.size = Some(size);
        });
    }

    /// Frees a page of a user mapping. Its record is written at the next flush.
    pub fn free_page(&mut self, device: usize, pid: u32, addr: u64) {
        let now_ns = self.pass();
        let range = self.devices[device].ranges.iter().find(|range| range.contains(addr));
        let pgmap = range.unwrap().pgmap;
        let page = struct_page(addr);
        if let Some(burst) = &mut self.burst {
            let next = burst.first + u64::from(burst.count) * PAGE_STRUCT_SIZE;
            if next == page && burst.pgmap == pgmap && burst.pid == pid {
                burst.count += 1;
                burst.span.last_ns = now_ns;
                return;
            }
        }
        self.flush();
        let span = Span { first_ns: now_ns, last_ns: now_ns };
        self.burst = Some(Burst { pgmap, device, pid, first: page, count: 1, span });
    }

    /// Writes the record of freed pages that are not reported yet.
    pub fn flush(&mut self) {
        let Some(burst) = self.burst.take() else { return };
        self.event(burst.device, Kind::PageFree, Hook::PageFree, burst.pid, |event| {
            event.pgmap = Some(burst.pgmap);
            event.page = Some(burst.first);
            event.count = Some(burst.count);
            event.size = Some(u64::from(burst.count) * PAGE_SIZE);
            event.span = Some(burst.span);
        });
    }
}
