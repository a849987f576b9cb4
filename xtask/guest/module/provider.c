// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A driver for QEMU's pci-testdev whose BAR 2 becomes p2p memory, in one range or in two.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/platform_device.h>

#include "p2ptest.h"

/* BAR of the option membar=SIZE of pci-testdev. */
#define MEMORY_BAR 2
/* Alignment of added memory (a subsection, with its own struct pages). */
#define RANGE_ALIGNMENT (2 << 20)

static uint ranges = 1;
module_param(ranges, uint, 0444);
MODULE_PARM_DESC(ranges, "ranges that the provider's memory is added in: 1 to 64, or 0 for no provider");

static uint remove_delay_ms;
module_param(remove_delay_ms, uint, 0644);
MODULE_PARM_DESC(remove_delay_ms, "duration of the provider's remove callback");

static bool remove_hold;
module_param(remove_hold, bool, 0644);
MODULE_PARM_DESC(remove_hold, "the provider's remove callback does not return before the command let-go");

static bool child;
module_param(child, bool, 0444);
MODULE_PARM_DESC(child, "the provider's device has a child, which its remove callback removes");

static DECLARE_COMPLETION(let_go);
static bool held;	/* a remove callback is waiting for it */

static int add(struct pci_dev *pdev, int bar, size_t size, u64 offset)
{
	int err = pci_p2pdma_add_resource(pdev, bar, size, offset);

	return err ?: own_adopt(pci_resource_start(pdev, bar) + offset) ?:
		race_adopt(pdev, pci_resource_start(pdev, bar) + offset);
}

/* As in drivers of devices with several functions: an unbind of the device unbinds its children. */
static int add_child(struct pci_dev *pdev)
{
	struct platform_device *added;

	added = platform_device_register_data(&pdev->dev, "p2ptest-child", PLATFORM_DEVID_AUTO, NULL, 0);
	if (IS_ERR(added))
		return PTR_ERR(added);
	pci_set_drvdata(pdev, added);
	return 0;
}

static int provider_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	size_t size = round_down(pci_resource_len(pdev, MEMORY_BAR) / ranges, RANGE_ALIGNMENT);
	uint n;
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return err;
	for (n = 0; n < ranges; n++) {
		err = add(pdev, MEMORY_BAR, size, n * size);
		if (err)
			return err;
	}
	pci_p2pmem_publish(pdev, true);
	return child ? add_child(pdev) : 0;
}

static void provider_remove(struct pci_dev *pdev)
{
	if (remove_delay_ms)
		msleep(remove_delay_ms);
	if (remove_hold) {
		reinit_completion(&let_go);
		WRITE_ONCE(held, true);
		wait_for_completion(&let_go);
		WRITE_ONCE(held, false);
	}
	if (child)
		platform_device_unregister(pci_get_drvdata(pdev));
}

static const struct pci_device_id provider_ids[] = {
	{ PCI_DEVICE(0x1b36, 0x0005) },
	{ }
};
MODULE_DEVICE_TABLE(pci, provider_ids);

static struct pci_driver provider = {
	.name = "p2ptest",
	.id_table = provider_ids,
	.probe = provider_probe,
	.remove = provider_remove,
};

int provider_init(void)
{
	if (ranges > 64)
		return -EINVAL;
	return ranges ? pci_register_driver(&provider) : 0;
}

void provider_exit(void)
{
	if (ranges)
		pci_unregister_driver(&provider);
}

/* Adds more memory of a device that this driver is bound to. The kernel rejects overlapping memory. */
int provider_add(struct pci_dev *pdev, int bar, size_t size, u64 offset)
{
	int err = -ENODEV;

	device_lock(&pdev->dev);
	if (pdev->dev.driver == &provider.driver)
		err = add(pdev, bar, size, offset);
	device_unlock(&pdev->dev);
	return err;
}

/* Lets a remove callback return that remove_hold blocks; -EAGAIN if none is waiting yet. */
int provider_let_go(void)
{
	if (!READ_ONCE(held))
		return -EAGAIN;
	complete_all(&let_go);
	return 0;
}
