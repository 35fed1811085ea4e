"""A flow on AWS: deployed, and destroyed again (``pip install lokki[aws]``)."""
