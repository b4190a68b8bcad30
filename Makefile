# SPDX-License-Identifier: Apache-2.0
# One non-recursive Makefile; `make help` lists the targets. BUILD=release|debug|asan|tsan|fuzz picks a tree of its own under
# build/, CC=clang another one beside it. Sources are found by folder: a new file needs no line here.
BUILD ?= release
ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(BUILD)),clang,gcc)
endif
B ?= build/$(BUILD)$(if $(filter fuzz,$(BUILD)),,$(if $(filter clang%,$(notdir $(CC))),-clang))
DATA ?= ./data
SEED ?= 1
STEPS ?= 200
CRASHES ?= 100000
SECONDS ?= 60

# V=1 shows the commands.
Q := $(if $(V),,@)
say := @$(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),:,echo " ")

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS_release := -O2 -g
CFLAGS_debug := -O0 -g
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
CFLAGS_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
LDFLAGS_fuzz := -fsanitize=fuzzer,address,undefined
CPPFLAGS += -I. -D_GNU_SOURCE
# Lists are in the structs that they link (base/list.h): what a compiler may conclude from types about such memory is not worth the danger. gcc 12 made
# an endless loop of one that empties a list.
CFLAGS += -std=gnu11 -fno-strict-aliasing $(WARN) $(CFLAGS_$(BUILD))
# Only what is used is linked: unit tests and fuzzers of pure code get by without the fronts' libraries. h2o has two flavours with the same symbols:
# ours is the one with an event loop of its own.
LDLIBS := -Wl,--as-needed -luv -ljansson -lz -lh2o-evloop -lwebsockets -lssl -lcrypto -lpthread

# core.a: what is pure. edge.a: the real world, and the parts of the program but its main(). testlib.a: what several tests use.
CORE_DIRS := base record wire engine front front/native front/http front/mqtt front/websocket namesrv client
EDGE_DIRS := os app admin
LIBRARY_FILES := %_uv.c %_h2o.c %_lws.c %_ssl.c %_mosq.c
CORE_ALL := $(foreach d,$(CORE_DIRS),$(wildcard $(d)/*.c))
CORE_SRC := $(filter-out $(LIBRARY_FILES),$(CORE_ALL))
EDGE_SRC := $(filter $(LIBRARY_FILES),$(CORE_ALL)) $(filter-out app/main.c,$(foreach d,$(EDGE_DIRS),$(wildcard $(d)/*.c)))
SIM_MAIN := $(wildcard tests/sim/*_main.c tests/sim/main.c)
TESTLIB_SRC := $(wildcard tests/lib/*.c) $(filter-out %_test.c,$(wildcard tests/contract/*.c)) \
	$(filter-out $(SIM_MAIN) %_test.c,$(wildcard tests/sim/*.c))
UNIT_SRC := $(wildcard $(foreach d,unit trace contract sim,tests/$(d)/*_test.c))
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)

obj = $(patsubst %.c,$(B)/%.o,$(1))
UNIT_BIN := $(UNIT_SRC:%.c=$(B)/%)
FUZZ_BIN := $(FUZZ_SRC:%.c=$(B)/%)
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC))
BENCH_BIN := $(B)/tests/bench/load $(B)/tests/bench/bare
LIBS := $(B)/testlib.a $(B)/edge.a $(B)/core.a

.PHONY: all run test check check-bins sim sim-bin fuzz fuzz-bins scenario interop bench bench-bins lint fmt clean install deps help
.DELETE_ON_ERROR:
.SECONDARY:

all: build/gantry

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/front/http/%_h2o.o: CPPFLAGS += -DH2O_USE_LIBUV=0

# The web UI, inside the program.
WEB_UI := $(shell find web-ui -type f 2>/dev/null)
$(B)/web_ui.c: $(WEB_UI) tools/embed.sh FORCE
	@mkdir -p $(@D)
	@tools/embed.sh web-ui $@
$(B)/web_ui.o: $(B)/web_ui.c $(WEB_UI)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
FORCE:

# An archive is made anew, so that the object of a removed source does not stay in it.
$(B)/core.a: $(call obj,$(CORE_SRC)) $(B)/web_ui.o
$(B)/edge.a: $(call obj,$(EDGE_SRC))
$(B)/testlib.a: $(call obj,$(TESTLIB_SRC))
$(B)/core.a $(B)/edge.a $(B)/testlib.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(say) AR $@
	$(Q)ar rcs $@ $^

$(B)/gantry: $(B)/app/main.o $(B)/edge.a $(B)/core.a
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_$(BUILD)) $< -Wl,--start-group $(B)/edge.a $(B)/core.a -Wl,--end-group $(LDLIBS) -o $@

build/gantry: $(B)/gantry
	@ln -sf $(patsubst build/%,%,$<) $@

# The helpers whose headers a test includes come before the archives: two of them may have a function of the same name.
helpers = $$(grep -oh 'tests/[a-z]*/[a-z0-9_]*\.h' $(<:.o=.d) | sort -u | sed 's|.*|$(B)/&|; s|h$$|o|' | xargs -r ls 2>/dev/null)
$(UNIT_BIN): $(B)/%: $(B)/%.o $(LIBS)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_$(BUILD)) $< $(helpers) -Wl,--start-group $(LIBS) -Wl,--end-group -lcmocka $(LDLIBS) -o $@
$(B)/sim: $(call obj,$(SIM_MAIN)) $(LIBS)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_$(BUILD)) $(call obj,$(SIM_MAIN)) -Wl,--start-group $(LIBS) -Wl,--end-group $(LDLIBS) -o $@
$(FUZZ_BIN): $(B)/%: $(B)/%.o $(LIBS)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_$(BUILD)) $< $(helpers) -Wl,--start-group $(LIBS) -Wl,--end-group $(LDLIBS) -o $@
# The load generator and the bare loops need nothing of ours.
$(B)/tests/bench/load: $(call obj,$(filter-out tests/bench/bare.c,$(BENCH_SRC)))
$(B)/tests/bench/bare: $(B)/tests/bench/bare.o
$(BENCH_BIN):
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_$(BUILD)) $^ -o $@

