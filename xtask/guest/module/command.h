/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A command's view of its line and its answer.
 */
#ifndef P2PTEST_COMMAND_H
#define P2PTEST_COMMAND_H

#include <linux/kernel.h>

#include "p2ptest.h"

/* A running command. */
struct call {
	struct pci_dev *device;	/* with a reference, if that is the target */
	struct handle *handle;	/* busy with this command, if that is the target */
	char **words;		/* those after the command */
	int count;
	char *answer;		/* ANSWER_SIZE long */
};

#define answer(call, format, ...) scnprintf((call)->answer, ANSWER_SIZE, format "\n", ##__VA_ARGS__)

static inline int number_at(const struct call *call, int at, u32 *value)
{
	return kstrtou32(call->words[at], 0, value);
}

/* fault.c: errors that a driver must not make. */
int run_free_size(const struct call *call);
int run_free_keep(const struct call *call);
int run_free_at(const struct call *call);
int run_forget(const struct call *call);
int run_put(const struct call *call);

/* removal.c */
int run_after_removal(const struct call *call);

/* skip.c */
int run_skip(const struct call *call);

/* patch.c */
int run_patch(const struct call *call);
int run_unpatch(const struct call *call);

/* read.c */
int run_read(const struct call *call);

#endif
