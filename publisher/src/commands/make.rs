//! Builds the tree of a runtime from locked inputs, for `build` and `verify`.

use crate::check::qemu::Emulator;
use crate::env::cores;
use crate::error::Error;
use crate::inputs::cache::{self, InputCache};
use crate::inputs::locations::Places;
use crate::lock::{Input, Kind};
use crate::record::components::{self, Component};
use crate::record::image_packages;
use crate::source::{self, Inherited, Source};
use crate::tree::assemble::{self, Assembled, Package};
use crate::tree::elf_gate::Gate;
use crate::tree::joblet_exec::JobletExec;
use crate::tree::pyc;
use crate::tree::scripts::package_name;
use crate::tree::working_tree::{self, WorkingTree};
use crate::tree::{Node, Tree};
use crate::{
    cli::args,
    fs::{free_space, paths},
    inputs::space,
    tree::{elf_gate, finish, fixups, joblet_exec, ld_cache, runtime_yml},
    unpack,
};
use joblet_format::image::Config;
use joblet_format::ustar::MTIME;
use joblet_format::{Arch, text};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Input of a tree.
pub(super) struct BuildInput<'r> {
    pub(super) source: &'r Source,
    /// Directory of the manifest.
    pub(super) source_dir: &'r Path,
    pub(super) arch: Arch,
    /// The lock's inputs for `arch`.
    pub(super) inputs: &'r [Input],
    /// The lock's inputs for this machine's architecture.
    pub(super) native: &'r [Input],
    /// Timestamp of the lock.
    pub(super) timestamp: &'r str,
}

/// Builds trees.
pub(super) struct Builder<'w> {
    making: &'w args::Making,
    /// Number of threads.
    pub(super) jobs: NonZero<usize>,
}

/// A tree that passed the gate.
pub(super) struct BuiltTree {
    /// The root filesystem.
    pub(super) tree: Tree,
    /// The text of its `runtime.yml`.
    pub(super) runtime_yml: String,
    /// Its components.
    pub(super) components: Vec<Component>,
    /// Effects of maintainer scripts that the build does not reproduce, one line each.
    pub(super) unanswered: Vec<String>,
    /// Other notes for the maintainer, one line each.
    pub(super) warnings: Vec<String>,
}

/// The names of the Debian packages among `inputs`.
fn locked_packages(inputs: &[Input]) -> BTreeSet<String> {
    let debs = inputs.iter().filter(|input| input.kind == Kind::Deb);
    debs.map(|input| package_name(input.file_name())).collect()
}

impl<'w> Builder<'w> {
    pub(super) fn new(making: &'w args::Making) -> Self {
        Self { making, jobs: making.jobs.unwrap_or_else(cores::available) }
    }

    /// Builds the tree of `build_input`. Contents of packages are in unlinked files in `spool`.
    pub(super) fn make(
        &self,
        build_input: &BuildInput,
        spool: &Path,
        step: &(dyn Fn(&str) + Sync),
    ) -> Result<BuiltTree, Error> {
        let BuildInput { source, source_dir, arch, inputs, .. } = *build_input;
        self.check_space(inputs, spool, step)?;
        let files = self.inputs(inputs, build_input.timestamp, step)?;
        paths::create_dirs(spool)?;
        step("unpacking");
        let read = |input: &Input, file: &Path| unpack::read(source, arch, input, file, spool);
        let packages = unpack(inputs, &files, self.jobs, read)?;
        let manifest = source_dir.join(source::MANIFEST);
        let image = image(source, inputs, &files, spool)?;
        let build_input = &BuildInput { source: &image.source, ..*build_input };
        let source = build_input.source;
        let Assembled { mut tree, effects, notes: mut warnings } =
            assemble::assemble(image.tree, packages, source, source_dir, arch)?;
        warnings.extend(image.notes);
        let links: Vec<String> =
            source.links.keys().filter_map(|link| source::expand(link, arch).ok()).collect();
        fixups::apply(&mut tree, arch, &effects, links.iter().map(String::as_str), &manifest)?;
        self.finish(build_input, &mut tree, spool, step)?;
        if let Some(python) = source.python.as_ref().filter(|python| python.compile) {
            step("compiling Python modules");
            let compiler = self.compiler(build_input, &tree, spool, step)?;
            pyc::compile(&mut tree, &python.version, &compiler, spool, self.jobs)?;
        }
        fixups::drop_dangling(&mut tree);
        step("checking libraries");
        let locked = locked_packages(inputs);
        let (runtime, allow_missing) = (&source.directory(), &source.allow_missing);
        let gate = Gate { runtime, arch, allow_missing, locked: &locked };
        warnings.extend(elf_gate::check(&tree, &gate)?);
        let unanswered = effects.unanswered(&tree, |name| source.postinst.contains_key(name));
        let runtime_yml = runtime_yml::render(&tree, source, inputs, arch, &manifest)?;
        let mut components = components::collect(inputs, &files, &tree)?;
        if source.inherited.is_image {
            let (found, note) = image_packages::find(&tree, source, arch)?;
            components.extend(found);
            warnings.extend(note);
        }
        Ok(BuiltTree { tree, runtime_yml, components, unanswered, warnings })
    }

