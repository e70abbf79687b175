"""The commands: one short file each, with the options that they have in common."""
