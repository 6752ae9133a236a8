# querygate: everything that is built, tested and measured.
#
#   make            build/querygate            make test      install, build, run every test
#   make demo       a real model, gated        make bench     beside nginx, HAProxy, nginx+Lua
#   make fuzz       libFuzzer, FUZZ_SECONDS each target        make attacks   the attack suite, whole
#   make privacy-table   the tables of deploy/privacy.md, measured anew
#   make nemesis    three gates while Redis is broken at random, for SECONDS
#   make lint       format, clang-tidy, layers                make format    apply clang-format
#   make install    PREFIX=/usr/local, DESTDIR=                make clean     away with build/
#
# SAN=address,undefined or SAN=thread builds beside the release, in build/san-*.
# V=1 shows the commands.  What a target needs and the machine lacks is installed first (Debian;
# deploy/install-deps).
SHELL   := /bin/bash
PYTHON  := /usr/bin/python3
PREFIX  ?= /usr/local
BUILD   ?= build
SAN     ?=
Q       := $(if $(V),,@)
empty   :=
comma   := ,
OUT     := $(BUILD)$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))

PKGS    := libevent_core libssl libcrypto yaml-0.1 jansson zlib hiredis sqlite3
LLHTTP  := /usr/share/llhttp
VERSION := $(shell cat VERSION)

CC      ?= gcc
WARN    := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
           -Wvla -Wformat=2 -Wno-format-nonliteral -Werror \
           $(if $(SAN),-Wno-maybe-uninitialized) # instrumented code misleads it, as GCC's manual says
# A test includes the .c it tests, and harness headers of which it uses a part.
TEST_WARN := $(filter-out -Wmissing-prototypes,$(WARN)) -Wno-unused-function
HARDEN  := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection
OPT     := $(if $(SAN),-O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all,\
           -O2 -D_FORTIFY_SOURCE=2)
# GCC 12 at -O2 takes the head of an intrusive list (base/list.h) for unchanged in a loop that moves
# nodes from one list to another, by its aliasing rules: seen in redis_link.c, which looped for ever.
CFLAGS  += -std=gnu11 -g $(OPT) -fno-strict-aliasing $(HARDEN) -pthread
# The release binary is optimised as a whole (5 % less CPU per query).  The objects are fat: what
# links the archive (tests) takes the plain code in them and links fast.
LTO     := $(if $(SAN)$(findstring clang,$(CC)),,-flto=auto)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
CPPFLAGS += -D_GNU_SOURCE -DQG_VERSION='"$(VERSION)"' -I/usr/share/include/llhttp -MMD -MP $(PKG_CFLAGS)
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack -pthread $(if $(SAN),-fsanitize=$(SAN))
LDLIBS  += $(PKG_LIBS) -lm