    /// Runs triggers of packages and the manifest's `run`, with programs of `tree`.
    fn finish(
        &self,
        build_input: &BuildInput,
        tree: &mut Tree,
        spool: &Path,
        step: &(dyn Fn(&str) + Sync),
    ) -> Result<(), Error> {
        let BuildInput { source, arch, .. } = *build_input;
        if !finish::is_due(tree, arch) && source.run.is_empty() {
            return Ok(());
        }
        let mut working = self.working_tree(build_input, tree, spool, false)?;
        finish::run_triggers(tree, arch, &mut working, None, spool, step)?;
        if source.run.is_empty() {
            return ld_cache::write(tree, arch);
        }
        // Runs again in another directory, with another order of files: files that differ would
        // differ on another machine, too.
        let mut again = tree.clone();
        let mut other = self.working_tree(build_input, &again, spool, true)?;
        for (tree, working) in [(&mut *tree, &mut working), (&mut again, &mut other)] {
            for words in &source.run {
                step(&format!("running {}", words.join(" ")));
                working.run(words)?;
            }
            let changed = working.take(tree, spool)?;
            finish::run_triggers(tree, arch, working, Some(&changed), spool, step)?;
            ld_cache::write(tree, arch)?;
        }
        let differences = working_tree::differences(tree, &again)?;
        if differences.is_empty() {
            return Ok(());
        }
        let (count, shown) = (differences.len(), &differences[..differences.len().min(20)]);
        let reason = format!(
            "run: {count} files differ between two runs: {}; remove them in `run`, or make them the same \
             (SOURCE_DATE_EPOCH is set)",
            shown.join(", ")
        );
        Err(Error::Check { runtime: format!("{} ({arch})", source.directory()), reason })
    }

    /// Writes `tree` to disk, to run its programs.
    fn working_tree(
        &self,
        build_input: &BuildInput,
        tree: &Tree,
        spool: &Path,
        backwards: bool,
    ) -> Result<WorkingTree, Error> {
        let BuildInput { source, source_dir, arch, .. } = *build_input;
        let program = joblet_exec::find(self.making.joblet_exec.as_deref())?;
        let manifest = source_dir.join(source::MANIFEST);
        let runtime_yml = runtime_yml::render(tree, source, &[], arch, &manifest)?;
        let exec = JobletExec::new(program, tree, &runtime_yml, spool, |_| true, backwards)?;
        if arch == Arch::NATIVE {
            return WorkingTree::new(exec, MTIME);
        }
        let emulator = Emulator::find(arch).map_err(|reason| Error::Tool {
            tool: format!("finishing {} for {arch}", source.directory()),
            reason: format!("runs programs of it: {reason}, or build it on {arch}"),
        })?;
        let emulated = Box::new(move |program: &OsStr| emulator.command(program));
        WorkingTree::new(exec.emulated(arch, emulated), MTIME)
    }

    /// The interpreter that compiles modules: of `tree` if that is for this machine, else of the same lock's packages
    /// for this machine.
    fn compiler(
        &self,
        build_input: &BuildInput,
        tree: &Tree,
        spool: &Path,
        step: &(dyn Fn(&str) + Sync),
    ) -> Result<JobletExec, Error> {
        let BuildInput { source, source_dir, arch, native, timestamp, .. } = *build_input;
        let program = joblet_exec::find(self.making.joblet_exec.as_deref())?;
        let manifest = source_dir.join(source::MANIFEST);
        let wanted =
            |path: &str| !path.starts_with("usr/local/") && !path.starts_with("usr/share/");
        let write = |tree: &Tree| {
            let runtime_yml = runtime_yml::render(tree, source, &[], Arch::NATIVE, &manifest)?;
            JobletExec::new(program, tree, &runtime_yml, spool, wanted, false)
        };
        if arch == Arch::NATIVE {
            return write(tree);
        }
        let debs: Vec<Input> =
            native.iter().filter(|input| input.kind == Kind::Deb).cloned().collect();
        if debs.is_empty() {
            let reason =
                format!("python.compile: needs packages for {} too, which compiles", Arch::NATIVE);
            return Err(Error::config(manifest, reason));
        }
        let files = self.inputs(&debs, timestamp, step)?;
        let read =
            |input: &Input, file: &Path| unpack::read(source, Arch::NATIVE, input, file, spool);
        let packages = unpack(&debs, &files, self.jobs, read)?;
        let mut tree = assemble::assemble_packages(packages, &manifest, &[])?.tree;
        fixups::drop_dangling(&mut tree);
        write(&tree)
    }

