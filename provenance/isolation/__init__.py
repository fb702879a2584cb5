"""Reading strangers' files in a process that can do no harm.

::

    host (keys, database, network)          zygote (decoders loaded)           child, one a file
    IsolatedVerifier.verify(path)  ──job──>  forks  ─────────────────────>  confined: reads that file and nothing else
          │  <───────── questions to the catalogs, then the finding ──────────────┘
          └─ kills it when its time is up; memory, CPU, files and network are limited by the kernel

The child answers in JSON and is believed in nothing but its finding: it never sees a database, a signing key or the
environment. A limit that is hit ends in the finding `unreadable`. Linux has all of it (seccomp, Landlock, rlimits);
elsewhere only the limits of time and memory hold, and `confinement()` says so.
"""
