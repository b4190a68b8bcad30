# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Runs the cases of a script: functions of a folder of their own, which may return a note for the line that tells of their end."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback


class Failed(Exception):
    """What a case found wrong, in words that need no trace."""


def check(good, text):
    if not good:
        raise Failed(text)


def label(case):
    return case.__name__.removeprefix("test_")


def run_one(case, name, folder):
    begin = time.monotonic()
    try:
        note = case(folder)
        print("ok %s %.1f s%s" % (name, time.monotonic() - begin, " (%s)" % note if note else ""), flush=True)
        return True
    except Exception as e:  # a case that fails in whatever way is one failed case
        print("FAIL %s %s: %s" % (name, type(e).__name__, str(e).replace("\n", " | ")), flush=True)
        if not isinstance(e, Failed):
            traceback.print_exc(file=sys.stdout)
        return False


def run(doc, cases):
    """The whole of a script's main(): its options, its cases in their order, "N passed, N failed". Returns the exit status."""
    script = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=", ".join(map(label, cases)))
    parser.add_argument("--keep", action="store_true", help="keep the data folders")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(map(label, cases))
    unknown = set(wanted) - set(map(label, cases))
    if unknown:
        parser.error("there is no case " + ", ".join(sorted(unknown)))
    root, passed, failed = tempfile.mkdtemp(prefix="gantry-%s-" % script), 0, 0
    try:
        for case in cases:
            if label(case) not in wanted:
                continue
            folder = os.path.join(root, label(case))
            os.makedirs(folder)
            if run_one(case, "%s.%s" % (script, label(case)), folder):
                passed += 1
                if not options.keep:
                    shutil.rmtree(folder, ignore_errors=True)  # at once: temporary files may lie in memory
            else:
                failed += 1
    finally:
        if failed or options.keep:
            print("%s: data and logs are in %s" % (script, root))
        else:
            shutil.rmtree(root, ignore_errors=True)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0
