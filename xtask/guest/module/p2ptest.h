/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * p2ptest: allocates, holds, uses and frees PCI p2p memory on command, and provides some. For test guests only.
 *
 * Written for Linux 5.10 to 7.3.
 */
#ifndef P2PTEST_H
#define P2PTEST_H

#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/types.h>
#include <linux/workqueue.h>

/* Longest answer to a command, with its terminator. */
#define ANSWER_SIZE 160

/* The kinds of handles. */
enum handle_kind {
	HANDLE_MEMORY,	/* from pci_alloc_p2pmem() */
	HANDLE_MANY,	/* many allocations of one size */
	HANDLE_LIST,	/* from pci_p2pmem_alloc_sgl() */
	HANDLE_PIN,	/* a reference of the range, from get_dev_pagemap() */
	HANDLE_OWN,	/* pages that the provider has allocated itself */
};

/*
 * A handle for outstanding memory. It holds a reference of its device, and one of this module, so that the module
 * cannot be unloaded while any memory is outstanding.
 */
struct handle {
	u32 id;
	enum handle_kind kind;
	bool busy;			/* a command is using it; under the table's lock */
	struct pci_dev *provider;
	struct pci_dev *client;		/* the last client that may map it, without a reference: for comparison only */
	union {
		struct {
			size_t size;
			u32 count;
			union {
				void *addr;
				void **addrs;
			};
		};
		struct {
			struct scatterlist *list;
			unsigned int entries;
		};
		struct dev_pagemap *pgmap;
		struct {
			struct page *first;
			u32 pages;
		};
	};
	struct delayed_work later;
};

/* handle.c: the table of handles. */
struct handle *handle_create(struct pci_dev *provider, enum handle_kind kind);
int handle_publish(struct handle *handle);
struct handle *handle_get(u32 id);
void handle_put(struct handle *handle);
struct handle *handle_claim(u32 id);
struct handle *handle_claim_next(u32 *after);
void handle_destroy(struct handle *handle);

/* memory.c: allocating and freeing. */
int memory_alloc(struct pci_dev *provider, size_t size, u32 *id);
int memory_alloc_list(struct pci_dev *provider, u32 size, u32 *id);
int memory_pin(struct handle *memory, u32 *id);
int memory_alloc_many(struct pci_dev *provider, size_t size, u32 count, u32 *id);
int memory_load(struct pci_dev *provider, size_t size, u32 count, u32 *failed, u64 *ns);
void memory_free(struct handle *handle);
int memory_free_all(u32 *count);
void memory_free_later(struct handle *handle, u32 milliseconds);
void *memory_addr(const struct handle *handle);
struct dev_pagemap *memory_pagemap(unsigned long pfn);
int memory_init(void);
void memory_exit(void);

/* map.c: DMA mappings for another device. */
int map_is_allowed(struct handle *handle, struct pci_dev *client);
int map_for_client(struct handle *handle, struct pci_dev *client, u32 milliseconds);

/* race.c: the order of 2018. */
int race_init(void);
void race_exit(void);
int race_adopt(struct pci_dev *pdev, phys_addr_t start);

/* own.c: a provider that bypasses the pool. */
int own_adopt(phys_addr_t start);
int own_hand_out(struct pci_dev *pdev, u32 count, bool with_reference, u32 *id);
void own_take_back(struct handle *handle);
bool own_is_there(const struct handle *handle);

/* removal.c: waiting for the removal of pages. */
int removal_init(void);
void removal_exit(void);

/* patch.c: replaces a function. */
void patch_exit(void);

/* command.c */
int command_run(char *line, char *answer);
int command_run_words(char **words, int count, char *answer);

/* device.c: the file that accepts commands. */
int device_init(void);
void device_exit(void);

/* provider.c: the driver that provides memory. */
int provider_init(void);
void provider_exit(void);
int provider_add(struct pci_dev *pdev, int bar, size_t size, u64 offset);
int provider_let_go(void);

#endif
