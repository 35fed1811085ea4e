"""What a run, a flow and all that belongs to them are, for people and programs: pure data.

Each type is defined here once. The backends make them, the terminal prints them, `--json` and the
service answer with them, and clients read them.
"""
