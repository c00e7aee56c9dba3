# Each target is one line, which installs missing packages (.ci/deps) and calls scripts of .ci/.

help:    ## List these targets
	@sed -n 's/^\([a-z-]*\): *## /  make \1	/p' Makefile
demo:    ## Build a runtime from its sources and run a Python script in it
	@.ci/demo
recording: ## Record the README's first steps in a terminal, after `make demo`
	@.ci/recording
quick:   ## Check format and lints, and run the unit tests
	@.ci/deps rust cc lint pip && cargo fmt --all --check && cargo clippy --workspace --all-targets --all-features --locked -- -D warnings && cargo test --workspace --locked --lib
test:    ## Run every test
	@.ci/test
lint:    ## Check format, lints, shell scripts and the licences of dependencies
	@.ci/lint
static:  ## Build dist/bin/joblet-exec, statically linked
	@.ci/static
programs: ## Build both programs as they are released, into dist/bin
	@.ci/static && .ci/static joblet-publish
reproduce: ## Build every runtime three times, as different users in different directories, and compare
	@.ci/reproduce
packages: ## Build and run a runtime of each of 150 Debian packages (an hour or two)
	@.ci/packages
rehearse: ## Rehearse a release without GitHub
	@.ci/deps rust cc && cargo test --locked -p joblet-publish --test all release::
fresh:   ## Run `make demo` and `make test` in a fresh Debian 12, as root and as a user (as root)
	@.ci/fresh
field:   ## Run the workflows' steps in a fresh Debian 12, with a stand-in for GitHub (as root; WORKFLOWS="runtime pages")
	@.ci/field
bench:   ## Measure installation, updates and start times, compared with common tools, also on a slow line (as root)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && cargo build --locked --release -p joblet-publish --bins --examples && .ci/bench && .ci/bench-line && .ci/bench-start && .ci/bench-site
bench-large: ## Measure building and installing PyTorch once, 4.8 GB (downloads 2.7 GB)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && cargo build --locked --release -p joblet-publish && .ci/bench large
bench-line: ## Measure installation and updates on a line of 50 ms and 200 Mbit/s, after `make bench` (as root)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && .ci/bench-line
bench-lazy: ## Measure jobs that start before their runtime is installed, on two lines (as root; needs the runtimes' inputs)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && cargo build --locked --release -p joblet-publish --bins && .ci/bench-lazy
images:  ## Start images of runtimes with podman, crun and containerd, and images of other tools with joblet-exec (as root)
	@.ci/deps rust cc tls musl rust-musl inputs images validator engines && .ci/static && cargo build --locked --release -p joblet-publish && .ci/images-in && .ci/images-out && .ci/images-guide
suites:  ## Run test suites of CPython, NumPy, the JDK, Node, Go, Ruby and others as jobs, and failing tests under bubblewrap (as root)
	@.ci/suites
cluster: ## Run jobs under a real Slurm on this machine: arrays, signals, GPUs, MPI, other engines (as root)
	@.ci/cluster full
fuzz:    ## Search for inputs that break the parsers of untrusted files, until one is found
	@.ci/fuzz
clean:   ## Remove everything that was built
	rm -rf dist && cargo clean

.PHONY: help demo recording quick test lint static programs reproduce packages rehearse fresh field bench bench-large bench-line bench-lazy images suites cluster fuzz clean
