/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * base/disk.h on a folder. All paths are opened relative to the folder's descriptor, so that nothing depends on the working
 * directory, and none may leave it. errno ends here.
 */
#include "os/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/obj.h"
#include "os/disk_work.h"

enum { DISK_MAGIC = 0x6469736b, FILE_MAGIC = 0x66696c65, MODE_FILE = 0640, MODE_DIR = 0750 };

struct posix_disk {
	struct disk base;
	uint32_t magic;
	int dir;               /* the store's folder */
	int lock_fd;           /* -1: not locked */
	bool in_memory;        /* tmpfs and the like: every read is from memory */
	struct clock *clock;
	struct log *log;
	struct work work;
};

struct posix_file {
	struct disk_file base;
	uint32_t magic;
	int fd;
	unsigned refs;         /* its owner's, and one of each op under way: a worker never writes to a number that means another file */
	struct posix_disk *disk;
};

static struct posix_disk *disk_of(struct disk *base)
{
	struct posix_disk *d = container_of(base, struct posix_disk, base);

	CHECK_OBJ(d, DISK_MAGIC);
	return d;
}

static struct posix_file *file_of(struct disk_file *base)
{
	struct posix_file *f = container_of(base, struct posix_file, base);

	CHECK_OBJ(f, FILE_MAGIC);
	return f;
}

/* Relative, without "..": what the engine asks for is its own choice, so anything else is a mistake of ours. */
static void check_path(const char *path)
{
	CHECK(path != NULL && path[0] != '/' && strlen(path) < PATH_MAX);
	for (const char *p = path; p != NULL; p = strchr(p, '/')) {
		if (*p == '/')
			p++;
		CHECK(strncmp(p, "..", 2) != 0);
	}
}

static void complain(struct posix_disk *d, const char *what, const char *path, int err)
{
	log_error(d->log, "disk", "%s file=%s error=\"%s\"", what, path, strerror(err));
}

/* A descriptor of a folder; "" is the store's own. */
static int open_dir(struct posix_disk *d, const char *dir)
{
	return openat(d->dir, dir[0] == '\0' ? "." : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int sync_fd(int fd)
{
	int rc;

	do {
		rc = fsync(fd);
	} while (rc < 0 && errno == EINTR);
	return rc;
}

static enum status posix_sync_dir(struct disk *base, const char *dir)
{
	struct posix_disk *d = disk_of(base);
	int err = 0, fd;

	check_path(dir);
	fd = open_dir(d, dir);
	if (fd < 0)
		return disk_status(errno);
	if (sync_fd(fd) < 0) {
		err = errno;
		complain(d, "cannot sync the folder", dir, err);
	}
	close(fd);
	return disk_status(err);
}

/* Makes the folders that lead to a file. A new one is made durable in its parent at once: nobody else would know of it. */
static enum status make_parents(struct posix_disk *d, const char *path)
{
	char part[PATH_MAX];
	const char *p = path;

	while ((p = strchr(p, '/')) != NULL) {
		size_t n = (size_t)(p - path);
		memcpy(part, path, n);
		part[n] = '\0';
		p++;
		if (mkdirat(d->dir, part, MODE_DIR) == 0) {
			char *slash = strrchr(part, '/');
			if (slash == NULL)
				part[0] = '\0';
			else
				*slash = '\0';
			enum status st = posix_sync_dir(&d->base, part);
			if (st != ST_OK)
				return st;
		} else if (errno != EEXIST) {
			return disk_status(errno);
		}
	}
	return ST_OK;
}

static const struct disk_ops posix_ops;

static enum status posix_open(struct disk *base, const char *path, unsigned flags, struct disk_file **ret, uint64_t *ret_size)
{
	struct posix_disk *d = disk_of(base);
	int how = O_CLOEXEC | (flags & (DISK_WRITE | DISK_CREATE) ? O_RDWR : O_RDONLY) | (flags & DISK_CREATE ? O_CREAT : 0);
	struct posix_file *f;
	enum status st;
	struct stat s;
	int fd;

	check_path(path);
	fd = openat(d->dir, path, how, MODE_FILE);
	if (fd < 0 && errno == ENOENT && (flags & DISK_CREATE)) {
		st = make_parents(d, path);
		if (st != ST_OK)
			return st;
		fd = openat(d->dir, path, how, MODE_FILE);
	}
	if (fd < 0) {
		if (errno != ENOENT)
			complain(d, "cannot open", path, errno);
		return disk_status(errno);
	}
	if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode)) {
		complain(d, "not a file", path, EINVAL);
		close(fd);
		return ST_IO;
	}
	f = mem_new(sizeof(*f));
	*f = (struct posix_file){.base = {&posix_ops}, .magic = FILE_MAGIC, .fd = fd, .refs = 1, .disk = d};
	*ret = &f->base;
	if (ret_size != NULL)
		*ret_size = (uint64_t)s.st_size;
	return ST_OK;
}

