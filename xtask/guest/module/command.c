// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The commands: a table of their words and functions.
 */
#include <linux/err.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "command.h"

/* The object that the first argument names. */
enum target {
	TARGET_NONE,
	TARGET_DEVICE,
	TARGET_HANDLE,
};

struct command {
	const char *name;
	const char *usage;
	enum target target;
	int least;		/* minimum number of words */
	int most;		/* maximum number of words */
	int (*run)(const struct call *call);
};

/* The device named DOMAIN:BUS:SLOT.FUNCTION, with a reference. */
static struct pci_dev *device_at(const struct call *call, int at)
{
	unsigned int domain, bus, slot, function;
	struct pci_dev *pdev;
	char end;

	if (sscanf(call->words[at], "%x:%x:%x.%x%c", &domain, &bus, &slot, &function, &end) != 4)
		return ERR_PTR(-EINVAL);
	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, function));
	return pdev ? pdev : ERR_PTR(-ENODEV);
}

static int answer_handle(const struct call *call, int err, u32 id)
{
	if (!err)
		answer(call, "handle=%u", id);
	return err;
}

static int run_alloc(const struct call *call)
{
	u32 size, id;
	int err = number_at(call, 1, &size) ?: memory_alloc(call->device, size, &id);

	return answer_handle(call, err, id);
}

static int run_alloc_list(const struct call *call)
{
	u32 size, id;
	int err = number_at(call, 1, &size) ?: memory_alloc_list(call->device, size, &id);

	return answer_handle(call, err, id);
}

static int run_hold_many(const struct call *call)
{
	u32 size, count, id;
	int err = number_at(call, 1, &size) ?: number_at(call, 2, &count) ?:
		memory_alloc_many(call->device, size, count, &id);

	return answer_handle(call, err, id);
}

static int run_load(const struct call *call)
{
	u32 size, count, failed = 0;
	u64 ns = 0;
	int err = number_at(call, 1, &size) ?: number_at(call, 2, &count) ?:
		memory_load(call->device, size, count, &failed, &ns);

	answer(call, "failed=%u ns=%llu", failed, ns);
	return err;
}

static int run_publish(const struct call *call)
{
	bool publish;
	int err = kstrtobool(call->words[1], &publish);

	if (!err)
		pci_p2pmem_publish(call->device, publish);
	return err;
}

static int run_add(const struct call *call)
{
	u32 bar, size, offset;

	return number_at(call, 1, &bar) ?: number_at(call, 2, &size) ?: number_at(call, 3, &offset) ?:
		provider_add(call->device, bar, size, offset);
}

static int run_hand_out(const struct call *call)
{
	bool with_reference;
	u32 count, id;
	int err = number_at(call, 1, &count) ?: kstrtobool(call->words[2], &with_reference) ?:
		own_hand_out(call->device, count, with_reference, &id);

	return answer_handle(call, err, id);
}

static int run_show(const struct call *call)
{
	const struct handle *handle = call->handle;

	switch (handle->kind) {
	case HANDLE_MEMORY:
		answer(call, "addr=%#lx size=%zu", (unsigned long)handle->addr, handle->size);
		break;
	case HANDLE_MANY:
		answer(call, "count=%u size=%zu", handle->count, handle->size);
		break;
	case HANDLE_LIST:
		answer(call, "list=%#lx entries=%u addr=%#lx size=%u", (unsigned long)handle->list, handle->entries,
		       (unsigned long)memory_addr(handle), handle->list->length);
		break;
	case HANDLE_PIN:
		answer(call, "pgmap=%#lx", (unsigned long)handle->pgmap);
		break;
	case HANDLE_OWN:
		answer(call, "count=%u there=%d", handle->pages, own_is_there(handle));
		break;
	}
	return 0;
}

static int run_pin(const struct call *call)
{
	u32 id;
	int err = memory_pin(call->handle, &id);

	return answer_handle(call, err, id);
}

/* Writes one word of the memory and reads it back. Not every test device has memory behind its BAR. */
static int run_touch(const struct call *call)
{
	u64 *addr = memory_addr(call->handle);

	if (!addr)
		return -EINVAL;
	WRITE_ONCE(*addr, 0x7032707465737400ULL);
	answer(call, "value=%#llx", READ_ONCE(*addr));
	return 0;
}

/* Reads the memory's struct page. */
static int run_touch_page(const struct call *call)
{
	void *addr = memory_addr(call->handle);

	if (!addr)
		return -EINVAL;
	answer(call, "references=%d", page_ref_count(virt_to_page(addr)));
	return 0;
}

static int run_virt_to_bus(const struct call *call)
{
	void *addr = memory_addr(call->handle);

	if (!addr)
		return -EINVAL;
	answer(call, "bus=%#llx", (u64)pci_p2pmem_virt_to_bus(call->handle->provider, addr));
	return 0;
}

static int run_map(const struct call *call)
{
	struct pci_dev *client;
	u32 milliseconds = 0;
	int err = call->count > 2 ? number_at(call, 2, &milliseconds) : 0;

	if (err)
		return err;
	client = device_at(call, 1);
	if (IS_ERR(client))
		return PTR_ERR(client);
	err = map_for_client(call->handle, client, milliseconds);
	pci_dev_put(client);
	return err;
}

static int run_free(const struct call *call)
{
	struct handle *handle;
	u32 id;
	int err = number_at(call, 0, &id);

	if (err)
		return err;
	handle = handle_claim(id);
	if (IS_ERR(handle))
		return PTR_ERR(handle);
	memory_free(handle);
	return 0;
}

