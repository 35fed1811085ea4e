"""The types of a run, a flow and their parts, for people and programs: pure data.

Each type is defined here once. Backends make them, the terminal prints them, `--json` and the
service return them, and clients read them.
"""
