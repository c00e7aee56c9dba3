//! The classes of failure of both programs, and their exit statuses.

/// Generates the type and its table from one list, so that they cannot differ.
macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $code:literal $word:literal $meaning:literal;)*) => {
        /// A class of failure: a word in messages, and an exit status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Class {
            $($(#[$doc])* #[doc = $meaning] $class,)*
        }

        impl Class {
            fn row(self) -> (u8, &'static str, &'static str) {
                match self { $(Self::$class => ($code, $word, $meaning),)* }
            }
        }
    };
}

classes! {
    Usage = 2 "USAGE" "the command line is wrong";
    Net = 10 "NET" "connection, TLS, timeout or server error, or the server has no such file";
    Registry = 11 "REGISTRY" "the registry's document was refused";
    NotFound = 12 "NOTFOUND" "no such runtime, version, platform, archive or record";
    Integrity = 13 "INTEGRITY" "size, checksum or signature differs, or a published version changed";
    Archive = 14 "ARCHIVE" "an archive or a package is malformed or not allowed";
    Store = 15 "STORE" "no space, read-only, no permission";
    Busy = 16 "BUSY" "lock wait timed out, or in use by a job";
    Config = 17 "CONFIG" "runtime.yml, configuration, manifest, lock or record refused";
    Check = 18 "CHECK" "a library is missing or a check command failed";
    Tool = 19 "TOOL" "an external program is missing or failed";
    Launch = 125 "LAUNCH" "the sandbox could not be set up";
    NotExecutable = 126 "COMMAND" "the command cannot be executed";
    NoCommand = 127 "COMMAND" "the command was not found";
}

impl Class {
    /// The word in `error[WORD]`.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// Its description, for help texts.
    pub fn meaning(self) -> &'static str {
        self.row().2
    }

    /// Exit status of a command that runs no job.
    pub fn exit_code(self) -> u8 {
        self.row().0
    }

    /// Exit status of a command that runs a job, whose own statuses are 0 to 124.
    pub fn exit_code_beside_job(self) -> u8 {
        self.exit_code().max(125)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_jobs_are_left_alone() {
        for (class, alone, beside) in [
            (Class::Usage, 2, 125),
            (Class::Tool, 19, 125),
            (Class::Launch, 125, 125),
            (Class::NotExecutable, 126, 126),
            (Class::NoCommand, 127, 127),
        ] {
            assert_eq!((class.exit_code(), class.exit_code_beside_job()), (alone, beside));
        }
    }
}
