// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Loading and unloading.
 */
#include <linux/module.h>

#include "p2ptest.h"

static int __init p2ptest_init(void)
{
	int err;

	err = memory_init();
	if (err)
		return err;
	err = removal_init();
	if (err)
		goto no_removal;
	err = race_init();
	if (err)
		goto no_race;
	err = provider_init();
	if (err)
		goto no_provider;
	err = device_init();
	if (err)
		goto no_device;
	return 0;

no_device:
	provider_exit();
no_provider:
	race_exit();
no_race:
	removal_exit();
no_removal:
	memory_exit();
	return err;
}

/* Handles hold references of this module, so that none are left here. */
static void __exit p2ptest_exit(void)
{
	device_exit();
	provider_exit();
	patch_exit();
	race_exit();
	removal_exit();
	memory_exit();
}

module_init(p2ptest_init);
module_exit(p2ptest_exit);

MODULE_DESCRIPTION("Allocates, holds and provides PCI p2p memory for tests");
MODULE_AUTHOR("The p2p-trace developers");
MODULE_LICENSE("Dual MIT/GPL");