    /// Reports the disk space needed to build `inputs`, and fails if it is not available.
    fn check_space(
        &self,
        inputs: &[Input],
        spool: &Path,
        step: &(dyn Fn(&str) + Sync),
    ) -> Result<(), Error> {
        let cache = super::cache(self.making.cache.as_deref())?;
        let needed = space::needed(inputs, |input| cache::path(&cache, input).exists());
        let (fetched, made) = (text::size(needed.cache), text::size(needed.out));
        step(&format!("needs about {fetched} of the cache's disk, {made} of the archives'"));
        // Offline, the error for a missing input is more helpful.
        let needed = free_space::Space {
            cache: if self.making.offline { 0 } else { needed.cache },
            ..needed
        };
        free_space::check(needed, &cache, spool)
    }

    /// The files of `inputs`, in their order.
    fn inputs(
        &self,
        inputs: &[Input],
        timestamp: &str,
        note: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<PathBuf>, Error> {
        let cache = super::cache(self.making.cache.as_deref())?;
        let places = Places::new(self.making.mirror.as_deref())?;
        let places = (!self.making.offline).then_some(&places);
        InputCache { cache: &cache, places, timestamp, note }.files(inputs)
    }
}

/// The manifest of a build with an image.
struct FromImage {
    tree: Tree,
    /// The manifest, with values inherited from the image.
    source: Source,
    /// Notes on omitted parts of the image, one line each.
    notes: Vec<String>,
}

/// The tree of the image in `inputs`; empty without one.
fn image(
    source: &Source,
    inputs: &[Input],
    files: &[PathBuf],
    spool: &Path,
) -> Result<FromImage, Error> {
    let mut made = FromImage { tree: Tree::default(), source: source.clone(), notes: Vec::new() };
    let Some(image) = &source.image else { return Ok(made) };
    let of = |kind: Kind| inputs.iter().zip(files).filter(move |(input, _)| input.kind == kind);
    let layer = |(input, file): (&Input, &PathBuf)| (format!("layer {}", input.name), file.clone());
    let layers: Vec<_> = of(Kind::Layer).map(layer).collect();
    let layers: Vec<_> =
        layers.iter().map(|(label, file)| (label.clone(), file.as_path())).collect();
    let (mut tree, found) = unpack::image::tree(&layers, spool)?;
    made.notes = unpack::image::judge(&found, &image.drop)?;
    let origin: Arc<str> = assemble::IMAGE.into();
    let leaves =
        |(path, node): (&str, &Node)| (!matches!(node, Node::Dir)).then(|| path.to_owned());
    let leaves: Vec<_> = tree.iter().filter_map(leaves).collect();
    for path in leaves {
        tree.set_origin(path, Arc::clone(&origin));
    }
    let Some((_, config)) = of(Kind::Image).next() else {
        let reason = "has no image for this architecture; lock it again";
        return Err(Error::config(source.name.as_str(), reason));
    };
    let config: Config = serde_json::from_slice(&paths::read(config)?).map_err(|error| {
        Error::config(config, format!("is not the configuration of an image: {error}"))
    })?;
    let settings = config.config.unwrap_or_default();
    let plain = |(name, value): &(&str, &str)| {
        !name.is_empty() && !name.contains('\0') && !value.contains('\0')
    };
    let environment = settings.variables().filter(plain);
    let workdir = settings.working_dir.as_deref().map(|dir| dir.trim_end_matches('/'));
    let inside = |dir: &&str| dir.starts_with('/') && tree.is_dir(dir.trim_start_matches('/'));
    made.source.inherited = Inherited {
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        workdir: workdir.filter(inside).map(str::to_owned),
        is_image: true,
    };
    made.tree = tree;
    Ok(made)
}

/// Reads all packages, in `threads` threads, in the order of the lock.
fn unpack(
    inputs: &[Input],
    files: &[PathBuf],
    threads: NonZero<usize>,
    read: impl Fn(&Input, &Path) -> Result<Package, Error> + Sync,
) -> Result<Vec<Package>, Error> {
    let jobs: Vec<_> = inputs.iter().zip(files).collect();
    let read = |&(input, file): &(&Input, &PathBuf)| read(input, file);
    let work = |jobs: &[_]| jobs.iter().map(read).collect::<Vec<_>>();
    let results = thread::scope(|scope| {
        let chunks = jobs.chunks(jobs.len().div_ceil(threads.get()).max(1));
        let workers: Vec<_> = chunks.map(|chunk| scope.spawn(|| work(chunk))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    results.into_iter().collect()
}
