// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Makes the kernel skip the runs of a BPF program at fentry or fexit, as it does while the program is already running
 * on that CPU: a preempted task has the same effect, but not on command.
 */
#include <linux/bpf.h>
#include <linux/err.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/string.h>

#include "command.h"
#include "hook.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 12, 0)
/* The kernel keeps this many characters of a program's name. */
#define NAME_LEN (BPF_OBJ_NAME_LEN - 1)

static void raise_active(void *prog)
{
	this_cpu_inc(*(int __percpu *)((struct bpf_prog *)prog)->active);
}

static void lower_active(void *prog)
{
	this_cpu_dec(*(int __percpu *)((struct bpf_prog *)prog)->active);
}

/* Pretends that the programs of this name are running on every CPU, or ends that. */
int run_skip(const struct call *call)
{
	struct bpf_prog *(*next)(u32 *id) = hook_address("bpf_prog_get_curr_or_next");
	struct bpf_prog *prog;
	u32 id = 0, count = 0;
	bool skip;
	int err = kstrtobool(call->words[1], &skip);

	if (err)
		return err;
	if (IS_ERR(next))
		return PTR_ERR(next);
	for (prog = next(&id); prog; id++, prog = next(&id)) {
		if (prog->type == BPF_PROG_TYPE_TRACING && !strncmp(prog->aux->name, call->words[0], NAME_LEN)) {
			on_each_cpu(skip ? raise_active : lower_active, prog, 1);
			count++;
		}
		bpf_prog_put(prog);
	}
	answer(call, "programs=%u", count);
	return count ? 0 : -ENOENT;
}
#else
int run_skip(const struct call *call)
{
	return -EOPNOTSUPP;
}
#endif
