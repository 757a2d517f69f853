"""The bed: a Linux kernel of our own, for tests of LVM, iSCSI and power cuts.

User-mode Linux is a kernel that runs as a process. A `guest` boots it over this
machine's own files, which it reads but cannot change, with disks to spoil and real
device-mapper, and runs one command (`init.sh` is the guest's first process). `python -m
bed CMD` does so from a shell; `plugin` has pytest run what is marked `lvm` in guests,
where `inside` tells what came of each test; `machine` says what has to be installed.
`demo` is the story of `holdfast demo` in one. Start with `guest`.

Imports: pytest, `adapters.embedded.kernel`; `demo` the service. Only tests import it.
"""