static int run_free_later(const struct call *call)
{
	struct handle *handle;
	u32 id, milliseconds;
	int err = number_at(call, 0, &id) ?: number_at(call, 1, &milliseconds);

	if (err)
		return err;
	handle = handle_claim(id);
	if (IS_ERR(handle))
		return PTR_ERR(handle);
	memory_free_later(handle, milliseconds);
	return 0;
}

static int run_free_all(const struct call *call)
{
	u32 count;
	int err = memory_free_all(&count);

	answer(call, "freed=%u", count);
	return err;
}

static int run_let_go(const struct call *call)
{
	return provider_let_go();
}

static const struct command commands[] = {
	{ "alloc", "BDF SIZE", TARGET_DEVICE, 2, 2, run_alloc },
	{ "alloc-list", "BDF SIZE", TARGET_DEVICE, 2, 2, run_alloc_list },
	{ "hold-many", "BDF SIZE COUNT", TARGET_DEVICE, 3, 3, run_hold_many },
	{ "load", "BDF SIZE COUNT", TARGET_DEVICE, 3, 3, run_load },
	{ "publish", "BDF 0|1", TARGET_DEVICE, 2, 2, run_publish },
	{ "add", "BDF BAR SIZE OFFSET", TARGET_DEVICE, 4, 4, run_add },
	{ "hand-out", "BDF PAGES 0|1", TARGET_DEVICE, 3, 3, run_hand_out },
	{ "show", "HANDLE", TARGET_HANDLE, 1, 1, run_show },
	{ "pin", "HANDLE", TARGET_HANDLE, 1, 1, run_pin },
	{ "touch", "HANDLE", TARGET_HANDLE, 1, 1, run_touch },
	{ "touch-page", "HANDLE", TARGET_HANDLE, 1, 1, run_touch_page },
	{ "virt-to-bus", "HANDLE", TARGET_HANDLE, 1, 1, run_virt_to_bus },
	{ "map", "HANDLE CLIENT-BDF [MILLISECONDS]", TARGET_HANDLE, 2, 3, run_map },
	{ "read", "HANDLE DISK", TARGET_HANDLE, 2, 2, run_read },
	{ "free", "HANDLE", TARGET_NONE, 1, 1, run_free },
	{ "free-later", "HANDLE MILLISECONDS", TARGET_NONE, 2, 2, run_free_later },
	{ "free-all", "", TARGET_NONE, 0, 0, run_free_all },
	{ "let-go", "", TARGET_NONE, 0, 0, run_let_go },
	{ "patch", "", TARGET_NONE, 0, 0, run_patch },
	{ "unpatch", "", TARGET_NONE, 0, 0, run_unpatch },
	{ "free-size", "HANDLE SIZE", TARGET_NONE, 2, 2, run_free_size },
	{ "free-keep", "HANDLE", TARGET_HANDLE, 1, 1, run_free_keep },
	{ "free-at", "BDF ADDRESS SIZE", TARGET_DEVICE, 3, 3, run_free_at },
	{ "forget", "HANDLE", TARGET_NONE, 1, 1, run_forget },
	{ "put", "HANDLE", TARGET_HANDLE, 1, 1, run_put },
	{ "skip", "PROGRAM 0|1", TARGET_NONE, 2, 2, run_skip },
	{ "after-removal", "HANDLE MILLISECONDS COMMAND...", TARGET_NONE, 3, 7, run_after_removal },
};

static int run_on_device(const struct command *command, struct call *call)
{
	int err;

	call->device = device_at(call, 0);
	if (IS_ERR(call->device))
		return PTR_ERR(call->device);
	err = command->run(call);
	pci_dev_put(call->device);
	return err;
}

static int run_on_handle(const struct command *command, struct call *call)
{
	u32 id;
	int err = number_at(call, 0, &id);

	if (err)
		return err;
	call->handle = handle_get(id);
	if (IS_ERR(call->handle))
		return PTR_ERR(call->handle);
	err = command->run(call);
	handle_put(call->handle);
	return err;
}

static int run_on_target(const struct command *command, struct call *call)
{
	switch (command->target) {
	case TARGET_DEVICE:
		return run_on_device(command, call);
	case TARGET_HANDLE:
		return run_on_handle(command, call);
	default:
		return command->run(call);
	}
}

/* Runs the words of a line, of which there is at least one. */
int command_run_words(char **words, int count, char *answer_to)
{
	struct call call = { .words = words + 1, .count = count - 1, .answer = answer_to };
	const struct command *command;

	for (command = commands; command < commands + ARRAY_SIZE(commands); command++) {
		if (strcmp(command->name, words[0]))
			continue;
		if (call.count < command->least || call.count > command->most) {
			answer(&call, "usage: %s %s", command->name, command->usage);
			return -EINVAL;
		}
		return run_on_target(command, &call);
	}
	answer(&call, "unknown command %s", words[0]);
	return -EINVAL;
}

/* Runs one line. The answer, ANSWER_SIZE long, is one line too, or empty. */
int command_run(char *line, char *answer_to)
{
	char **words;
	int count, err;

	answer_to[0] = '\0';
	words = argv_split(GFP_KERNEL, line, &count);
	if (!words)
		return -ENOMEM;
	err = count ? command_run_words(words, count, answer_to) : -EINVAL;
	argv_free(words);
	return err;
}
