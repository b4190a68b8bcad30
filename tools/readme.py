#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Puts the table of settings that the program itself prints into README.md; with --check only says whether it is up to date."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- settings: ", "<!-- end of settings -->"


def main():
    path = os.path.join(ROOT, "README.md")
    table = subprocess.run([os.path.join(ROOT, "build", "gantry"), "help", "settings", "--markdown"], capture_output=True, text=True, check=True)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    start = text.index("\n", text.index(BEGIN)) + 1
    fresh = text[:start] + table.stdout + text[text.index(END):]
    if fresh == text:
        return 0
    if "--check" in sys.argv:
        print("README.md: the table of settings is not what the program prints; run tools/readme.py")
        return 1
    with open(path, "w", encoding="utf-8") as f:
        f.write(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
