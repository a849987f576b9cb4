// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Waiting for the removal of pages.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/wait.h>

#include "command.h"
#include "hook.h"

static DECLARE_WAIT_QUEUE_HEAD(removals);

/* memunmap_pages() calls mem_hotplug_done() as soon as arch_remove_memory() has returned. */
static notrace void at_removal(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
			       struct ftrace_regs *fregs)
{
	wake_up_all(&removals);
}

static struct ftrace_ops removal_hook = {
	.func = at_removal,
};

int removal_init(void)
{
	return hook_attach(&removal_hook, "mem_hotplug_done");
}

/* Waiting tasks have the device's file open, which keeps the module loaded. */
void removal_exit(void)
{
	hook_detach(&removal_hook);
}

/* Waits until the pages of a handle are removed and some time longer, then runs the rest of the line. */
int run_after_removal(const struct call *call)
{
	struct handle *handle;
	unsigned long pfn = 0;
	u32 id, milliseconds;
	void *addr;
	int err = number_at(call, 0, &id) ?: number_at(call, 1, &milliseconds);

	if (err)
		return err;
	handle = handle_get(id);
	if (IS_ERR(handle))
		return PTR_ERR(handle);
	addr = memory_addr(handle);
	if (addr)
		pfn = PHYS_PFN(virt_to_phys(addr));
	/* The command that follows needs the handle as well. */
	handle_put(handle);
	if (!addr)
		return -EINVAL;
	err = wait_event_killable(removals, !pfn_valid(pfn));
	if (err)
		return err;
	if (milliseconds)
		msleep(milliseconds);
	return command_run_words(call->words + 2, call->count - 2, call->answer);
}
