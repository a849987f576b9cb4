// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The order of 2018 on today's kernels.
 *
 * Up to Linux 5.1 the pages of a range were removed while its memory was in use, and only pci_p2pdma_release() waited for
 * the last reference; since commit 50f44ee7248a the removal waits itself. With the parameter race=1, ranges of this
 * module's provider are torn down in the old order again:
 *
 * - at the beginning of memunmap_pages(), the completion that it is going to wait for is completed;
 * - percpu_ref_exit() of that reference is skipped, because it still counts;
 * - pci_p2pdma_release() waits for the last reference, exits it, and continues;
 * - the range's object is in memory that no longer belongs to the device, which would free it in between.
 *
 * Ranges of other devices are not affected, nor are ranges without outstanding memory.
 */
#include <linux/completion.h>
#include <linux/cpufeature.h>
#include <linux/err.h>
#include <linux/kprobes.h>
#include <linux/list.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/percpu-refcount.h>
#include <linux/pfn.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "hook.h"
#include "p2ptest.h"

/* Maximum offset of the range's object in its memory: after a few words of the p2pdma code. */
#define PGMAP_OFFSET 64

static bool race;
module_param(race, bool, 0444);
MODULE_PARM_DESC(race, "remove the provider's ranges before their memory is freed, as Linux up to 5.1");

/* A range to be torn down in the old order. */
struct raced {
	struct list_head entry;
	struct pci_dev *pdev;
	struct dev_pagemap *pgmap;
	struct percpu_ref *ref;	/* of the pgmap; 5.10 clears the pointer during the teardown */
	void *memory;		/* the memory that contains the pgmap */
	long idle;		/* references without outstanding memory */
	bool early;		/* removed before the last reference was dropped */
	bool over;		/* the last reference was waited for */
};

static LIST_HEAD(ranges);
static DEFINE_RAW_SPINLOCK(lock);
static void *kmalloc_release;	/* of devres.c: the function that releases devm_kmalloc() memory */

/* The range with this pgmap or reference. It stays until its device is released. */
static notrace struct raced *find(unsigned long key)
{
	struct raced *range, *found = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	list_for_each_entry(range, &ranges, entry) {
		if (key == (unsigned long)range->pgmap || key == (unsigned long)range->ref)
			found = range;
	}
	raw_spin_unlock_irqrestore(&lock, flags);
	return found;
}

/* The next range of a device after `after`, or the first. */
static notrace struct raced *next_of(struct pci_dev *pdev, struct raced *after)
{
	struct raced *range, *found = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	range = list_prepare_entry(after, &ranges, entry);
	list_for_each_entry_continue(range, &ranges, entry) {
		if (range->pdev == pdev) {
			found = range;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&lock, flags);
	return found;
}

/* The count of a reference that was not killed yet, with a bias that all of them have. */
static notrace long references(const struct percpu_ref *ref)
{
	unsigned long __percpu *counts;
	long sum = atomic_long_read(&ref->data->count);
	int cpu;

	counts = (unsigned long __percpu *)(ref->percpu_count_ptr & ~(unsigned long)__PERCPU_REF_ATOMIC_DEAD);
	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr(counts, cpu);
	return sum;
}

static struct percpu_ref *reference_of(struct dev_pagemap *pgmap)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 18, 0)
	return &pgmap->ref;
#else
	return pgmap->ref;
#endif
}

static int holds_pgmap(struct device *dev, void *memory, void *pgmap)
{
	return pgmap >= memory && pgmap < memory + PGMAP_OFFSET;
}

/* Adopts the range that begins at this address of a device; it must be new, without outstanding memory. */
int race_adopt(struct pci_dev *pdev, phys_addr_t start)
{
	struct raced *range;
	unsigned long flags;

	if (!race)
		return 0;
	range = kzalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return -ENOMEM;
	range->pdev = pdev;
	range->pgmap = memory_pagemap(PHYS_PFN(start));
	if (!range->pgmap)
		goto none;
	range->ref = reference_of(range->pgmap);
	put_dev_pagemap(range->pgmap);
	range->idle = references(range->ref);
	range->memory = devres_remove(&pdev->dev, kmalloc_release, holds_pgmap, range->pgmap);
	if (!range->memory)
		goto none;
	raw_spin_lock_irqsave(&lock, flags);
	list_add_tail(&range->entry, &ranges);
	raw_spin_unlock_irqrestore(&lock, flags);
	return 0;

none:
	kfree(range);
	return -ENOENT;
}