# ---- Running and testing ------------------------------------------------------------------------------------------------

# Installs what a build needs, builds, starts everything on $(DATA), and says how to send the first message. ARGS="--set KEY=VALUE".
run:
	@tools/deps.sh build
	@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc)) all
	@tools/run.sh $(DATA) $(ARGS)

# Everything: lint, both compilers, sanitized checks, simulation, fuzzers, scenarios, interop. Ends in "N passed, N failed".
test:
	@tools/deps.sh test
	@tools/test.sh

check-bins: $(UNIT_BIN)
check: $(UNIT_BIN)
	@tools/check.sh $(UNIT_BIN)

# 100,000 crashes; make sim SEED=7 CRASHES=1 STEPS=200 plays one life again.
sim-bin: $(B)/sim
sim: sim-bin
	$(B)/sim --seed $(SEED) --crashes $(CRASHES) --steps $(STEPS)

# Fuzzers run in a tree of their own (BUILD=fuzz, clang). make fuzz-frame SECONDS=600
fuzz-bins: $(FUZZ_BIN)
fuzz:
	@tools/fuzz.sh $(SECONDS) $(FUZZ_NAMES)
fuzz-%:
	@tools/fuzz.sh $(SECONDS) $*

# A sanitized program takes more memory: scripts that measure it are told.
scenario: $(B)/gantry
	@GANTRY=$(CURDIR)/$(B)/gantry GANTRY_SANITIZED=$(if $(filter asan tsan,$(BUILD)),1) tools/scripts.sh tests/scenario
interop: $(B)/gantry
	@GANTRY=$(CURDIR)/$(B)/gantry tools/scripts.sh tests/interop
bench-bins: $(BENCH_BIN) $(B)/gantry
# make bench BENCH_ARGS=--quick
bench: bench-bins
	@GANTRY=$(CURDIR)/$(B)/gantry BENCH=$(CURDIR)/$(B)/tests/bench python3 tests/bench/run.py $(BENCH_ARGS)

lint:
	@python3 tools/lint.py
fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

install: $(B)/gantry
	install -D -m 755 $(B)/gantry $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/gantry
deps:
	@tools/deps.sh test
clean:
	rm -rf build

help:
	@echo "run       build and start everything on $(DATA)"
	@echo "test      everything; ends in 'N passed, N failed'"
	@echo "check     unit and contract tests (BUILD=asan for sanitizers)"
	@echo "sim       100,000 simulated crashes: SEED=1 CRASHES=100000 STEPS=200"
	@echo "fuzz      every fuzzer for SECONDS=60; fuzz-NAME for one"
	@echo "scenario  the program as a black box; interop: stock clients; bench: figures"
	@echo "lint fmt install deps clean"

-include $(shell find $(B) -name '*.d' 2>/dev/null)
