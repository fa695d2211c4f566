# The menu. `make` lists it. How things are built is in meson.build.
# SPDX-License-Identifier: MIT

PYTHON = /usr/bin/python3
MESON = /usr/bin/meson
NINJA = ninja
RUN_TESTS = $(PYTHON) tools/run-tests

# Chosen on the command line: make run ARGS='-port 9000'
ARGS =
FUZZ_SECONDS = 60
FUZZ_ONLY =
SECONDS = 3600
DESTDIR =

.PHONY: help
help:
	@echo 'make run       build and serve; ARGS="-port 9000" are passed on'
	@echo 'make test      everything that must pass: unit and system tests,'
	@echo '               lint, tidy; ends with "N passed, M failed"'
	@echo
	@echo 'make build     build/opq'
	@echo 'make unit      unit tests only'
	@echo 'make system    tests of the real binary only, in their short form'
	@echo 'make asan      unit and system tests under ASan and UBSan'
	@echo 'make tsan      unit and system tests under TSan'
	@echo 'make valgrind  a life of the real binary under Valgrind'
	@echo 'make fuzz      each fuzz target for FUZZ_SECONDS (60);'
	@echo '               FUZZ_ONLY=url for one of them'
	@echo 'make torture   the long form of the crash tests (as root, an hour)'
	@echo 'make soak      full load for SECONDS (3600): nothing grows, nothing'
	@echo '               is lost'
	@echo 'make test-package   packages, static binary and image, put into'
	@echo '               clean systems that debootstrap makes (as root)'
	@echo 'make exposure  what systemd grants the service, and its figure'
	@echo 'make bench     the table of figures, a quarter of an hour;'
	@echo '               bench/run build/opq --quick for a look'
	@echo 'make cover     lines run by unit and system tests, by file'
	@echo
	@echo 'make lint      clang-format and clang-tidy, nothing is changed'
	@echo 'make format    clang-format, files are changed'
	@echo 'make tidy      layout and conventions (tools/tidy)'
	@echo 'make static    build-static/opq, one file that needs no others'
	@echo 'make deb       the Debian packages, in build-package'
	@echo 'make dist      the source tarball, in build-package'
	@echo 'make install   to DESTDIR and the prefix of the build'
	@echo 'make setup     install what a fresh Debian 12 lacks'
	@echo 'make clean     remove build directories'

.PHONY: setup
setup:
	@tools/setup

build/build.ninja:
	$(MESON) setup build

.PHONY: build
build: setup build/build.ninja
	@$(NINJA) -C build opq

# What verifies signatures and reads events, of npm: locked, for tests alone.
VERIFIER = test/verify/node_modules/.package-lock.json
$(VERIFIER): test/verify/package-lock.json | setup
	@npm ci --prefix test/verify --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: run
run: build
	@build/opq $(ARGS)

.PHONY: test
test: build $(VERIFIER)
	@$(NINJA) -C build test/verify/sign_message
	@$(RUN_TESTS) --build build unit tools lint tidy system

.PHONY: unit
unit: build
	@$(RUN_TESTS) --build build unit

.PHONY: system
system: build $(VERIFIER)
	@$(NINJA) -C build test/verify/sign_message
	@$(RUN_TESTS) --build build system

build-asan/build.ninja:
	$(MESON) setup build-asan -Db_sanitize=address,undefined \
	    -Dcheck_slow=true --optimization 1

.PHONY: asan
asan: setup build-asan/build.ninja $(VERIFIER)
	@$(NINJA) -C build-asan
	@$(RUN_TESTS) --build build-asan unit system

build-tsan/build.ninja:
	$(MESON) setup build-tsan -Db_sanitize=thread -Dcheck_slow=true \
	    --optimization 1

.PHONY: tsan
tsan: setup build-tsan/build.ninja $(VERIFIER)
	@$(NINJA) -C build-tsan
	@$(RUN_TESTS) --build build-tsan unit system

.PHONY: valgrind
valgrind: build
	@$(RUN_TESTS) --build build valgrind

build-fuzz/build.ninja:
	CC=clang $(MESON) setup build-fuzz -Dfuzz=true -Db_lundef=false \
	    -Db_sanitize=address,undefined -Dcheck_slow=true

.PHONY: fuzz
fuzz: setup build-fuzz/build.ninja
	@$(NINJA) -C build-fuzz
	@tools/fuzz build-fuzz $(FUZZ_SECONDS) $(FUZZ_ONLY)

TORTURE_TESTS = test/unit/test_store_local_kill \
    test/unit/test_store_local_fault test/unit/test_store_local_blob
.PHONY: torture
torture: build $(VERIFIER)
	@$(NINJA) -C build $(TORTURE_TESTS) test/verify/sign_message
	@for test in $(TORTURE_TESTS); do \
	    OPQ_TORTURE=1 build/$$test || exit 1; done
	@OPQ_TORTURE=1 $(RUN_TESTS) --build build system

.PHONY: soak
soak: build
	@OPQ_BINARY=$(CURDIR)/build/opq OPQ_BUILD=$(CURDIR)/build \
	    OPQ_SOAK_SECONDS=$(SECONDS) $(PYTHON) -m pytest -q -s \
	    -p no:cacheprovider test/system/test_soak.py

.PHONY: bench
bench: build
	@$(NINJA) -C build bench/bare_loop bench/bare_write bench/opq_slow
	@$(PYTHON) bench/run build/opq

build-cover/build.ninja:
	$(MESON) setup build-cover -Db_coverage=true --optimization 0

.PHONY: cover
cover: setup build-cover/build.ninja $(VERIFIER)
	@$(NINJA) -C build-cover
	@status=0; $(RUN_TESTS) --build build-cover unit system || status=1; \
	    $(PYTHON) tools/cover build-cover && exit $$status

.PHONY: lint
lint: setup build/build.ninja
	@$(RUN_TESTS) --build build lint

.PHONY: tidy
tidy:
	@$(PYTHON) tools/tidy

.PHONY: format
format:
	@find src test bench -name '*.[ch]' -print0 | xargs -0r clang-format -i

# One file: what it links to is in it. Without symbols for a debugger.
build-static/build.ninja:
	$(MESON) setup build-static -Dstatic=true -Dtests=false -Ddebug=false

.PHONY: static
static: setup build-static/build.ninja
	@$(NINJA) -C build-static opq
	@ls -l build-static/opq

VERSION = $(shell sed -n "s/^  version: '\(.*\)',\$$/\1/p" meson.build)
.PHONY: dist
dist:
	@tools/dist build-package/opq-$(VERSION).tar.gz
	@sha256sum build-package/opq-$(VERSION).tar.gz

.PHONY: deb
deb: setup
	@tools/setup package
	@tools/deb build-package

.PHONY: test-package
test-package: build deb
	@$(RUN_TESTS) --build build package

.PHONY: exposure
exposure:
	@systemd-analyze security --offline=yes --no-pager \
	    packaging/systemd/opq.service

.PHONY: install
install: build
	@$(MESON) install -C build --destdir "$(DESTDIR)"

.PHONY: clean
clean:
	rm -rf build build-asan build-tsan build-fuzz build-cover build-static
	rm -rf build-package
