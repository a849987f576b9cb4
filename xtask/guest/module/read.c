// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Reads from a disk into p2p memory: the disk's controller writes the memory itself.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 18, 0)
#include <linux/genhd.h>
#endif

#include "command.h"

/* An open disk. The way to open one changed in the releases in between, which are not supported. */
struct disk {
	struct block_device *device;
	struct file *file;
};

static int disk_open(struct disk *disk, const char *path)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	disk->file = bdev_file_open_by_path(path, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(disk->file))
		return PTR_ERR(disk->file);
	disk->device = file_bdev(disk->file);
	return 0;
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	disk->device = blkdev_get_by_path(path, FMODE_READ, NULL);
	return PTR_ERR_OR_ZERO(disk->device);
#else
	return -EOPNOTSUPP;
#endif
}

static void disk_close(struct disk *disk)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	fput(disk->file);
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	blkdev_put(disk->device, FMODE_READ);
#endif
}

/* The PCI device of a disk; NULL if there is none, or if it is unknown. */
static struct pci_dev *controller(const struct disk *disk)
{
	struct device *dev = disk_to_dev(disk->device->bd_disk);

	while (dev && !dev_is_pci(dev))
		dev = dev->parent;
	return dev ? to_pci_dev(dev) : NULL;
}

/* Has one segment. The block layer must not merge it with memory that is not p2p memory. */
static struct bio *new_bio(struct block_device *device)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 18, 0)
	return bio_alloc(device, 1, REQ_OP_READ | REQ_NOMERGE, GFP_KERNEL);
#else
	struct bio *bio = bio_alloc(GFP_KERNEL, 1);

	if (bio) {
		bio_set_dev(bio, device);
		bio->bi_opf = REQ_OP_READ | REQ_NOMERGE;
	}
	return bio;
#endif
}

static int read_first_bytes(struct block_device *device, void *addr, size_t size)
{
	struct bio *bio = new_bio(device);
	int err;

	if (!bio)
		return -ENOMEM;
	/* bio_add_page() would access the page, which a request from before a removal has already done. */
	bio->bi_io_vec[0] = (struct bio_vec) {
		.bv_page = virt_to_page(addr),
		.bv_len = size,
		.bv_offset = offset_in_page(addr),
	};
	bio->bi_vcnt = 1;
	bio->bi_iter.bi_size = size;
	err = submit_bio_wait(bio);
	bio_put(bio);
	return err;
}

/* Reads the first bytes of a disk into the memory of a handle, filling it; returns when the read has finished. */
int run_read(const struct call *call)
{
	struct handle *handle = call->handle;
	struct pci_dev *client;
	struct disk disk;
	int err;

	if (handle->kind != HANDLE_MEMORY)
		return -EINVAL;
	err = disk_open(&disk, call->words[1]);
	if (err)
		return err;
	client = controller(&disk);
	err = client ? map_is_allowed(handle, client) : -ENXIO;
	if (!err)
		err = read_first_bytes(disk.device, handle->addr, handle->size);
	disk_close(&disk);
	return err;
}
