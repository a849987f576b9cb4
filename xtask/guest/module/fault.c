// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Errors with p2p memory and its references that a driver must not make. The kernel notices most of them, by a BUG or
 * too late.
 */
#include <linux/err.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/pfn.h>

#include "command.h"

/* Frees another size than was allocated, and ends the handle. */
int run_free_size(const struct call *call)
{
	struct handle *handle;
	u32 id, size;
	int err = number_at(call, 0, &id) ?: number_at(call, 1, &size);

	if (err)
		return err;
	handle = handle_claim(id);
	if (IS_ERR(handle))
		return PTR_ERR(handle);
	if (handle->kind == HANDLE_MEMORY)
		handle->size = size;
	memory_free(handle);
	return 0;
}

/* Frees, but keeps the handle: the next command on it is a use of freed memory, or a second free. */
int run_free_keep(const struct call *call)
{
	struct handle *handle = call->handle;

	if (handle->kind != HANDLE_MEMORY)
		return -EINVAL;
	pci_free_p2pmem(handle->provider, handle->addr, handle->size);
	return 0;
}

/* Frees memory without a handle. */
int run_free_at(const struct call *call)
{
	unsigned long addr;
	u32 size;
	int err = kstrtoul(call->words[1], 0, &addr) ?: number_at(call, 2, &size);

	if (!err)
		pci_free_p2pmem(call->device, (void *)addr, size);
	return err;
}

/* Ends the handle and frees nothing: a leak. */
int run_forget(const struct call *call)
{
	struct handle *handle;
	u32 id;
	int err = number_at(call, 0, &id);

	if (err)
		return err;
	handle = handle_claim(id);
	if (IS_ERR(handle))
		return PTR_ERR(handle);
	handle_destroy(handle);
	return 0;
}

/* Drops a reference of the range that no allocation holds. The memory stays allocated. */
int run_put(const struct call *call)
{
	void *addr = memory_addr(call->handle);
	struct dev_pagemap *pgmap;

	if (!addr)
		return -EINVAL;
	pgmap = memory_pagemap(PHYS_PFN(virt_to_phys(addr)));
	if (!pgmap)
		return -ENXIO;
	put_dev_pagemap(pgmap);
	put_dev_pagemap(pgmap);
	return 0;
}
