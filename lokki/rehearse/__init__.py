"""A flow's build run on this machine, as AWS would: ``pip install 'lokki[rehearse]'``."""
