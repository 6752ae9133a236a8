# querygate: everything that is built, tested and measured.
#
#   make            build/querygate            make test      install, build, run every test
#   make demo       a real model, gated        make bench     beside nginx, HAProxy, nginx+Lua
#   make fuzz       libFuzzer, FUZZ_SECONDS each target        make attacks   the attack suite, whole
#   make lint       format, clang-tidy, layers                make format    apply clang-format
#   make install    PREFIX=/usr/local, DESTDIR=
#
# SAN=address,undefined or SAN=thread builds beside the release, in build/san-*.
SHELL   := /bin/bash
PYTHON  := /usr/bin/python3
PREFIX  ?= /usr/local
BUILD   ?= build
SAN     ?=
empty   :=
comma   := ,
OUT     := $(BUILD)$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))

PKGS    := libevent_core libssl libcrypto yaml-0.1 jansson zlib
LLHTTP  := /usr/share/llhttp
VERSION := $(shell cat VERSION)

CC      ?= gcc
WARN    := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
           -Wvla -Wformat=2 -Wno-format-nonliteral -Werror
HARDEN  := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection
OPT     := $(if $(SAN),-O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all,\
           -O2 -D_FORTIFY_SOURCE=2)
CFLAGS  += -std=gnu11 -g $(OPT) $(HARDEN) -pthread
CPPFLAGS += -D_GNU_SOURCE -DQG_VERSION='"$(VERSION)"' -I/usr/share/include/llhttp -MMD -MP \
           $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack -pthread $(if $(SAN),-fsanitize=$(SAN))
LDLIBS  += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

SRC     := $(wildcard proxy/base/*.c proxy/*.c proto/*.c filters/*.c filters/detect/*.c)
OBJ     := $(SRC:%.c=$(OUT)/obj/%.o)
MAIN    := $(OUT)/obj/proxy/main.o
LIB     := $(OUT)/libquerygate.a
LL_OBJ  := $(patsubst %,$(OUT)/obj/llhttp/%.o,llhttp api http)
UNIT    := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(wildcard tests/unit/test_*.c))
REPLAY  := $(patsubst tests/fuzz/%.c,$(OUT)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH   := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(wildcard tests/bench/*.c))

.PHONY: all unit replay
all: deps $(OUT)/querygate

$(OUT)/querygate: $(MAIN) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(LIB): $(filter-out $(MAIN),$(OBJ)) $(LL_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(OUT)/obj/%.o: %.c VERSION
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -c -o $@ $<

# Debian ships llhttp as generated sources (package node-llhttp); strict mode is a compile option.
$(OUT)/obj/llhttp/%.o: $(LLHTTP)/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DLLHTTP_STRICT_MODE=1 $(CFLAGS) -c -o $@ $<

# Unit tests include the .c under test, so its own archive member is left out by the linker.
$(OUT)/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(filter-out -Wmissing-prototypes,$(WARN)) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS) -lcmocka

# A fuzz target and a main() that runs it over files: the corpus as a test, with any compiler.
$(OUT)/fuzz/%: tests/fuzz/%.c tests/fuzz/replay.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(filter-out -Wmissing-prototypes,$(WARN)) $(LDFLAGS) -o $@ $< tests/fuzz/replay.c $(LIB) $(LDLIBS)

$(OUT)/bench/%: tests/bench/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(filter-out -Wmissing-prototypes,$(WARN)) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

unit: $(UNIT)
replay: $(REPLAY)

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
