"""Bundles: versions in one file, to be carried where no network goes."""
