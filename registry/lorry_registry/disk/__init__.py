"""What a disk is asked to do, and what it does: whole files or nothing, on disks of all kinds."""
