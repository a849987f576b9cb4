/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Hooks on functions of the kernel.
 */
#ifndef P2PTEST_HOOK_H
#define P2PTEST_HOOK_H

#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/version.h>

/* Before 5.11, callbacks get the registers themselves. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0)
#define ftrace_regs pt_regs
#define ftrace_get_regs(regs) (regs)
#endif

int hook_attach(struct ftrace_ops *ops, char *function);
void hook_detach(struct ftrace_ops *ops);
void *hook_address(const char *function);
kprobe_opcode_t *hook_body(const char *function);

#endif
