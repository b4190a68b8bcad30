#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# tools/embed.sh DIR OUT: writes the C source of http_files[] (front/http/http.h), which has every file of the web UI, sorted by path; "/" is
# index.html. The bytes themselves are taken in by the assembler. OUT stays untouched when nothing changed in the list; no DIR is an empty list.
set -eu
dir=$1
out=$2
export LC_ALL=C

type_of() {
	case $1 in
	*.html) echo "text/html; charset=utf-8" ;;
	*.css) echo "text/css; charset=utf-8" ;;
	*.js | *.mjs) echo "text/javascript; charset=utf-8" ;;
	*.json) echo "application/json; charset=utf-8" ;;
	*.svg) echo "image/svg+xml; charset=utf-8" ;;
	*.ico) echo "image/x-icon" ;;
	esac
}

# "PATH FILE" lines in the order of the table.
list() {
	[ -d "$dir" ] || return 0
	cd "$dir"
	find . -type f \( -name '*.html' -o -name '*.css' -o -name '*.js' -o -name '*.mjs' -o -name '*.json' -o -name '*.svg' -o -name '*.ico' \) |
		sed 's|^\./||' | while IFS= read -r f; do
			case $f in
			*[!A-Za-z0-9._/-]*) echo "embed: $dir/$f: letters, digits, '.', '_', '-' and '/' only, please" >&2; exit 1 ;;
			index.html) echo "/ $f" ;;
			esac
			echo "/$f $f"
		done | sort
}

files=$(list)
fresh=$out.fresh
{
	echo "/* Made by tools/embed.sh. */"
	echo '#include "front/http/http.h"'
	echo
	n=0
	echo "$files" | while read -r path file; do
		[ -n "$path" ] || continue
		echo "__asm__(\".section .rodata; web_ui_$n: .incbin \\\"$dir/$file\\\"; web_ui_end_$n: .byte 0; .previous\");"
		echo "extern const uint8_t web_ui_$n[], web_ui_end_$n[];"
		n=$((n + 1))
	done
	echo
	echo "const struct http_file http_files[] = {"
	echo "$files" | while read -r path file; do
		[ -n "$path" ] || continue
		echo "	{\"$path\", \"$(type_of "$file")\", web_ui_$n, web_ui_end_$n},"
		n=$((n + 1))
	done
	echo "	{NULL, NULL, NULL, NULL},"
	echo "};"
} >"$fresh"
if cmp -s "$fresh" "$out"; then rm "$fresh"; else mv "$fresh" "$out"; fi
