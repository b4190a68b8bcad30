/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "os/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/obj.h"

enum { READ_STEP = 16 << 10 };

static enum status say(char *why, size_t why_size, const char *what, const char *where, int err)
{
	snprintf(why, why_size, "cannot %s %s: %s", what, where, strerror(err));
	return err == ENOENT ? ST_NOT_FOUND : err == ENOSPC || err == EDQUOT ? ST_DISK_FULL : ST_IO;
}

enum status file_read(const char *path, size_t max, struct buf *ret, char *why, size_t why_size)
{
	size_t before = ret->n;
	enum status st = ST_OK;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return say(why, why_size, "open", path, errno);
	for (;;) {
		ssize_t k = read(fd, buf_room(ret, READ_STEP), READ_STEP);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			st = say(why, why_size, "read", path, errno);
		if (k <= 0)
			break;
		buf_used(ret, (size_t)k);
		if (ret->n - before > max) {
			snprintf(why, why_size, "%s is larger than %zu bytes", path, max);
			st = ST_TOO_BIG;
			break;
		}
	}
	close(fd);
	if (st != ST_OK)
		ret->n = before;
	return st;
}

/* Writes all and syncs. Returns 0 or errno. */
static int fill(int fd, struct slice s)
{
	while (s.n > 0) {
		ssize_t k = write(fd, s.p, s.n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return errno;
		s = slice_skip(s, (size_t)k);
	}
	return fsync(fd) < 0 ? errno : 0;
}

static int sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return errno;
	if (fsync(fd) < 0)
		err = errno;
	close(fd);
	return err;
}

/* Makes the folder and those above it. Returns 0 or errno. */
static int make_folders(char *path)
{
	for (char *p = path + 1;; p++) {
		char was = *p;
		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0750) < 0 && errno != EEXIST)
			return errno;
		*p = was;
		if (was == '\0')
			return 0;
	}
}

enum status file_replace(const char *path, struct slice content, char *why, size_t why_size)
{
	char fresh[PATH_MAX], folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int fd, err;

	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", path) >= sizeof(fresh))
		return say(why, why_size, "write", path, ENAMETOOLONG);
	snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path), slash == NULL ? "." : path);
	err = make_folders(folder);
	if (err != 0)
		return say(why, why_size, "make the folder", folder, err);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return say(why, why_size, "write", fresh, errno);
	err = fill(fd, content);
	close(fd);
	if (err == 0 && rename(fresh, path) < 0)
		err = errno;
	if (err == 0)
		err = sync_folder(folder);
	return err == 0 ? ST_OK : say(why, why_size, "write", path, err);
}

uint32_t host_ipv4(void)
{
	struct ifaddrs *all;
	uint32_t found = 0;

	if (getifaddrs(&all) < 0)
		return 0;
	for (struct ifaddrs *i = all; i != NULL && found == 0; i = i->ifa_next) {
		struct sockaddr_in a;
		if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP))
			continue;
		memcpy(&a, i->ifa_addr, sizeof(a));
		found = ntohl(a.sin_addr.s_addr);
	}
	freeifaddrs(all);
	return found;
}

uint64_t host_raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return 0;
	r.rlim_cur = r.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &r);
	return getrlimit(RLIMIT_NOFILE, &r) < 0 ? 0 : r.rlim_cur;
}

/* A connected socket whose calls end after the time, or -1 with errno. */
static int call_up(const char *host, uint16_t port, unsigned timeout_ms, char *why, size_t why_size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
	struct timeval tv = {timeout_ms / 1000, (timeout_ms % 1000) * 1000};
	char text[8];
	int fd = -1, rc, err = ECONNREFUSED;

	snprintf(text, sizeof(text), "%u", port);
	rc = getaddrinfo(host, text, &hints, &found);
	if (rc != 0) {
		snprintf(why, why_size, "%s: %s", host, gai_strerror(rc));
		return -1;
	}
	for (struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		/* The send timeout bounds connect too. */
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
			err = errno == EINPROGRESS ? ETIMEDOUT : errno;
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(found);
	if (fd < 0)
		snprintf(why, why_size, "%s:%u: %s", host, port, strerror(err));
	return fd;
}

enum status host_ask(const char *host, uint16_t port, unsigned timeout_ms, struct slice request, size_t (*whole)(struct slice got),
		     size_t max, struct buf *ret, char *why, size_t why_size)
{
	size_t before = ret->n, want = 0;
	int fd = call_up(host, port, timeout_ms, why, why_size);

	CHECK(whole != NULL);
	if (fd < 0)
		return ST_NO_MEMBER;
	while (request.n > 0) {
		ssize_t k = send(fd, request.p, request.n, MSG_NOSIGNAL);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			goto failed;
		request = slice_skip(request, (size_t)k);
	}
	while (want == 0 || ret->n - before < want) {
		ssize_t k = recv(fd, buf_room(ret, READ_STEP), READ_STEP, 0);
		if (k < 0 && errno == EINTR)
			continue;
		if (k == 0)
			errno = ECONNRESET;
		if (k <= 0)
			goto failed;
		buf_used(ret, (size_t)k);
		want = whole(slice_of(ret->p + before, ret->n - before));
		if (want > max || ret->n - before > max) {
			errno = EMSGSIZE;
			goto failed;
		}
	}
	close(fd);
	return ST_OK;
failed:
	snprintf(why, why_size, "%s:%u: %s", host, port, errno == EAGAIN ? "no answer in time" : strerror(errno));
	close(fd);
	return ST_IO;
}
