// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Redirects a function as a live patch does. Only one user at a time can redirect a function, and before Linux 6.0
 * BPF's trampolines (fentry, fexit) count as such users.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/mutex.h>

#include "command.h"
#include "hook.h"

#define PATCHED "pci_p2pdma_release"

static DEFINE_MUTEX(lock);
static bool patched;
static atomic_t calls;
static void (*original)(void *data);

/* The replacement of the patched function. */
static void in_its_place(void *data)
{
	atomic_inc(&calls);
	original(data);
}

static notrace void at_entry(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	ftrace_get_regs(fregs)->ip = (unsigned long)in_its_place;
}

static struct ftrace_ops patch = {
	.func = at_entry,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY,
};

int run_patch(const struct call *call)
{
	int err = -EEXIST;

	mutex_lock(&lock);
	if (!patched) {
		original = (void *)hook_body(PATCHED);
		err = PTR_ERR_OR_ZERO(original) ?: hook_attach(&patch, PATCHED);
		patched = !err;
		atomic_set(&calls, 0);
	}
	mutex_unlock(&lock);
	return err;
}

static int unpatch(void)
{
	int err = -ENOENT;

	mutex_lock(&lock);
	if (patched) {
		hook_detach(&patch);
		patched = false;
		err = 0;
	}
	mutex_unlock(&lock);
	return err;
}

int run_unpatch(const struct call *call)
{
	int err = unpatch();

	answer(call, "calls=%d", atomic_read(&calls));
	return err;
}

void patch_exit(void)
{
	unpatch();
}
