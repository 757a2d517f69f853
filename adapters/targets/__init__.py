"""How hosts reach block devices: the device itself, iSCSI by LIO or tgt, or NBD.

Start with `choosing`, which knows them all by Cinder's names for them, then `lio`.
`iscsi` is what both kinds of iSCSI have in common, `configfs` how the kernel is
changed, `failures` how trouble is said to an operator. The suite every target
passes is `adapters.contracts.targets`.

Imports: `domain` and the standard library.
"""
