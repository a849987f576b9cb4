// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * /dev/p2ptest: a line written is a command, run by the writing task; the next read returns its answer. A file that
 * nothing was written to returns the answer of the latest command of all files.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "p2ptest.h"

/* Longest line. */
#define LINE_SIZE 256

/* An open file. */
struct session {
	struct mutex lock;
	loff_t at;	/* bytes of the answer that were read */
	char answer[ANSWER_SIZE];
};

static DEFINE_MUTEX(latest_lock);
static char latest[ANSWER_SIZE];

static int device_open(struct inode *inode, struct file *file)
{
	struct session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return -ENOMEM;
	mutex_init(&session->lock);
	mutex_lock(&latest_lock);
	memcpy(session->answer, latest, ANSWER_SIZE);
	mutex_unlock(&latest_lock);
	file->private_data = session;
	return stream_open(inode, file);
}

static int device_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static ssize_t device_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct session *session = file->private_data;
	ssize_t done;

	mutex_lock(&session->lock);
	done = simple_read_from_buffer(to, size, &session->at, session->answer, strlen(session->answer));
	mutex_unlock(&session->lock);
	return done;
}

static ssize_t device_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct session *session = file->private_data;
	char *line;
	int err;

	if (size >= LINE_SIZE)
		return -E2BIG;
	line = memdup_user_nul(from, size);
	if (IS_ERR(line))
		return PTR_ERR(line);
	mutex_lock(&session->lock);
	err = command_run(line, session->answer);
	session->at = 0;
	mutex_lock(&latest_lock);
	memcpy(latest, session->answer, ANSWER_SIZE);
	mutex_unlock(&latest_lock);
	mutex_unlock(&session->lock);
	kfree(line);
	return err ?: size;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.read = device_read,
	.write = device_write,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "p2ptest",
	.mode = 0600,
	.fops = &operations,
};

int device_init(void)
{
	return misc_register(&device);
}

void device_exit(void)
{
	misc_deregister(&device);
}
