//! Configuration values that are one of a few words.

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The words, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The variant of a word.
            pub fn from_name(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

choice! {
    /// Where a packet's time comes from.
    Clock {
        /// The clock is read per packet.
        Exact = "exact",
        /// The clock is read once per receive poll.
        Poll = "poll",
    }
}

choice! {
    /// What becomes of a packet that was mirrored twice.
    Duplicates {
        /// It is counted and left out.
        Remove = "remove",
        /// It is counted and metered all the same.
        Count = "count",
        /// Nobody looks.
        Off = "off",
    }
}

choice! {
    /// What the configuration says about metered frames.
    DispositionChoice {
        /// Drop on dedicated interfaces, pass on shared ones.
        Auto = "auto",
        /// End them in the program.
        Drop = "drop",
        /// Hand them to the network stack.
        Pass = "pass",
    }
}

choice! {
    /// Where the kernel program is attached.
    Hook {
        /// The first of the others that works.
        Auto = "auto",
        /// XDP in the driver.
        XdpNative = "xdp_native",
        /// XDP in the stack, any driver.
        XdpGeneric = "xdp_generic",
        /// TCX ingress.
        Tcx = "tcx",
    }
}

choice! {
    /// Least severe log lines that are written.
    LogLevel {
        /// Errors.
        Error = "error",
        /// And warnings.
        Warn = "warn",
        /// And what an operator wants to know.
        Info = "info",
        /// And what a contributor wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// Form of log lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}