SRC     := $(wildcard proxy/base/*.c proxy/*.c proto/*.c filters/*.c filters/detect/*.c)
OBJ     := $(SRC:%.c=$(OUT)/obj/%.o)
MAIN    := $(OUT)/obj/proxy/main.o
LIB     := $(OUT)/libquerygate.a
LL_OBJ  := $(patsubst %,$(OUT)/obj/llhttp/%.o,llhttp api http)
UNIT    := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(wildcard tests/unit/test_*.c))
REPLAY  := $(patsubst tests/fuzz/%.c,$(OUT)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH   := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(wildcard tests/bench/*.c))
TOOLS   := $(patsubst tests/tools/%.c,$(OUT)/tools/%,$(wildcard tests/tools/*.c))

# Targets that install packages build in a second make: what this one read (headers that were not
# there, pkg-config's answers) is out of date by then.  A -j of the caller's goes on to it.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
SUBMAKE  = +$(MAKE) --no-print-directory $(PARALLEL)

.PHONY: all binary deps unit threaded replay fuzzers bench-tools test-tools help
all: deps
	@$(SUBMAKE) binary
binary: $(OUT)/querygate
deps:
	@deploy/install-deps build

$(OUT)/querygate: $(OBJ) $(LL_OBJ)
	@echo '  CC  $@'
	$(Q)$(CC) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(LIB): $(filter-out $(MAIN),$(OBJ)) $(LL_OBJ)
	@rm -f $@
	@echo '  AR  $@'
	$(Q)$(AR) rcs $@ $^

$(OUT)/obj/%.o: %.c VERSION
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO:%=% -ffat-lto-objects) $(WARN) -c -o $@ $<

# Debian ships llhttp as generated sources (package node-llhttp); strict mode is a compile option.
$(OUT)/obj/llhttp/%.o: $(LLHTTP)/%.c
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) -DLLHTTP_STRICT_MODE=1 $(CFLAGS) $(LTO:%=% -ffat-lto-objects) -c -o $@ $<

# Unit tests include the .c under test, so its own archive member is left out by the linker.
$(OUT)/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(TEST_WARN) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS) -lcmocka

# A fuzz target and a main() that runs it over files: the corpus as a test, with any compiler.
$(OUT)/fuzz/%: tests/fuzz/%.c tests/fuzz/replay.c $(LIB)
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(TEST_WARN) $(LDFLAGS) -o $@ $< tests/fuzz/replay.c $(LIB) $(LDLIBS)

$(OUT)/bench/%: tests/bench/%.c $(LIB)
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(TEST_WARN) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

# What tests run beside the gate: plain programs, the same in every variant.
$(OUT)/tools/%: tests/tools/%.c
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(LDFLAGS) -o $@ $<

unit: $(UNIT)
replay: $(REPLAY)
bench-tools: $(BENCH)
test-tools: $(TOOLS) $(OUT)/bench/stub $(OUT)/bench/redis_probe

# Tests that start threads run under ThreadSanitizer as well.
THREADED := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(shell grep -l 'pthread_create' $(wildcard tests/unit/test_*.c) /dev/null))
threaded: $(THREADED)

.PHONY: test demo attacks privacy-table nemesis bench lint format fuzz install clean
test:
	@deploy/install-deps build test
	@$(SUBMAKE) SAN= binary unit test-tools
	@$(SUBMAKE) SAN=address,undefined binary unit replay
	@$(SUBMAKE) SAN=thread threaded
	@$(PYTHON) tests/run.py --build $(BUILD)

# DEMO_ONCE=1: shows everything and ends, instead of staying up to be played with.
demo:
	@deploy/install-deps build test
	@$(SUBMAKE) SAN= binary
	@$(PYTHON) deploy/demo/demo.py --gate $(BUILD)/querygate $(if $(filter-out 0,$(DEMO_ONCE)),--once)

attacks:
	@deploy/install-deps build test
	@$(SUBMAKE) SAN= binary
	@QUERYGATE_BIN=$(abspath $(BUILD)/querygate) $(PYTHON) -m pytest -p no:cacheprovider -q -rA tests/attacks

privacy-table:
	@deploy/install-deps build test
	@$(SUBMAKE) SAN= binary
	@QUERYGATE_BIN=$(abspath $(BUILD)/querygate) $(PYTHON) tests/attacks/privacy_table.py deploy/privacy.md

SECONDS ?= 1800
nemesis:
	@deploy/install-deps build test
	@$(SUBMAKE) SAN= binary test-tools
	@QUERYGATE_BIN=$(abspath $(BUILD)/querygate) NEMESIS_SECONDS=$(SECONDS) \
	    $(PYTHON) -m pytest -p no:cacheprovider -q -s tests/nemesis/soak.py

# ROUNDS, SECS, CASES, SET: see tests/bench/run.py.
bench:
	@deploy/install-deps build bench
	@$(SUBMAKE) SAN= binary bench-tools
	@$(PYTHON) tests/bench/run.py --build $(BUILD)

# All checks run; any that finds something fails.
C_FILES := $(SRC) $(wildcard tests/unit/*.c tests/fuzz/*.c tests/bench/*.c tests/tools/*.c) \
           $(wildcard proxy/*.h proxy/base/*.h proto/*.h filters/*.h filters/detect/*.h tests/unit/*.h)
SCRIPTS := deploy/install-deps .ci/run $(wildcard deploy/*.sh deploy/*/*.sh tests/*/*.sh)
lint:
	@deploy/install-deps build test lint
	@bad=0; \
	    clang-format --dry-run -Werror $(C_FILES) || bad=1; \
	    $(PYTHON) tests/lint/layers.py || bad=1; \
	    for s in $(SCRIPTS); do bash -n $$s || bad=1; done; \
	    tests/lint/tidy.sh "-std=gnu11 $(filter-out -DQG_VERSION% -MMD -MP,$(CPPFLAGS))" \
	        $(filter %.c,$(C_FILES)) || bad=1; \
	    exit $$bad

format:
	@deploy/install-deps lint
	@clang-format -i $(C_FILES)

# libFuzzer over every target: the corpus is copied, a crash fails and stays in build/crashes.
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(OUT)/run/%,$(wildcard tests/fuzz/fuzz_*.c))
fuzzers: $(FUZZERS)
$(OUT)/run/%: tests/fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)
fuzz:
	@deploy/install-deps build fuzz
	@$(SUBMAKE) CC=clang-14 WARN= OUT=$(BUILD)/fuzz SAN=fuzzer-no-link,address,undefined fuzzers
	@tests/fuzz/run.sh $(BUILD) $(FUZZ_SECONDS)

install: all
	install -D -m 755 $(BUILD)/querygate $(DESTDIR)$(PREFIX)/bin/querygate
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/querygate/README.md
	@cd deploy && for f in $$(find . -type f ! -path './demo/*' ! -name '*.pyc' ! -name install-deps); do \
	    install -D -m "$$(stat -c %a "$$f")" "$$f" \
	        "$(abspath $(DESTDIR)$(PREFIX))/share/querygate/$$f" || exit 1; done

clean:
	rm -rf $(BUILD)

help:
	@sed -n '3,/^[^#]/s/^# \{0,1\}//p' Makefile

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
