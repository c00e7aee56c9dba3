//! `index`, `adopt`, `site`, `serve`, `sign` and `keygen`, which generate, sign and serve a registry.

use super::Command as Parsed;
use super::options::{EXPIRES, KEY, PASSWORD_FILE, RECORDS, Signing, signing_until};
use joblet_cli::{Action, Command, Complete, Operands, Opt, Status, Usage, utf8};
use std::ffi::OsStr;
use std::path::PathBuf;

/// `index`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// The directory of records.
    pub records: PathBuf,
    /// The `registry.json` to write.
    pub out: PathBuf,
    /// Its key, if it is signed.
    pub signing: Signing,
}

/// `adopt`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adopt {
    /// An existing `registry.json`.
    pub registry: PathBuf,
    /// Output directory of records.
    pub records: PathBuf,
}

/// `site`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// The directory of records.
    pub records: PathBuf,
    /// Directory of templates and assets.
    pub source: PathBuf,
    /// Output directory.
    pub out: PathBuf,
    /// Name of the registry in commands; default derived from the archives' addresses.
    pub registry: Option<String>,
    /// `freshness.json`, used if it exists.
    pub freshness: PathBuf,
    /// Key of `registry.json`, if it is signed.
    pub signing: Signing,
}

/// `sign`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sign {
    /// The `registry.json` to sign.
    pub registry: PathBuf,
    /// The key.
    pub signing: Signing,
    /// Keep the signatures by other keys.
    pub add: bool,
}

/// `keygen`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keygen {
    /// Output file of the secret key.
    pub key: PathBuf,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// Leave it unencrypted.
    pub no_password: bool,
    /// Allow a git work tree.
    pub in_work_tree: bool,
}

static FRESHNESS: Opt<PathBuf> = Opt::path(
    "--freshness",
    "FILE",
    "freshness.json as written by outdated --save; copied beside the registry",
)
.or("freshness.json");
static REGISTRY_FILE: Opt<PathBuf> =
    Opt::path("--out", "FILE", "the registry to write, or its directory").or("registry.json");

pub(super) static INDEX: Command<Parsed> = Command {
    name: "index",
    also: &[],
    operands: Operands::NONE,
    help: "write registry.json from the records",
    about: "A change of a published version is refused, and so is a signed registry without the key.",
    options: &[&RECORDS.row, &REGISTRY_FILE.row, &KEY.row, &PASSWORD_FILE.row, &EXPIRES.row],
    examples: &[(
        "joblet-publish index --records dist/records --out dist/registry.json",
        "a registry of local builds",
    )],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let (records, out) = (call.needed(&RECORDS)?, call.needed(&REGISTRY_FILE)?);
        Ok(Parsed::Index(Index { records, out, signing: signing_until(call)? }))
    }),
};

pub(super) static ADOPT: Command<Parsed> = Command {
    name: "adopt",
    also: &[],
    operands: Operands::new("[FILE]", Complete::Files),
    help: "write the records of the versions in an existing registry.json",
    about: "The default of FILE is registry.json; it may be the directory of one. Existing records are kept. Afterwards index makes the \
            same registry of them, and new versions join it.",
    options: &[&RECORDS.row],
    examples: &[(
        "joblet-publish adopt && joblet-publish index",
        "a registry written by other tools",
    )],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let registry = call.operand().map_or_else(|| "registry.json".into(), PathBuf::from);
        Ok(Parsed::Adopt(Adopt { registry, records: call.needed(&RECORDS)? }))
    }),
};

static THEME: Opt<PathBuf> =
    Opt::path("--theme", "DIR", "templates/ and assets/ of the site").or("registry-site");
static SITE_DIR: Opt<PathBuf> = Opt::path("--out", "DIR", "the directory to write").or("dist/site");
static ADDRESS: Opt<String> = Opt::value(
    "--registry",
    "ADDRESS",
    Complete::Nothing,
    address,
    "address of this registry, for commands on the pages",
);

