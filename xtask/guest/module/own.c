// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A provider that bypasses the pool, as NVIDIA's UVM and a driver of Intel's do: it replaces the operations of its
 * ranges and allocates pages itself.
 */
#include <linux/err.h>
#include <linux/io.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pfn.h>
#include <linux/version.h>

#include "p2ptest.h"

static bool own;
module_param(own, bool, 0444);
MODULE_PARM_DESC(own, "the provider has its own operations for its pages, and allocates them itself");

/* The last user of a page has dropped it. This also drops the page's reference of the range, if it has one. */
static void page_is_free(struct page *page)
{
	struct dev_pagemap *pgmap = page->zone_device_data;

	page->zone_device_data = NULL;
	if (pgmap)
		put_dev_pagemap(pgmap);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
static void folio_is_free(struct folio *folio)
{
	page_is_free(folio_page(folio, 0));
}
#endif

static const struct dev_pagemap_ops own_ops = {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	.folio_free = folio_is_free,
#else
	.page_free = page_is_free,
#endif
};

/* Replaces the operations of a new range, if the parameter requests it. */
int own_adopt(phys_addr_t start)
{
	struct dev_pagemap *pgmap;

	if (!own)
		return 0;
	pgmap = memory_pagemap(PHYS_PFN(start));
	if (!pgmap)
		return -ENXIO;
	pgmap->ops = &own_ops;
	put_dev_pagemap(pgmap);
	return 0;
}

/*
 * Allocates `count` pages from the start of BAR 2, each with or without a reference of the range. Does not check
 * whether some of them are already allocated.
 */
int own_hand_out(struct pci_dev *pdev, u32 count, bool with_reference, u32 *id)
{
	unsigned long first = PHYS_PFN(pci_resource_start(pdev, 2));
	struct handle *handle;
	int err = -ENXIO;

	/* There a page's own count holds the range (__put_page), which this way to allocate would break. */
	if (LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0))
		return -EOPNOTSUPP;
	if (!own || !count || count > PHYS_PFN(pci_resource_len(pdev, 2)))
		return -EINVAL;
	handle = handle_create(pdev, HANDLE_OWN);
	if (!handle)
		return -ENOMEM;
	handle->first = pfn_to_page(first);
	while (handle->pages < count) {
		struct page *page = handle->first + handle->pages;
		struct dev_pagemap *pgmap = memory_pagemap(page_to_pfn(page));

		if (!pgmap)
			goto undo;
		page->zone_device_data = with_reference ? pgmap : NULL;
		if (!with_reference)
			put_dev_pagemap(pgmap);
		set_page_count(page, 1);
		handle->pages++;
	}
	err = handle_publish(handle);
	if (!err) {
		*id = handle->id;
		return 0;
	}
undo:
	own_take_back(handle);
	handle_destroy(handle);
	return err;
}

/* Drops the pages of a handle. */
void own_take_back(struct handle *handle)
{
	while (handle->pages)
		put_page(handle->first + --handle->pages);
}

/* Whether the pages still exist. */
bool own_is_there(const struct handle *handle)
{
	return pfn_valid(page_to_pfn(handle->first));
}
