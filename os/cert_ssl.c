/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "os/cert.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"

/* A key that asks for a passphrase would ask the terminal, and a server has none. */
static int no_passphrase(char *to, int size, int writing, void *arg)
{
	(void)to;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static enum status readable(const char *path, char *why, size_t why_size)
{
	FILE *f = fopen(path, "re");

	if (f == NULL) {
		snprintf(why, why_size, "cannot read %s: %s", path, strerror(errno));
		return ST_NOT_FOUND;
	}
	fclose(f);
	return ST_OK;
}

static enum status wrong(const char *path, const char *what, char *why, size_t why_size)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(why, why_size, "%s: %s%s%s%s", path, what, reason != NULL ? " (" : "", reason != NULL ? reason : "", reason != NULL ? ")" : "");
	return ST_BAD_ARG;
}

enum status cert_check(const char *cert, const char *key, char *why, size_t why_size)
{
	enum status st = readable(cert, why, why_size);
	SSL_CTX *ctx;
	bool fits;

	if (st == ST_OK)
		st = readable(key, why, why_size);
	if (st != ST_OK)
		return st;
	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_server_method());
	CHECK(ctx != NULL);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1) {
		st = wrong(cert, "no certificate that can be used", why, why_size);
	} else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		fits = ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH;
		st = wrong(key, fits ? "no private key that can be used" : "not the key of the certificate", why, why_size);
	}
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return st;
}
