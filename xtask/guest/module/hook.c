// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Hooks on functions of the kernel.
 */
#include <linux/err.h>
#include <linux/string.h>

#include "hook.h"

/*
 * endbr64: the instruction that an indirect jump has to land on, if the kernel is built for that
 * (CONFIG_X86_KERNEL_IBT).
 */
#define ENDBR 0xfa1e0ff3

/* Calls `ops->func` at the beginning of a function. Tracers that use ftrace, kprobes or BPF are not affected. */
int hook_attach(struct ftrace_ops *ops, char *function)
{
	int err = ftrace_set_filter(ops, function, strlen(function), 1);

	if (err)
		return err;
	err = register_ftrace_function(ops);
	if (err)
		ftrace_set_filter(ops, NULL, 0, 1);
	return err;
}

/* Returns when no call is active any more. */
void hook_detach(struct ftrace_ops *ops)
{
	unregister_ftrace_function(ops);
	ftrace_set_filter(ops, NULL, 0, 1);
}

/*
 * The first address of a function that can be probed: the call that tracers hook (see -mfentry of gcc), after the
 * instruction that an indirect jump has to land on.
 */
static kprobe_opcode_t *beginning(const char *function)
{
	struct kprobe probe = { .symbol_name = function };
	int err = register_kprobe(&probe);

	if (err)
		return ERR_PTR(err);
	unregister_kprobe(&probe);
	return probe.addr;
}

/* The address of a function that is not exported, for comparison. */
void *hook_address(const char *function)
{
	void *address = beginning(function);

	if (!IS_ERR(address) && ((u32 *)address)[-1] == ENDBR)
		address -= sizeof(u32);
	return address;
}

/* The function's code after the hooks at its beginning. It can be called like the function itself. */
kprobe_opcode_t *hook_body(const char *function)
{
	kprobe_opcode_t *address = beginning(function);

	return IS_ERR(address) ? address : address + MCOUNT_INSN_SIZE;
}
