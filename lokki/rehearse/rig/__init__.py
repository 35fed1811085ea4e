"""An AWS in this process that runs what it is given: moto, and what it lacks for a flow of ours.

Each module here changes one part of moto; the version of moto is pinned, since these parts are its
inner ones. `server` puts them together.
"""
