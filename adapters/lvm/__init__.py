"""The LVM driver: volumes as logical volumes of one volume group, thick or thin.

Start with `driver`, which is the port. `group` knows what is in the volume group,
`worker` has LVM do something, one thing at a time, and `shell` is how it is asked;
`report` reads what it answers. `thin` is the pool, `clearing` what becomes of deleted
blocks, `fronts` the devices that hosts are served, `mapper` the kernel's own door to
them, `failures` how trouble is said to an operator.

Imports: `domain`, the standard library and `msgspec`. Linux, as root: it runs `lvm`
and asks device-mapper.
"""
