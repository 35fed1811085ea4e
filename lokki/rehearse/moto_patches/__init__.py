"""An AWS in this process that runs code: moto, patched where flows need more.

Each module here changes one part of moto, whose version is pinned, since these parts are internal.
`server` combines them.
"""