static notrace void at_memunmap(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
				struct ftrace_regs *fregs)
{
	struct raced *range = find(ftrace_get_regs(fregs)->di);

	if (!range || references(range->ref) <= range->idle)
		return;
	range->early = true;
	complete(&range->pgmap->done);
}

/* Returns from percpu_ref_exit() immediately. */
static int at_exit(struct kprobe *probe, struct pt_regs *regs)
{
	struct raced *range = find(regs->di);

	if (!range || !range->early)
		return 0;
	regs->ip = *(unsigned long *)regs->sp;
	regs->sp += sizeof(unsigned long);
	return 1;
}
NOKPROBE_SYMBOL(at_exit);

/* A probe with a post handler is not optimized, so that its pre handler may continue elsewhere. */
static void behind(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}
NOKPROBE_SYMBOL(behind);

static struct kprobe release_probe;

/* Replaces pci_p2pdma_release(); tracers have already seen its beginning. */
static void release_late(void *data)
{
	void (*body)(void *data) = (void *)release_probe.addr;
	struct raced *range;
	unsigned long flags;

	for (range = next_of(data, NULL); range; range = next_of(data, range)) {
		range->over = true;
		if (!range->early)
			continue;
		wait_for_completion(&range->pgmap->done);
		range->early = false;
		percpu_ref_exit(range->ref);
	}
	body(data);
	while ((range = next_of(data, NULL))) {
		raw_spin_lock_irqsave(&lock, flags);
		list_del(&range->entry);
		raw_spin_unlock_irqrestore(&lock, flags);
		devres_free(range->memory);
		kfree(range);
	}
}

/* Continues in release_late(). */
static int at_release(struct kprobe *probe, struct pt_regs *regs)
{
	struct raced *range = next_of((struct pci_dev *)regs->di, NULL);

	if (!range || range->over)
		return 0;
	regs->ip = (unsigned long)release_late;
	return 1;
}
NOKPROBE_SYMBOL(at_release);

static struct ftrace_ops memunmap_hook = {
	.func = at_memunmap,
	.flags = FTRACE_OPS_FL_SAVE_REGS,
};

static struct kprobe exit_probe = {
	.symbol_name = "percpu_ref_exit",
	.pre_handler = at_exit,
	.post_handler = behind,
};

/*
 * After the address where tracers hook the function's beginning, which on 5.10 cannot be shared with a user that
 * redirects it.
 */
static struct kprobe release_probe = {
	.pre_handler = at_release,
	.post_handler = behind,
};

/* Before the provider's init. */
int race_init(void)
{
	int err;

	if (!race)
		return 0;
#ifdef X86_FEATURE_IBT
	/* Such a processor does not jump into the middle of a function. */
	if (boot_cpu_has(X86_FEATURE_IBT))
		return -EOPNOTSUPP;
#endif
	kmalloc_release = hook_address("devm_kmalloc_release");
	if (IS_ERR(kmalloc_release))
		return PTR_ERR(kmalloc_release);
	release_probe.addr = hook_body("pci_p2pdma_release");
	if (IS_ERR(release_probe.addr))
		return PTR_ERR(release_probe.addr);
	err = register_kprobe(&exit_probe);
	if (err)
		return err;
	err = hook_attach(&memunmap_hook, "memunmap_pages");
	if (err)
		goto no_memunmap;
	err = register_kprobe(&release_probe);
	if (err)
		goto no_release;
	return 0;

no_release:
	hook_detach(&memunmap_hook);
no_memunmap:
	unregister_kprobe(&exit_probe);
	return err;
}

/* After the provider's exit: its ranges are removed. */
void race_exit(void)
{
	if (!race)
		return;
	unregister_kprobe(&release_probe);
	hook_detach(&memunmap_hook);
	unregister_kprobe(&exit_probe);
}