static void file_drop(void *file)
{
	struct posix_file *f = file;

	CHECK_OBJ(f, FILE_MAGIC);
	if (--f->refs > 0)
		return;
	close(f->fd);
	f->magic = 0;
	mem_free(f);
}

static void posix_close(struct disk_file *base) { file_drop(file_of(base)); }

static void start_job(struct posix_file *f, struct job job)
{
	job.fd = f->fd;
	job.file = f;
	job.let_go = file_drop;
	f->refs++;
	work_put(&f->disk->work, &job);
}

static enum status posix_write_at(struct disk_file *base, uint64_t at, const struct slice *v, unsigned n)
{
	return disk_write_all(file_of(base)->fd, at, v, n);
}

static enum status posix_read_at(struct disk_file *base, uint64_t at, void *buf, size_t n, bool cached_only, size_t *ret_n)
{
	struct posix_file *f = file_of(base);
	int how = cached_only && !f->disk->in_memory ? RWF_NOWAIT : 0;
	size_t got = 0;

	while (got < n) {
		struct iovec v = {(uint8_t *)buf + got, n - got};
		ssize_t k = preadv2(f->fd, &v, 1, (off_t)(at + got), how);
		if (k < 0 && errno == EINTR)
			continue;
		/* A file system that cannot tell what is cached: a worker reads. */
		if (k < 0 && how != 0 && (errno == EAGAIN || errno == EOPNOTSUPP))
			return ST_BUSY;
		if (k < 0)
			return disk_status(errno);
		if (k == 0)
			break;
		got += (size_t)k;
	}
	*ret_n = got;
	return ST_OK;
}

static void posix_read(struct disk_file *base, uint64_t at, void *buf, size_t n, size_t *ret_n, struct disk_op *op)
{
	struct posix_file *f = file_of(base);

	CHECK(ret_n != NULL);
	start_job(f, (struct job){.kind = JOB_READ, .op = op, .at = at, .buf = buf, .n = n, .ret_n = ret_n});
}

static enum status posix_sync_now(struct disk_file *base)
{
	int rc;

	do {
		rc = fdatasync(file_of(base)->fd);
	} while (rc < 0 && errno == EINTR);
	return rc == 0 ? ST_OK : disk_status(errno);
}

static bool posix_sync(struct disk_file *base, bool hot, struct disk_op *op, enum status *ret_now)
{
	struct posix_file *f = file_of(base);
	struct posix_disk *d = f->disk;
	uint64_t began, ended;
	int rc;

	if (!hot || !sync_place_on_loop(&d->work.place)) {
		start_job(f, (struct job){.kind = hot ? JOB_HOT_SYNC : JOB_SYNC, .op = op});
		return false;
	}
	began = clock_mono_ns(d->clock);
	do {
		rc = fdatasync(f->fd);
	} while (rc < 0 && errno == EINTR);
	*ret_now = rc == 0 ? ST_OK : disk_status(errno);
	ended = clock_mono_ns(d->clock);
	sync_place_took(&d->work.place, ended, ended - began);
	return true;
}

static void posix_zero(struct disk_file *base, uint64_t from, uint64_t to, bool paced, struct disk_op *op)
{
	struct posix_file *f = file_of(base);

	CHECK(from <= to);
	start_job(f, (struct job){.kind = JOB_ZERO, .op = op, .at = from, .to = to, .paced = paced});
}

static enum status posix_truncate(struct disk_file *base, uint64_t size)
{
	struct posix_file *f = file_of(base);
	int rc;

	do {
		rc = ftruncate(f->fd, (off_t)size);
	} while (rc < 0 && errno == EINTR);
	return rc == 0 ? ST_OK : disk_status(errno);
}

static enum status posix_rename(struct disk *base, const char *from, const char *to)
{
	struct posix_disk *d = disk_of(base);

	check_path(from);
	check_path(to);
	if (renameat(d->dir, from, d->dir, to) == 0)
		return ST_OK;
	if (errno != ENOENT)
		complain(d, "cannot rename", from, errno);
	return disk_status(errno);
}

static enum status posix_remove(struct disk *base, const char *path)
{
	struct posix_disk *d = disk_of(base);

	check_path(path);
	if (unlinkat(d->dir, path, 0) == 0)
		return ST_OK;
	if (errno != ENOENT)
		complain(d, "cannot remove", path, errno);
	return disk_status(errno);
}

static bool is_file(int dir, const struct dirent *e)
{
	struct stat s;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_REG;
	return fstatat(dir, e->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode);
}

static enum status posix_list(struct disk *base, const char *dir, void (*each)(void *arg, const char *name), void *arg)
{
	struct posix_disk *d = disk_of(base);
	struct dirent *e;
	DIR *walk;
	int fd, err;

