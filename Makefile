# SPDX-License-Identifier: Apache-2.0
# One non-recursive Makefile. BUILD=release|debug|asan|tsan picks a tree of its own under build/.
BUILD ?= release
CC ?= gcc
B := build/$(BUILD)$(if $(filter clang%,$(CC)),-clang)
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS_release := -O2 -g
CFLAGS_debug := -O0 -g
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
CPPFLAGS += -I. -D_GNU_SOURCE
CFLAGS += -std=gnu11 $(WARN) $(CFLAGS_$(BUILD)) -MMD -MP
LDLIBS_core := -ljansson -lz
LDLIBS := -luv -lssl -lcrypto $(LDLIBS_core) -lpthread

CORE_DIRS := base record wire engine front front/native namesrv
EDGE_DIRS := os app admin
CORE_SRC := $(filter-out %_uv.c,$(foreach d,$(CORE_DIRS),$(wildcard $(d)/*.c)))
EDGE_SRC := $(foreach d,$(CORE_DIRS),$(wildcard $(d)/*_uv.c)) $(foreach d,$(EDGE_DIRS),$(wildcard $(d)/*.c))
CORE_OBJ := $(CORE_SRC:%.c=$(B)/%.o)
EDGE_OBJ := $(EDGE_SRC:%.c=$(B)/%.o)
UNIT_SRC := $(wildcard tests/unit/*_test.c)
UNIT_BIN := $(UNIT_SRC:%.c=$(B)/%)

.PHONY: all check clean
all: build/gantry

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(B)/gantry: $(CORE_OBJ) $(EDGE_OBJ)
	$(CC) $(LDFLAGS_$(BUILD)) $^ $(LDLIBS) -o $@

build/gantry: $(B)/gantry
	@ln -sf $(BUILD)/gantry $@

# Unit tests: one program per file, linked with the pure core.
$(B)/core.a: $(CORE_OBJ)
	@rm -f $@
	ar rcs $@ $^
$(UNIT_BIN): $(B)/%: $(B)/%.o $(B)/core.a
	$(CC) $(LDFLAGS_$(BUILD)) $< $(B)/core.a $(LDLIBS_core) -lcmocka -o $@

check: $(UNIT_BIN)
	@set -e; for t in $(UNIT_BIN); do echo "== $$t"; $$t; done

clean:
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
