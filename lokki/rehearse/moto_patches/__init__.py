"""An AWS in this process that runs what it is given: moto, patched where a flow needs more of it.

Each module here changes one part of moto; the version of moto is pinned, since these parts are its
inner ones. `server` puts them together.
"""