/// Parses an address for commands on pages, without characters special to a shell.
fn address(word: &OsStr) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/:@%+".contains(c);
    match utf8(word)? {
        address
            if !address.is_empty() && !address.starts_with('-') && address.chars().all(plain) =>
        {
            Ok(address)
        }
        address => Err(format!("{address:?} is neither OWNER/REPO nor an address")),
    }
}

pub(super) static SITE: Command<Parsed> = Command {
    name: "site",
    also: &[],
    operands: Operands::NONE,
    help: "write the static site and its registry.json from the records",
    about: "Without --registry, a registry whose archives are all in one repository on GitHub is called by that \
            repository's name; on pages of another one, a script fills in the address of the site.",
    options: &[
        &RECORDS.row, &THEME.row, &SITE_DIR.row, &ADDRESS.row, &FRESHNESS.row, &KEY.row,
        &PASSWORD_FILE.row, &EXPIRES.row,
    ],
    examples: &[("joblet-publish site", "the published versions, in dist/site")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Site(Site {
            records: call.needed(&RECORDS)?,
            source: call.needed(&THEME)?,
            out: call.needed(&SITE_DIR)?,
            registry: call.value(&ADDRESS)?,
            freshness: call.needed(&FRESHNESS)?,
            signing: signing_until(call)?,
        }))
    }),
};

static PORT: Opt<u16> =
    Opt::value("--port", "N", Complete::Nothing, port, "port to listen on; 0: any free port")
        .or("8000");

pub(super) static SERVE: Command<Parsed> = Command {
    name: "serve",
    also: &[],
    operands: Operands::new("[DIR]", Complete::Files),
    help: "serve a site and its registry on loopback",
    about: "The default of DIR is dist/site.",
    options: &[&PORT.row],
    examples: &[("joblet-publish serve dist/site --port 0", "its address is printed")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let root = call.operand().map_or_else(|| "dist/site".into(), PathBuf::from);
        Ok(Parsed::Serve { root, port: call.needed(&PORT)? })
    }),
};

fn port(word: &OsStr) -> Result<u16, String> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("{word:?} is not a number up to 65535"))
}

static ADD: Opt<()> = Opt::switch("--add", "keep the signatures by other keys");

pub(super) static SIGN: Command<Parsed> = Command {
    name: "sign",
    also: &[],
    operands: Operands::new("[FILE]", Complete::Files),
    help: "write FILE.minisig, the signature of a registry",
    about: "The default of FILE is registry.json; it may be the directory of one. freshness.json is signed the same way. For a large registry the \
            list of its shards is signed, too.",
    options: &[&KEY.row, &PASSWORD_FILE.row, &EXPIRES.row, &ADD.row],
    examples: &[(
        "joblet-publish sign --key ../company.key --expires 30 dist/site/registry.json",
        "dist/site/registry.json.minisig",
    )],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let registry = call.operand().map_or_else(|| "registry.json".into(), PathBuf::from);
        Ok(Parsed::Sign(Sign { registry, signing: signing_until(call)?, add: call.switch(&ADD) }))
    }),
};

static NO_PASSWORD: Opt<()> = Opt::switch("--no-password", "leave the secret key unencrypted");
static IN_WORK_TREE: Opt<()> =
    Opt::switch("--in-work-tree", "write the key even in a git work tree");

pub(super) static KEYGEN: Command<Parsed> = Command {
    name: "keygen",
    also: &[],
    operands: Operands::new("FILE", Complete::Files),
    help: "write a new secret key to FILE and its public key to FILE.pub",
    about: "Existing files are not overwritten. A git work tree is refused, since the secret key could be committed.",
    options: &[&PASSWORD_FILE.row, &NO_PASSWORD.row, &IN_WORK_TREE.row],
    examples: &[("joblet-publish keygen ../company.key", "../company.key and ../company.key.pub")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let password_file = call.value(&PASSWORD_FILE)?;
        let no_password = call.switch(&NO_PASSWORD);
        let in_work_tree = call.switch(&IN_WORK_TREE);
        match call.operands().as_slice() {
            [file] => Ok(Parsed::Keygen(Keygen {
                key: file.into(),
                password_file,
                no_password,
                in_work_tree,
            })),
            _ => Err(Usage("keygen needs one FILE".into())),
        }
    }),
};
