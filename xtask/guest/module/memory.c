// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Allocating and freeing p2p memory.
 */
#include <linux/err.h>
#include <linux/ktime.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/version.h>

#include "p2ptest.h"

/* A workqueue of its own, so that unloading can wait until all frees have finished. */
static struct workqueue_struct *queue;

int memory_init(void)
{
	queue = alloc_workqueue("p2ptest", WQ_UNBOUND, 0);
	return queue ? 0 : -ENOMEM;
}

void memory_exit(void)
{
	destroy_workqueue(queue);
}

/* Adds a new handle to the table; on an error, frees its memory. */
static int publish(struct handle *handle, u32 *id)
{
	int err = handle_publish(handle);

	if (err) {
		memory_free(handle);
		return err;
	}
	*id = handle->id;
	return 0;
}

int memory_alloc(struct pci_dev *provider, size_t size, u32 *id)
{
	struct handle *handle = handle_create(provider, HANDLE_MEMORY);

	if (!handle)
		return -ENOMEM;
	handle->size = size;
	handle->addr = pci_alloc_p2pmem(provider, size);
	if (!handle->addr) {
		handle_destroy(handle);
		return -ENOMEM;
	}
	return publish(handle, id);
}

int memory_alloc_list(struct pci_dev *provider, u32 size, u32 *id)
{
	struct handle *handle = handle_create(provider, HANDLE_LIST);

	if (!handle)
		return -ENOMEM;
	handle->list = pci_p2pmem_alloc_sgl(provider, &handle->entries, size);
	if (!handle->list) {
		handle_destroy(handle);
		return -ENOMEM;
	}
	return publish(handle, id);
}

/* The range of a page, with a reference; NULL if there is none, or if it is dying. */
struct dev_pagemap *memory_pagemap(unsigned long pfn)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return get_dev_pagemap(pfn);
#else
	return get_dev_pagemap(pfn, NULL);
#endif
}

/* Gets a reference of the range that bypasses the allocator: no allocation explains it. */
int memory_pin(struct handle *memory, u32 *id)
{
	void *addr = memory_addr(memory);
	struct handle *handle;

	if (!addr)
		return -EINVAL;
	handle = handle_create(memory->provider, HANDLE_PIN);
	if (!handle)
		return -ENOMEM;
	handle->pgmap = memory_pagemap(page_to_pfn(virt_to_page(addr)));
	if (!handle->pgmap) {
		handle_destroy(handle);
		return -ENXIO;
	}
	return publish(handle, id);
}

static void free_many(struct handle *handle)
{
	while (handle->count--) {
		pci_free_p2pmem(handle->provider, handle->addrs[handle->count], handle->size);
		cond_resched();
	}
	kvfree(handle->addrs);
}

/* Allocates all or nothing, under one handle. */
int memory_alloc_many(struct pci_dev *provider, size_t size, u32 count, u32 *id)
{
	struct handle *handle = handle_create(provider, HANDLE_MANY);
	int err = -ENOMEM;

	if (!handle)
		return -ENOMEM;
	handle->size = size;
	handle->addrs = kvcalloc(count, sizeof(*handle->addrs), GFP_KERNEL);
	if (!handle->addrs)
		goto none;
	while (handle->count < count) {
		void *addr = pci_alloc_p2pmem(provider, size);

		if (!addr)
			goto undo;
		handle->addrs[handle->count++] = addr;
		if (fatal_signal_pending(current)) {
			err = -EINTR;
			goto undo;
		}
		cond_resched();
	}
	return publish(handle, id);

undo:
	free_many(handle);
none:
	handle_destroy(handle);
	return err;
}

/* Allocates and frees in a loop, and returns the elapsed time. */
int memory_load(struct pci_dev *provider, size_t size, u32 count, u32 *failed, u64 *ns)
{
	u64 start = ktime_get_ns();

	*failed = 0;
	while (count--) {
		void *addr = pci_alloc_p2pmem(provider, size);

		if (addr)
			pci_free_p2pmem(provider, addr, size);
		else
			++*failed;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	*ns = ktime_get_ns() - start;
	return 0;
}

/* Frees the memory of a handle that is not in the table, and destroys the handle. */
void memory_free(struct handle *handle)
{
	switch (handle->kind) {
	case HANDLE_MEMORY:
		pci_free_p2pmem(handle->provider, handle->addr, handle->size);
		break;
	case HANDLE_MANY:
		free_many(handle);
		break;
	case HANDLE_LIST:
		pci_p2pmem_free_sgl(handle->provider, handle->list);
		break;
	case HANDLE_PIN:
		put_dev_pagemap(handle->pgmap);
		break;
	case HANDLE_OWN:
		own_take_back(handle);
		break;
	}
	handle_destroy(handle);
}

/* Frees all handles. Those that another command is using stay; then the result is -EBUSY. */
int memory_free_all(u32 *count)
{
	u32 after = 0;
	int err = 0;

	*count = 0;
	for (;;) {
		struct handle *handle = handle_claim_next(&after);

		if (handle == ERR_PTR(-ENOENT))
			return err;
		if (IS_ERR(handle)) {
			err = PTR_ERR(handle);
			continue;
		}
		memory_free(handle);
		++*count;
		cond_resched();
	}
}

static void free_now(struct work_struct *work)
{
	memory_free(container_of(to_delayed_work(work), struct handle, later));
}

/* Frees in a kworker after a delay; the handle is not in the table any more. */
void memory_free_later(struct handle *handle, u32 milliseconds)
{
	INIT_DELAYED_WORK(&handle->later, free_now);
	queue_delayed_work(queue, &handle->later, msecs_to_jiffies(milliseconds));
}

/* The kernel's mapping of the handle's memory; NULL if it has none, or many. */
void *memory_addr(const struct handle *handle)
{
	switch (handle->kind) {
	case HANDLE_MEMORY:
		return handle->addr;
	case HANDLE_LIST:
		return sg_virt(handle->list);
	default:
		return NULL;
	}
}
