// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The table of handles. Only one command at a time can use a handle: a second one gets -EBUSY.
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "p2ptest.h"

static DEFINE_XARRAY_ALLOC1(handles);

/* Creates a handle that is not in the table yet. */
struct handle *handle_create(struct pci_dev *provider, enum handle_kind kind)
{
	struct handle *handle;

	handle = kzalloc(sizeof(*handle), GFP_KERNEL);
	if (!handle)
		return NULL;
	handle->kind = kind;
	handle->provider = pci_dev_get(provider);
	__module_get(THIS_MODULE);
	return handle;
}

/* Assigns a number and adds the handle to the table. Numbers are not reused until they have run out. */
int handle_publish(struct handle *handle)
{
	static u32 next;
	int err = xa_alloc_cyclic(&handles, &handle->id, handle, xa_limit_31b, &next, GFP_KERNEL);

	return err < 0 ? err : 0;
}

/* Requires the table's lock. */
static struct handle *find_idle(u32 id)
{
	struct handle *handle = xa_load(&handles, id);

	if (!handle)
		return ERR_PTR(-ENOENT);
	if (handle->busy)
		return ERR_PTR(-EBUSY);
	return handle;
}

/* Marks a handle as busy; it stays in the table. */
struct handle *handle_get(u32 id)
{
	struct handle *handle;

	xa_lock(&handles);
	handle = find_idle(id);
	if (!IS_ERR(handle))
		handle->busy = true;
	xa_unlock(&handles);
	return handle;
}

void handle_put(struct handle *handle)
{
	xa_lock(&handles);
	handle->busy = false;
	xa_unlock(&handles);
}

/* Removes a handle from the table, to be freed. */
struct handle *handle_claim(u32 id)
{
	struct handle *handle;

	xa_lock(&handles);
	handle = find_idle(id);
	if (!IS_ERR(handle))
		__xa_erase(&handles, id);
	xa_unlock(&handles);
	return handle;
}

/* As handle_claim(), for the first handle after number *after, which is advanced to it; -ENOENT at the end. */
struct handle *handle_claim_next(u32 *after)
{
	unsigned long id = *after;

	if (!xa_find_after(&handles, &id, U32_MAX, XA_PRESENT))
		return ERR_PTR(-ENOENT);
	*after = id;
	return handle_claim(id);
}

/* Destroys a handle that is not in the table and whose memory is freed. */
void handle_destroy(struct handle *handle)
{
	pci_dev_put(handle->provider);
	kfree(handle);
	module_put(THIS_MODULE);
}
