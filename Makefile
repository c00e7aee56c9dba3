# Each target is one line, which installs missing packages (.ci/deps) and calls scripts of .ci/.
# `make help` prints a line of at most 80 columns for each: more of it is in CONTRIBUTING.md.

help:    ## List these targets
	@sed -n 's/^\([a-z-]*\): *## /\1	/p' Makefile | expand -t 12 | sed 's/^/  make /'
demo:    ## Build a runtime from its sources, and run a script in it
	@.ci/demo
recording: ## Record README's first steps, after `make demo`
	@.ci/recording
quick:   ## Check format and lints, and run the unit tests
	@.ci/deps rust cc lint pip && cargo fmt --all --check && cargo clippy --workspace --all-targets --all-features --locked -- -D warnings && cargo test --workspace --locked --lib
test:    ## Run every test
	@.ci/test
lint:    ## Check format, lints, scripts and licences of dependencies
	@.ci/lint
static:  ## Build dist/bin/joblet-exec, statically linked
	@.ci/static
programs: ## Build both programs as they are released: dist/bin
	@.ci/static && .ci/static joblet-publish
reproduce: ## Build runtimes three times, and compare
	@.ci/reproduce
packages: ## Build and use runtimes of 150 packages (two hours)
	@.ci/packages
rehearse: ## Rehearse a release without GitHub
	@.ci/deps rust cc && cargo test --locked -p joblet-publish --test all release::
fresh:   ## Try `make demo` and `make test` in a new Debian 12 (root)
	@.ci/fresh
field:   ## Run the workflows' steps in such a Debian (root)
	@.ci/field
bench:   ## Measure beside other tools, also on a slow line (root)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && cargo build --locked --release -p joblet-publish --bins --examples && .ci/bench && .ci/bench-line && .ci/bench-start && .ci/bench-site
bench-large: ## The same once with PyTorch (downloads 2.7 GB)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && cargo build --locked --release -p joblet-publish && .ci/bench large
bench-line: ## The same on the line alone, after `make bench` (root)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && .ci/bench-line
bench-lazy: ## Measure `run --lazy` on two lines (root)
	@.ci/deps rust cc tls musl rust-musl bench && .ci/static && cargo build --locked --release -p joblet-publish --bins && .ci/bench-lazy
images:  ## Run images of ours and of others, with all engines (root)
	@.ci/deps rust cc tls musl rust-musl inputs images validator engines && .ci/static && cargo build --locked --release -p joblet-publish && .ci/images-in && .ci/images-out && .ci/images-guide
suites:  ## Run test suites of CPython, NumPy, Go, … as jobs (root)
	@.ci/suites
cluster: ## Run jobs under a real Slurm, MPI, other engines (root)
	@.ci/cluster full
fuzz:    ## Look for inputs that break parsers, until one does
	@.ci/fuzz
clean:   ## Remove what make has built
	@.ci/clean

.PHONY: help demo recording quick test lint static programs reproduce packages rehearse fresh field bench bench-large bench-line bench-lazy images suites cluster fuzz clean
