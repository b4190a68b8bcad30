#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""
The rules that a script can check. Each finding is a line "file:line: what"; ends with "N passed, N failed", where each rule counts once.

 - may-use: who may include whom, by the quoted includes (docs/ARCHITECTURE.md)
 - external: which folders may include which library's headers
 - banned: calls that have no business in the pure folders
 - size: files of at most 1000 lines, functions of at most 100
 - head: every source begins with the licence; no blanks at line ends
 - words: nothing is left for later, and nothing names the workshop
 - status: every status has a row in front/status.tbl, in the same order
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE_MAX, FUNCTION_MAX = 1000, 100

PURE = ("base", "record", "wire", "engine", "namesrv", "client", "front")
GATEWAY = {"base", "record", "engine/engine.h", "front/front.h", "front/message.h", "front/status.tbl"}
# folder -> what it may include besides itself; a path of a file stands for that file only
MAY = {
    "base": set(),
    "record": {"base"},
    "wire": {"base", "record"},
    "engine": {"base", "record"},
    "front": {"base", "record", "engine/engine.h", "engine/stats.tbl"},
    "front/native": {"base", "record", "wire", "engine/engine.h", "front/front.h", "front/status.tbl"},
    "front/http": GATEWAY | {"engine/port.h", "engine/stats.tbl"},
    "front/mqtt": GATEWAY,
    "front/websocket": GATEWAY,
    "os": {"base"},
    "namesrv": {"base", "record", "wire"},
    "client": {"base", "record", "wire"},
    # The texts of the engine's numbers are data that `gantry status` prints; nothing of the engine's code comes with them.
    "admin": {"base", "record", "wire", "client", "os", "engine/stats.tbl"},
    "app": {"base", "record", "wire", "engine/engine.h", "front", "os", "namesrv", "client", "admin"},
}
LIBC = {
    "assert.h", "ctype.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "setjmp.h", "stdalign.h", "stdarg.h", "stdatomic.h",
    "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h", "strings.h", "cpuid.h", "immintrin.h", "nmmintrin.h",
    "wmmintrin.h", "execinfo.h",
}
# JSON is parsed, and bodies are inflated, by pure code too: these two libraries only compute.
PURE_EXTERNAL = {"wire": {"jansson.h", "zlib.h"}, "front": {"jansson.h", "zlib.h"}, "front/http": {"jansson.h"}, "front/websocket": {"jansson.h"},
                 "base": {"unistd.h"}}
BANNED = re.compile(
    r"(?<![\w.>])(clock_gettime|gettimeofday|time|rand|random|srand|open|openat|fopen|creat|read|write|pread|pwrite|fsync|fdatasync|socket|"
    r"bind|listen|accept|connect|send|recv|epoll_wait|select|poll|usleep|nanosleep|sleep|printf|puts|fprintf|putchar|system|popen|fork|"
    r"getenv|pthread_\w+|uv_\w+)\s*\(")
# The last words of a process that panics have to go somewhere.
BANNED_EXCEPT = {"base/obj.c": {"fprintf", "write"}}
WORDS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")

findings = {}


def say(rule, path, line, what):
    findings.setdefault(rule, []).append(f"{path}:{line}: {what}")


def tracked():
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = out.stdout.split("\n") if out.returncode == 0 else []
    if not names:
        for folder, _, files in os.walk(ROOT):
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
        names = [n for n in names if not n.startswith((".git/", "build/", "data/"))]
    return sorted(n for n in names if n and os.path.isfile(os.path.join(ROOT, n)))


def folder_of(path):
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "front" and len(parts) > 2 else parts[0]


