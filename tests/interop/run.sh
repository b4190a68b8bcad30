#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# Stock clients against a server; see README.md. GANTRY names the program, build/gantry otherwise.
exec python3 "$(dirname "$0")/run.py" "$@"
