// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * DMA mappings of p2p memory for another device.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/pci-p2pdma.h>
#include <linux/version.h>

#include "p2ptest.h"

/* Since 6.0 the generic functions map p2p memory; before, it had its own functions. */
static int map(struct device *dev, struct sg_table *table)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 0, 0)
	return dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL, 0);
#else
	table->nents = pci_p2pdma_map_sg(dev, table->sgl, table->orig_nents, DMA_BIDIRECTIONAL);
	return table->nents ? 0 : -EIO;
#endif
}

static void unmap(struct device *dev, struct sg_table *table)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 0, 0)
	dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL, 0);
#else
	pci_p2pdma_unmap_sg(dev, table->sgl, table->orig_nents, DMA_BIDIRECTIONAL);
#endif
}

/* One entry is enough: p2p memory is contiguous, and lists of pci_p2pmem_alloc_sgl() have only one. */
static void describe(struct sg_table *table, struct scatterlist *entry, const struct handle *handle)
{
	sg_init_table(entry, 1);
	if (handle->kind == HANDLE_LIST)
		sg_set_page(entry, sg_page(handle->list), handle->list->length, handle->list->offset);
	else
		sg_set_buf(entry, handle->addr, handle->size);
	table->sgl = entry;
	table->nents = 1;
	table->orig_nents = 1;
}

/*
 * Whether a client device may use the memory, queried only once per handle and client. The query fills the kernel's
 * table of map types; after the removal of the memory it would fail, and the use would not be tried.
 */
int map_is_allowed(struct handle *handle, struct pci_dev *client)
{
	struct device *dev = &client->dev;

	if (handle->client == client)
		return 0;
	if (pci_p2pdma_distance_many(handle->provider, &dev, 1, true) < 0)
		return -EXDEV;
	handle->client = client;
	return 0;
}

/* Maps for a client device, waits, and unmaps. */
int map_for_client(struct handle *handle, struct pci_dev *client, u32 milliseconds)
{
	struct scatterlist entry;
	struct sg_table table = {};
	int err;

	if (!memory_addr(handle))
		return -EINVAL;
	err = map_is_allowed(handle, client);
	if (err)
		return err;
	describe(&table, &entry, handle);
	err = map(&client->dev, &table);
	if (err)
		return err;
	if (milliseconds)
		msleep(milliseconds);
	unmap(&client->dev, &table);
	return 0;
}