def strip_code(text):
    """Comments and literals become blanks, lines stay where they are."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def library_file(path):
    return re.search(r"_(uv|h2o|lws|ssl|mosq)\.[ch]$", path) is not None


def check_includes(path, text):
    folder = folder_of(path)
    if folder == "tests" or folder not in MAY:
        return
    for no, line in enumerate(text.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if m:
            target = m.group(1)
            to = folder_of(target)
            allowed = MAY[folder] | {folder}
            if "/" not in target or not os.path.isfile(os.path.join(ROOT, target)):
                say("may-use", path, no, f'"{target}" is not written from the root, or is not there')
            elif to not in allowed and target not in allowed and not (folder == "app" and to.startswith("front/")):
                say("may-use", path, no, f"{folder} may not include {target}")
        m = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
        if m and folder.split("/")[0] in PURE and not library_file(path):
            name = m.group(1)
            if name not in LIBC and name not in PURE_EXTERNAL.get(folder, set()):
                say("external", path, no, f"<{name}> in a pure folder")
        if m and folder in ("app", "admin") and m.group(1).startswith(("h2o", "libwebsockets", "mosquitto", "jansson", "zlib")):
            say("external", path, no, f"<{m.group(1)}> belongs behind one file of its own")


def check_banned(path, code):
    if folder_of(path).split("/")[0] not in PURE or library_file(path):
        return
    for no, line in enumerate(code.split("\n"), 1):
        for m in BANNED.finditer(line):
            # A definition or prototype begins in the first column; a local function may have such a name.
            if re.match(r"(static |enum |struct |void |bool |int |size_t |uint|ptrdiff)", line):
                continue
            if m.group(1) not in local_names(path) and m.group(1) not in BANNED_EXCEPT.get(path, set()):
                say("banned", path, no, f"{m.group(1)}() in a pure folder")


_local = {}


def local_names(path):
    """Functions that the file itself defines: static ones are unprefixed, and may be called open() or send()."""
    if path not in _local:
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            _local[path] = set(re.findall(r"^static [^\n;(=]*?\b(\w+)\(", f.read(), flags=re.M))
    return _local[path]


def check_functions(path, code):
    """A function's body begins with a brace in the first column and ends with one."""
    start = None
    for no, line in enumerate(code.split("\n"), 1):
        if line.startswith("{"):
            start = no
        elif line.startswith("}") and start is not None:
            if no - start + 1 > FUNCTION_MAX:
                say("size", path, start, f"a function of {no - start + 1} lines; at most {FUNCTION_MAX}")
            start = None


def check_status():
    def names(path):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            return re.findall(r"^X\((\w+),", f.read(), flags=re.M)
    if not os.path.isfile(os.path.join(ROOT, "front/status.tbl")):
        return
    ours, fronts = names("base/status.tbl"), names("front/status.tbl")
    for i in range(max(len(ours), len(fronts))):
        a = ours[i] if i < len(ours) else "nothing"
        b = fronts[i] if i < len(fronts) else "nothing"
        if a != b:
            say("status", "front/status.tbl", i + 1, f"row {i + 1} is {b}, base/status.tbl has {a}")
            return


def check_file(path):
    with open(os.path.join(ROOT, path), "rb") as f:
        raw = f.read()
    if b"\0" in raw:
        return
    text = raw.decode("utf-8", "replace")
    lines = text.split("\n")
    source = path.endswith((".c", ".h", ".tbl"))
    script = path.endswith((".py", ".sh", ".js", ".mjs", ".css", ".html")) or path in ("Makefile", ".ci/run")
    if source or script:
        if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:4]):
            say("head", path, 1, "no licence line in the first four")
        if len(lines) - 1 > FILE_MAX:
            say("size", path, 1, f"{len(lines) - 1} lines; at most {FILE_MAX}")
        for no, line in enumerate(lines, 1):
            if line != line.rstrip():
                say("head", path, no, "blanks at the end of the line")
    for no, line in enumerate(lines, 1):
        if path != "tools/lint.py" and (source or script) and WORDS.search(line):
            say("words", path, no, f"'{WORDS.search(line).group(0)}' stands for something unfinished")
    if path.endswith((".c", ".h", ".tbl")):
        code = strip_code(text)
        check_includes(path, text)
        if path.endswith(".c"):
            check_functions(path, code)
            check_banned(path, code)


def main():
    files = tracked()
    for path in files:
        check_file(path)
    check_status()
    rules = ["may-use", "external", "banned", "size", "head", "words", "status"]
    for rule in rules:
        for line in findings.get(rule, []):
            print(f"{line} [{rule}]")
    failed = sum(1 for r in rules if findings.get(r))
    print(f"{len(rules) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
