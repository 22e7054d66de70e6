"""Adapters into one."""