	check_path(dir);
	fd = open_dir(d, dir);
	if (fd < 0)
		return errno == ENOENT ? ST_OK : disk_status(errno);
	walk = fdopendir(fd);
	if (walk == NULL) {
		err = errno;
		close(fd);
		return disk_status(err);
	}
	for (errno = 0; (e = readdir(walk)) != NULL; errno = 0)
		if (is_file(fd, e))
			each(arg, e->d_name);
	err = errno;
	closedir(walk);
	return disk_status(err);
}

static enum status posix_space(struct disk *base, uint64_t *ret_free, uint64_t *ret_total)
{
	struct posix_disk *d = disk_of(base);
	struct statvfs s;

	if (fstatvfs(d->dir, &s) < 0)
		return disk_status(errno);
	*ret_free = (uint64_t)s.f_bavail * s.f_frsize;
	*ret_total = (uint64_t)s.f_blocks * s.f_frsize;
	return ST_OK;
}

static enum status posix_lock(struct disk *base, const char *path)
{
	struct posix_disk *d = disk_of(base);
	int fd, rc;

	CHECK(d->lock_fd < 0);
	check_path(path);
	fd = openat(d->dir, path, O_RDWR | O_CREAT | O_CLOEXEC, MODE_FILE);
	if (fd < 0) {
		complain(d, "cannot open the lock", path, errno);
		return disk_status(errno);
	}
	do {
		rc = flock(fd, LOCK_EX | LOCK_NB);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0) {
		enum status st = errno == EWOULDBLOCK ? ST_LOCKED : disk_status(errno);
		close(fd);
		return st;
	}
	d->lock_fd = fd;
	return ST_OK;
}

static const struct disk_ops posix_ops = {
	.open = posix_open,
	.close = posix_close,
	.write_at = posix_write_at,
	.read_at = posix_read_at,
	.read = posix_read,
	.sync_now = posix_sync_now,
	.sync = posix_sync,
	.zero = posix_zero,
	.truncate = posix_truncate,
	.sync_dir = posix_sync_dir,
	.rename = posix_rename,
	.remove = posix_remove,
	.list = posix_list,
	.space = posix_space,
	.lock = posix_lock,
};

/* Makes the folder and those above it. */
static int make_root(const char *root)
{
	char part[PATH_MAX];
	size_t n = strlen(root);

	if (n == 0 || n >= sizeof(part)) {
		errno = n == 0 ? ENOENT : ENAMETOOLONG;
		return -1;
	}
	memcpy(part, root, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (part[i] != '/' && part[i] != '\0')
			continue;
		part[i] = '\0';
		if (mkdir(part, MODE_DIR) < 0 && errno != EEXIST)
			return -1;
		part[i] = root[i];
	}
	return open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

enum status disk_posix_open(struct disk **ret, uv_loop_t *loop, struct clock *clock, struct log *log, const char *root, char *why,
			    size_t why_size)
{
	struct posix_disk *d;
	struct statfs s;
	int dir;

	CHECK(ret != NULL && loop != NULL && clock != NULL && log != NULL && root != NULL);
	dir = make_root(root);
	if (dir < 0) {
		int err = errno;
		snprintf(why, why_size, "cannot open the data folder %s: %s", root, strerror(err));
		return disk_status(err);
	}
	/* Said here, where the folder has a name, and not by the first file that cannot be made in it. */
	if (faccessat(dir, ".", W_OK | X_OK, AT_EACCESS) != 0) {
		int err = errno;
		close(dir);
		snprintf(why, why_size, "cannot write to the data folder %s: %s", root, strerror(err));
		return disk_status(err);
	}
	d = mem_new(sizeof(*d));
	*d = (struct posix_disk){
		.base = {&posix_ops}, .magic = DISK_MAGIC, .dir = dir, .lock_fd = -1, .clock = clock, .log = log};
	d->in_memory = fstatfs(dir, &s) == 0 && (s.f_type == TMPFS_MAGIC || s.f_type == RAMFS_MAGIC);
	work_init(&d->work, loop, clock);
	*ret = &d->base;
	return ST_OK;
}

static void disk_gone(uv_handle_t *h)
{
	struct posix_disk *d = container_of((uv_async_t *)h, struct posix_disk, work.wake);

	d->magic = 0;
	mem_free(d);
}

void disk_posix_close(struct disk *base)
{
	struct posix_disk *d = disk_of(base);

	work_fini(&d->work, disk_gone);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	close(d->dir);
}

bool disk_posix_sync_on_loop(const struct disk *base)
{
	const struct posix_disk *d = (const struct posix_disk *)(const void *)base;

	CHECK_OBJ(d, DISK_MAGIC);
	return sync_place_on_loop(&d->work.place);
}
